"""Face tracks -> a `.pt` file, written while the faces are being found."""

import struct
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor

from unmask.atomic import replacing, writing
from unmask.data.pt_file.model import FORMAT, KEPT, ProcessedVideo, Summary, points_or_nan
from unmask.data.windows import make_windows
from unmask.face_spec import FaceSpec
from unmask.faces import FaceCrop

_NOTHING = np.zeros((0, 0, 3), np.uint8)


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
        points = [torch.from_numpy(points_or_nan(crop.landmarks)) for crop in crops]
        settings = asdict(spec)
        settings[KEPT] = settings.pop("faces")
        content = {
            "faces": faces,
            "times": torch.tensor(times, dtype=torch.float64),
            "boxes": torch.stack(boxes) if boxes else torch.zeros(0, 4),
            "landmarks": torch.stack(points) if points else torch.zeros(0, 5, 2),
            "track_ids": torch.tensor(ids, dtype=torch.int64),
            "windows": _views(faces, spans, spec.sequence_length),
            "timestamps": [(times[start], times[stop - 1]) for start, stop in spans],
            "num_windows": len(spans),
            **settings,
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
