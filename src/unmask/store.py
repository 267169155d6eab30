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

import pickle
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self
from zipfile import ZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.atomic import replacing, writing
from unmask.errors import StoreError, UsageError
from unmask.faces import FaceCrop, FaceTrack
from unmask.spec import FaceSpec
from unmask.windows import Window, make_windows

FORMAT = 1
SUFFIX = ".pt"
_NOTHING = np.zeros((0, 0, 3), np.uint8)


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
                np.stack([_points(crop.landmarks) for crop in crops[track]]),
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


class Writer:
    """Writes a `.pt` file while its faces are being found; a context manager.

    The faces wait in a nameless file beside `path`, so memory does not grow with the video.

    Raises:
        FileError: it cannot be written.
    """

    def __init__(self, path: str | Path, spec: FaceSpec) -> None:
        self._path, self._spec = Path(path), spec
        self._rows: list[FaceCrop] = []  # without their pictures
        self._bytes = 3 * spec.image_size**2

    def __enter__(self) -> Self:
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._spool = TemporaryFile(dir=self._path.parent)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # a full disk, which `add` has reported
            self._spool.close()

    def add(self, crop: FaceCrop) -> None:
        """Take a face; the faces of one track come in order of time."""
        with writing(self._path):
            self._spool.write(np.ascontiguousarray(crop.rgb.transpose(2, 0, 1)).data)
        self._rows.append(replace(crop, rgb=_NOTHING))

    def finish(self, summary: Summary) -> None:
        """Write the file, atomically; without it nothing is written."""
        spec, size = self._spec, self._spec.image_size
        of_track: dict[int, list[int]] = {track: [] for track in summary.kept}
        for row, crop in enumerate(self._rows):
            if crop.track in of_track:
                of_track[crop.track].append(row)
        rows = [row for found in of_track.values() for row in found]
        spans, begin = [], 0
        for found in of_track.values():
            windows = make_windows(len(found), spec.sequence_length, spec.overlap)
            spans += [(begin + window.start, begin + window.stop) for window in windows]
            begin += len(found)
        crops = [self._rows[row] for row in rows]
        times = [crop.time for crop in crops]
        faces = torch.empty(len(rows), 3, size, size, dtype=torch.uint8)  # never touched
        ids = [number for number, found in enumerate(of_track.values()) for _ in found]
        boxes = [torch.from_numpy(crop.box) for crop in crops]
        points = [torch.from_numpy(_points(crop.landmarks)) for crop in crops]
        content = {
            "faces": faces,
            "times": torch.tensor(times, dtype=torch.float64),
            "boxes": torch.stack(boxes) if boxes else torch.zeros(0, 4),
            "landmarks": torch.stack(points) if points else torch.zeros(0, 5, 2),
            "track_ids": torch.tensor(ids, dtype=torch.int64),
            "windows": _views(faces, spans, spec.sequence_length),
            "timestamps": [(times[start], times[stop - 1]) for start, stop in spans],
            "num_windows": len(spans),
            **asdict(spec),
            "sampled": summary.sampled,
            "duration": summary.duration,
            "video": summary.video,
            "warnings": list(summary.warnings),
            "resolution": summary.resolution,
            "format": FORMAT,
        }
        with replacing(self._path) as temporary:
            # Into an open file, since torch would put the temporary name into the archive.
            with torch.serialization.skip_data(), temporary.open("wb") as file:
                torch.save(content, file)
            self._fill(temporary, content, rows)

    def _fill(self, path: Path, content: dict[str, Any], rows: list[int]) -> None:
        """Put the bytes of the tensors where `torch.save` left room for them."""
        with ZipFile(path) as archive, path.open("r+b") as file:
            room = {Path(info.filename).name: info for info in archive.infolist()}
            # torch numbers the tensors in the order in which it meets them.
            for number, key in enumerate(("faces", "times", "boxes", "landmarks", "track_ids")):
                header = room[str(number)].header_offset
                file.seek(header + 26)
                name, extra = struct.unpack("<HH", file.read(4))
                file.seek(header + 30 + name + extra)
                if key != "faces":
                    file.write(content[key].numpy().data)
                    continue
                for row in rows:
                    self._spool.seek(row * self._bytes)
                    file.write(self._spool.read(self._bytes))


def write(path: str | Path, video: ProcessedVideo) -> None:
    """Write a `.pt` file, atomically.

    Raises:
        FileError: it cannot be written.
    """
    kept = tuple(track.id for track in video.tracks)
    with Writer(path, video.spec) as writer:
        for track in video.tracks:
            landmarks = [None] * len(track) if track.landmarks is None else track.landmarks
            rows = zip(track.times, track.boxes, track.crops, landmarks, strict=True)
            for time, box, rgb, points in rows:
                writer.add(FaceCrop(track.id, float(time), box, rgb, points))
        writer.finish(
            Summary(
                video.video,
                video.spec,
                kept,
                video.sampled,
                video.duration,
                video.warnings,
                video.resolution,
            )
        )


def _views(faces: Tensor, spans: list[tuple[int, int]], length: int) -> Tensor | list[Tensor]:
    """Windows as views on the storage of `faces`: one tensor if the starts are evenly spaced."""
    if not spans:
        return faces.new_empty(0, length, *faces.shape[1:])
    steps = {b[0] - a[0] for a, b in pairwise(spans)}
    lengths = {stop - start for start, stop in spans}
    if len(steps) > 1 or len(lengths) > 1:
        return [faces[start:stop] for start, stop in spans]
    step, own = steps.pop() if steps else 0, faces.stride()
    return faces.as_strided(
        (len(spans), lengths.pop(), *faces.shape[1:]), (step * own[0], *own), spans[0][0] * own[0]
    )


def read(path: str | Path) -> ProcessedVideo:
    """Read a `.pt` file. Faces stay on disk, mapped into memory, until they are used.

    Raises:
        StoreError: missing, not a file of tensors, unsafe to load, or of the wrong form.
    """
    path = Path(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise StoreError(path, "no such file") from None
    except pickle.UnpicklingError:
        raise StoreError(path, "holds more than tensors and plain values; not loaded") from None
    except Exception as error:  # a damaged archive fails in many ways
        raise StoreError(path, f"not a .pt file that can be read ({_line(error)})") from error
    if not isinstance(content, dict):
        raise StoreError(path, f"holds a {type(content).__name__}, not preprocessed faces")
    try:
        return _parse(path, content) if "faces" in content else _parse_document(path, content)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, UsageError) as error:
        cause = f"key {error} is missing" if isinstance(error, KeyError) else _line(error)
        raise StoreError(path, f"not preprocessed faces: {cause}") from error


def _points(landmarks: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """(5, 2), not a number where the landmarks are not known."""
    return np.full((5, 2), np.nan, np.float32) if landmarks is None else landmarks


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _parse(path: Path, content: dict[str, Any]) -> ProcessedVideo:
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']!r}; this version reads {FORMAT}")
    faces, times = content["faces"], content["times"]
    boxes, ids = content["boxes"], content["track_ids"]
    spec = FaceSpec(
        float(content["target_fps"]),
        int(content["image_size"]),
        int(content["margin"]),
        int(content["sequence_length"]),
        int(content["overlap"]),
        content["people"],
        bool(content.get("exact", True)),  # files of before the setting
    )
    count, size = len(times), spec.image_size
    _expect("faces", faces, (count, 3, size, size), torch.uint8)
    _expect("times", times, (count,), torch.float64)
    _expect("boxes", boxes, (count, 4), torch.float32)
    _expect("track_ids", ids, (count,), torch.int64)
    landmarks = content.get("landmarks")  # older files have none
    if landmarks is not None:
        _expect("landmarks", landmarks, (count, 5, 2), torch.float32)
    make_windows(count, spec.sequence_length, spec.overlap)  # refuses impossible lengths
    tracks = []
    for number in ids.unique().tolist():
        where = (ids == number).nonzero()[:, 0]
        rows = slice(int(where[0]), int(where[-1]) + 1)
        if rows.stop - rows.start != len(where) or (times[rows].diff() <= 0).any():
            raise ValueError("the faces of a track must be together and in order of time")
        crops = faces[rows].permute(0, 2, 3, 1).numpy()
        points = None if landmarks is None else landmarks[rows].numpy()
        if points is not None and np.isnan(points).all():
            points = None
        track = FaceTrack(int(number), times[rows].numpy(), boxes[rows].numpy(), crops, points)
        tracks.append(track)
    sampled, duration = int(content["sampled"]), float(content["duration"])
    warnings = tuple(str(warning) for warning in content["warnings"])
    resolution = content.get("resolution")
    return ProcessedVideo(
        str(content["video"]),
        tuple(tracks),
        sampled,
        spec,
        duration,
        warnings,
        None if resolution is None else int(resolution),
    )


def _expect(name: str, value: Any, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """A tensor of this shape; strides that repeat memory would be a bomb."""
    if not isinstance(value, Tensor) or value.dtype != dtype or tuple(value.shape) != shape:
        have = f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value)
        raise ValueError(f"{name} must be {shape} {dtype}, not {have}")
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise ValueError(f"{name} repeats its memory")


def _parse_document(path: Path, content: dict[str, Any]) -> ProcessedVideo:
    """The design document's own form: float windows that overlap, each face several times."""
    windows, stamps = content["windows"], content["timestamps"]
    length, size = int(content["sequence_length"]), int(content["image_size"])
    if not isinstance(windows, Tensor) or len(stamps) != len(windows):
        raise ValueError("windows must be a tensor with one pair of timestamps a window")
    spec = FaceSpec(float(content["target_fps"]), size, sequence_length=length, exact=True)
    if windows.numel() == 0:
        return ProcessedVideo(path.stem, (), 0, spec, 0.0)
    _expect("windows", windows, (len(windows), windows.shape[1], 3, size, size), windows.dtype)
    faces, times = _to_uint8(windows), []
    for start, end in stamps:
        times.append(np.linspace(float(start), float(end), windows.shape[1]))
    # Join the windows where the end of one is the beginning of the next.
    parts, clock = [faces[0]], [times[0]]
    for before, after, seconds in zip(faces, faces[1:], times[1:], strict=False):
        shared = next(k for k in range(len(after), -1, -1) if _same_end(before, after, k))
        parts.append(after[shared:])
        clock.append(seconds[shared:])
    all_times = np.maximum.accumulate(np.concatenate(clock))
    all_times = all_times + np.arange(len(all_times)) * 1e-9  # strictly increasing
    crops = torch.cat(parts).permute(0, 2, 3, 1).contiguous().numpy()
    track = FaceTrack(0, all_times, np.zeros((len(crops), 4), np.float32), crops)
    return ProcessedVideo(path.stem, (track,), len(crops), spec, float(all_times[-1]))


def _same_end(before: Tensor, after: Tensor, k: int) -> bool:
    return k == 0 or torch.equal(before[-k:], after[:k])


def _to_uint8(windows: Tensor) -> Tensor:
    """Undo MTCNN's (x - 127.5) / 128, or a scale of 0 to 1; uint8 stays."""
    if windows.dtype == torch.uint8:
        return windows
    low, high = windows.aminmax()
    if low < 0:
        windows = windows * 128 + 127.5
    elif high <= 1:
        windows = windows * 255
    return windows.round().clamp(0, 255).to(torch.uint8)


def window_faces(video: ProcessedVideo, track: int, window: Window) -> NDArray[np.uint8]:
    """The faces of a window as (n, 3, S, S) uint8, n = stop - start, unpadded."""
    crops = video.tracks[track].crops[window.start : window.stop]
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2))
