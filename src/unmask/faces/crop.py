"""A box in a frame -> a square face crop."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def crop_face(
    rgb: NDArray[np.uint8], box: NDArray[np.float32], size: int = 224, margin: int = 0
) -> NDArray[np.uint8]:
    """Cut `box` out of a frame and resize it to (size, size, 3) uint8 RGB.

    Args:
        rgb: (H, W, 3) uint8.
        box: (4,) x0, y0, x1, y1 in pixels; what lies outside the frame is cut off.
        size: side of the crop in pixels.
        margin: pixels of the finished crop, both sides together, that lie around the box.

    The resize is Pillow's, bilinear with antialiasing: no other cuts a picture as the design does.
    """
    patch = Image.fromarray(rgb[area(rgb, box, size, margin)])
    return np.asarray(patch.resize((size, size), Image.Resampling.BILINEAR), np.uint8)


def area(
    rgb: NDArray[np.uint8], box: NDArray[np.float32], size: int, margin: int, slack: float = 0.0
) -> tuple[slice, slice]:
    """The rows and columns of a frame that `crop_face` cuts out, at least one of each.

    With `slack` so many that the crop of any box lies within whose edges are up to this share
    of a side further out.
    """
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = (float(v) for v in box)
    grow_x, grow_y = (
        (margin / 2 + slack * size) * side / (size - margin) for side in (x1 - x0, y1 - y0)
    )
    left, top = int(max(x0 - grow_x, 0)), int(max(y0 - grow_y, 0))
    right, bottom = int(min(x1 + grow_x, width)), int(min(y1 + grow_y, height))
    left, top = min(left, width - 1), min(top, height - 1)
    return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))
