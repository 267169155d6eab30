"""A contact sheet: whom a video shows, and when."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.atomic import replacing
from unmask.data.preprocessor import FaceStream
from unmask.data.pt_file import Summary
from unmask.faces import FaceCrop

SIDE = 112  # pixels of a face on the sheet
_COLUMNS = 12
_MARGIN, _LINE = 8, 22
_INK, _FAINT = (20, 20, 20), (150, 150, 150)


@dataclass
class _Row:
    """A person's faces, thinned out evenly while they come."""

    faces: list[FaceCrop] = field(default_factory=list)
    count: int = 0
    step: int = 1

    def add(self, face: FaceCrop) -> None:
        if self.count % self.step == 0:
            self.faces.append(face)
        self.count += 1
        self.last = face
        if len(self.faces) == 2 * _COLUMNS:
            self.faces, self.step = self.faces[::2], 2 * self.step

    @property
    def shown(self) -> list[FaceCrop]:
        at = np.linspace(0, len(self.faces) - 1, min(_COLUMNS, len(self.faces)))
        return [self.faces[round(i)] for i in at]


def contact_sheet(stream: FaceStream, path: str | Path) -> Summary:
    """Draw a row of faces for every person, with their times; write it as PNG or JPEG.

    Background people, who do not count in a verdict, come last and in grey.

    Args:
        stream: faces, of `VideoPreprocessor(faces="all", ...).stream(video)`.
        path: file to write.

    Raises:
        VideoError: the video cannot be read.
        FileError: the sheet cannot be written.
    """
    rows: dict[int, _Row] = {}
    for face in stream:
        rows.setdefault(face.track, _Row()).add(face)
    kept = stream.summary.kept
    order = [*kept, *(track for track in rows if track not in kept)]
    strips = [_strip(rows[track], number, track in kept) for number, track in enumerate(order)]
    text = "" if strips else f"no face found in {stream.summary.sampled} sampled frames"
    width = _COLUMNS * (SIDE + _MARGIN) + _MARGIN
    title = _written(f"{stream.summary.video}  {text}", width, _INK)
    sheet = cv2.cvtColor(np.vstack([title, *strips]), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(Path(path).suffix, sheet)
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())
    return stream.summary


def _strip(row: _Row, number: int, counts: bool) -> NDArray[np.uint8]:
    width = _COLUMNS * (SIDE + _MARGIN) + _MARGIN
    first, last = row.faces[0], row.last
    side = float(np.median([face.box[2] - face.box[0] for face in row.faces]))
    name = f"person {number}" if counts else "background"
    said = f"{name}: {first.time:.1f} to {last.time:.1f} s, {row.count} faces, {side:.0f} px wide"
    strip = np.full((SIDE + _LINE, width, 3), 255, np.uint8)
    for column, face in enumerate(row.shown):
        x = _MARGIN + column * (SIDE + _MARGIN)
        rgb = cv2.resize(face.rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        strip[:SIDE, x : x + SIDE] = rgb if counts else rgb // 2 + 120
        _write(strip, f"{face.time:.1f} s", (x, SIDE + 15), _INK if counts else _FAINT)
    return np.vstack([_written(said, width, _INK if counts else _FAINT), strip])


def _written(text: str, width: int, ink: Sequence[int]) -> NDArray[np.uint8]:
    line = np.full((_LINE + _MARGIN, width, 3), 255, np.uint8)
    _write(line, text, (_MARGIN, _LINE), ink)
    return line


def _write(
    picture: NDArray[np.uint8], text: str, place: tuple[int, int], ink: Sequence[int]
) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, 1, cv2.LINE_AA)
