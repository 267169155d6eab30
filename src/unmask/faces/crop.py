"""A box in a frame -> a square face crop."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray


def crop_face(
    rgb: NDArray[np.uint8], box: NDArray[np.float32], size: int = 224, margin: int = 0
) -> NDArray[np.uint8]:
    """Cut `box` out of a frame and resize it to (size, size, 3) uint8 RGB.

    Args:
        rgb: (H, W, 3) uint8.
        box: (4,) x0, y0, x1, y1 in pixels; what lies outside the frame is cut off.
        size: side of the crop in pixels.
        margin: pixels of the finished crop, both sides together, that lie around the box.

    The resize is bilinear with antialiasing, as Pillow's.
    """
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = (float(v) for v in box)
    grow_x, grow_y = (margin * side / (size - margin) / 2 for side in (x1 - x0, y1 - y0))
    left, top = int(max(x0 - grow_x, 0)), int(max(y0 - grow_y, 0))
    right, bottom = int(min(x1 + grow_x, width)), int(min(y1 + grow_y, height))
    left, top = min(left, width - 1), min(top, height - 1)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    patch = torch.from_numpy(rgb[top:bottom, left:right]).permute(2, 0, 1)[None]
    resized = F.interpolate(patch, size=(size, size), mode="bilinear", antialias=True)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())
