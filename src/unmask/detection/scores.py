"""The raw scores of a video's faces, before any decision."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.data.windows import Window
from unmask.face_spec import FaceSpec


@dataclass(frozen=True, eq=False)
class TrackLogits:
    """What the network says of one person; positive means fake.

    Attributes:
        times: (N,) float64 seconds, one a face.
        boxes: (N, 4) float32, x0, y0, x1, y1 in pixels of the upright frame.
        windows: W windows over the faces.
        window_logits: (W,) float64.
        frame_logits: of each window (T,) float64, padding last; None without a frame head.
        maps: (N, h, w) float32, of each face which cells were manipulated; None without a map head.
    """

    times: NDArray[np.float64]
    boxes: NDArray[np.float32]
    windows: list[Window]
    window_logits: NDArray[np.float64]
    frame_logits: list[NDArray[np.float64]] | None
    maps: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class VideoLogits:
    """What the network says of a video.

    Attributes:
        video: its path as it was given.
        tracks: the people.
        sampled: frames that were looked at.
        duration: seconds of video that were read.
        warnings: what went wrong without ending it.
        spec: how its faces were made.
    """

    video: str
    tracks: tuple[TrackLogits, ...]
    sampled: int
    duration: float
    warnings: tuple[str, ...]
    spec: FaceSpec
