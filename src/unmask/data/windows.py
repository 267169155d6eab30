"""A track -> windows, and back to seconds: pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.errors import UsageError


@dataclass(frozen=True, eq=False)
class Window:
    """A run of faces of one track.

    Attributes:
        start, stop: half-open range of indices into the track.
        mask: (length,) bool, True where a face is, False where a short window is padded.
    """

    start: int
    stop: int
    mask: NDArray[np.bool_]


def make_windows(count: int, length: int = 30, overlap: int = 6) -> list[Window]:
    """Cut `count` faces into windows of `length` that share `overlap` faces.

    Starts are `range(0, count - length + 1, length - overlap)`; where the last of these does not
    reach the end, one more window is made of the last `length` faces. Fewer than `length` faces
    make one short window whose mask is False at its end; no faces make none.
    """
    if length < 1 or not 0 <= overlap < length:
        raise UsageError(f"windows of {length} faces cannot overlap by {overlap}")
    full = np.ones(length, dtype=bool)  # one for all: a hostile file may ask for very many
    if count == 0:
        return []
    if count < length:
        return [Window(0, count, np.arange(length) < count)]
    starts = list(range(0, count - length + 1, length - overlap))
    if starts[-1] + length < count:
        starts.append(count - length)
    return [Window(start, start + length, full) for start in starts]


def average_windows(
    count: int, windows: Sequence[Window], scores: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """One score a face from overlapping windows: the mean over the windows that hold the face.

    Args:
        count: faces of the track; every face must lie in a window.
        windows: the track's windows.
        scores: for each window at least `stop - start` scores, padding last.

    Returns:
        (count,) float64.
    """
    total, seen = np.zeros(count), np.zeros(count)
    for window, score in zip(windows, scores, strict=True):
        total[window.start : window.stop] += score[: window.stop - window.start]
        seen[window.start : window.stop] += 1
    return total / seen
