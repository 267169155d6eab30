"""Face tracks <-> `.pt` files: one writer, one validating reader.

The file is a plain dictionary of tensors, numbers, strings and lists, so that anybody reads it
with nothing but `torch.load(path, weights_only=True)`:

    windows          num_windows windows, each (30, 3, 224, 224) uint8 RGB: one tensor of
                     (num_windows, 30, 3, 224, 224) where the windows start at even distances,
                     else a list, because no tensor can be a view at uneven distances
    timestamps       [(start, end)], seconds, one pair a window
    num_windows, sequence_length, target_fps, image_size
    faces            (N, 3, S, S) uint8: every face once; `windows` are views on it
    times            (N,) float64 seconds
    boxes            (N, 4) float32, x0 y0 x1 y1 in pixels of the frame
    landmarks        (N, 5, 2) float32, x y in pixels of the faces: eyes, nose, corners of the
                     mouth; not a number where not known
    track_ids        (N,) int64, ascending: which person
    overlap, margin, people, exact, sampled, duration, video, warnings, resolution, format

A video of fewer faces than `sequence_length` has one shorter window; one without faces none.
Files in the design document's own form (`windows` as float, nothing below `image_size`) load too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.data.windows import Window, make_windows
from unmask.face_spec import FaceSpec
from unmask.faces import FaceCrop, FaceTrack

FORMAT = 1
SUFFIX = ".pt"
KEPT = "people"  # key of whose faces were kept; "faces" are the faces themselves


@dataclass(frozen=True, eq=False)
class ProcessedVideo:
    """The faces of one video, as preprocessing leaves them and a model takes them.

    Attributes:
        video: name of the video file.
        tracks: the people, see FaceTrack.
        sampled: frames that were looked at, with or without a face.
        spec: how it was made.
        duration: seconds of video that were read.
        warnings: what went wrong without ending it.
        resolution: shorter side of the frames in pixels; None in files of before it was kept.
    """

    video: str
    tracks: tuple[FaceTrack, ...]
    sampled: int
    spec: FaceSpec
    duration: float
    warnings: tuple[str, ...] = ()
    resolution: int | None = None

    @classmethod
    def of(cls, summary: "Summary", crops: Mapping[int, Sequence[FaceCrop]]) -> Self:
        """Put the faces of the tracks that count together."""
        tracks = [
            FaceTrack(
                number,
                np.array([crop.time for crop in crops[track]]),
                np.stack([crop.box for crop in crops[track]]),
                np.stack([crop.rgb for crop in crops[track]]),
                np.stack([points_or_nan(crop.landmarks) for crop in crops[track]]),
            )
            for number, track in enumerate(summary.kept)
        ]
        return cls(
            summary.video,
            tuple(tracks),
            summary.sampled,
            summary.spec,
            summary.duration,
            summary.warnings,
            summary.resolution,
        )

    @cached_property
    def windows(self) -> list[tuple[int, Window]]:
        """(index of the track, window), track by track."""
        return track_windows(map(len, self.tracks), self.spec)

    @property
    def coverage(self) -> float:
        """Share of the sampled frames that hold at least one face, 0 to 1."""
        return coverage([track.times for track in self.tracks], self.sampled)


def track_windows(faces: Iterable[int], spec: FaceSpec) -> list[tuple[int, Window]]:
    """(index of the track, window), track by track, of tracks of so many faces."""
    return [
        (index, window)
        for index, count in enumerate(faces)
        for window in make_windows(count, spec.sequence_length, spec.overlap)
    ]


def coverage(times: Iterable[NDArray[np.float64]], sampled: int) -> float:
    """Share of `sampled` frames that hold a face of at least one track, 0 to 1."""
    seen = {float(time) for track in times for time in track}
    return min(1.0, len(seen) / sampled) if sampled else 0.0


@dataclass(frozen=True)
class Summary:
    """What is known of a video once all its faces are.

    Attributes:
        video, spec, sampled, duration, warnings, resolution: as of ProcessedVideo.
        kept: the tracks that count, in order; what else was found is passing background.
    """

    video: str
    spec: FaceSpec
    kept: tuple[int, ...]
    sampled: int
    duration: float
    warnings: tuple[str, ...] = ()
    resolution: int | None = None


def points_or_nan(landmarks: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """(5, 2), not a number where the landmarks are not known."""
    return np.full((5, 2), np.nan, np.float32) if landmarks is None else landmarks


def window_faces(video: ProcessedVideo, track: int, window: Window) -> NDArray[np.uint8]:
    """The faces of a window as (n, 3, S, S) uint8, n = stop - start, unpadded."""
    crops = video.tracks[track].crops[window.start : window.stop]
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2))


def expect(name: str, value: Any, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """A tensor of this shape; strides that repeat memory would be a bomb."""
    if not isinstance(value, Tensor) or value.dtype != dtype or tuple(value.shape) != shape:
        have = f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value)
        raise ValueError(f"{name} must be {shape} {dtype}, not {have}")
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise ValueError(f"{name} repeats its memory")
