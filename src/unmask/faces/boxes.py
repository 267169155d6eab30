"""Boxes: (4,) float32, x0, y0, x1, y1 in pixels."""

import numpy as np
from numpy.typing import NDArray


def distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """How far two boxes are apart, 0 for the same box; at 1 they can't be one face any more.

    Between samples a head moves by up to its own width and changes its size only slowly.
    """
    side_a, side_b = (float(np.sqrt(max(np.prod(box[2:] - box[:2]), 1e-6))) for box in (a, b))
    moved = float(np.linalg.norm((a[:2] + a[2:]) / 2 - (b[:2] + b[2:]) / 2))
    scaled = abs(np.log2(side_a / side_b))
    return moved / max(side_a, side_b) + float(scaled) / 2


def unmatched(boxes: list[NDArray[np.float32]], others: list[NDArray[np.float32]]) -> list[int]:
    """Indices of `boxes` that have no partner within a distance of 1, nearest pairs first."""
    pairs = sorted(
        (distance(box, other), i, j)
        for i, box in enumerate(boxes)
        for j, other in enumerate(others)
    )
    left, free = set(range(len(boxes))), set(range(len(others)))
    for apart, i, j in pairs:
        if apart < 1 and i in left and j in free:
            left.remove(i)
            free.remove(j)
    return sorted(left)
