"""One pass over a video for its report: faces to show, a thumbnail, and the cuts."""

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.data import pt_file
from unmask.detection.heatmap import overlay
from unmask.detection.prediction import Prediction, ScoredFace
from unmask.errors import FileError
from unmask.face_spec import FaceSpec
from unmask.faces import crop_face
from unmask.faces.cuts import CutFinder
from unmask.video.reader import Limits, Video

Image = NDArray[np.uint8]
_SHOWN = 6  # faces with the highest scores, and as many with the lowest
_APART = 1.0  # seconds between two of them, where there are enough
_SIDE = 144  # pixels of a face
_WIDE = 160  # pixels of the thumbnail's longer side


@dataclass(frozen=True)
class ShownFace:
    """A face of the strip.

    Attributes:
        scored: when, whose, and its score.
        high: among the highest scores, or else the lowest.
        face: data URL of a picture.
        heat: the same under its heatmap; None where the model makes none.
    """

    scored: ScoredFace
    high: bool
    face: str
    heat: str | None


@dataclass(frozen=True)
class Footage:
    """What a report shows of a video; `thumbnail` a data URL, `cuts` in seconds."""

    faces: tuple[ShownFace, ...] = ()
    thumbnail: str | None = None
    cuts: tuple[float, ...] = ()


def look(
    prediction: Prediction,
    spec: FaceSpec,
    path: str | Path,
    limits: Limits = Limits(),  # noqa: B008
) -> Footage:
    """Pick the telling faces of a video, or of a `.pt` file, and see where it is cut.

    Args:
        prediction: of it.
        spec: how its faces were made.
        path: of the file; what cannot be read (any more) leaves the pictures out.
        limits: what the pass may cost.
    """
    chosen = telling(prediction.timeline)
    cuts: tuple[float, ...] = ()
    try:
        if Path(path).suffix == pt_file.SUFFIX:
            crops = [crop for track in pt_file.read(path).tracks for crop in track.crops]
            found = {n: np.ascontiguousarray(crops[n]) for n in chosen if n < len(crops)}
            thumbnail = _url(crops[0], _WIDE) if crops else None
        else:
            found, thumbnail, cuts = _pass(prediction, spec, Path(path), set(chosen), limits)
    except FileError:
        return Footage()
    faces = [_shown(prediction, n, chosen[n], found[n]) for n in chosen if n in found]
    return Footage(tuple(faces), thumbnail, cuts)


def telling(timeline: tuple[ScoredFace, ...]) -> dict[int, bool]:
    """Numbers of the faces with the highest scores (True), then of those with the lowest."""
    by_score = sorted(range(len(timeline)), key=lambda n: -timeline[n].score)
    high = _spread(timeline, by_score)
    low = _spread(timeline, [n for n in reversed(by_score) if n not in high])
    return dict.fromkeys(high, True) | dict.fromkeys(low, False)


def _spread(timeline: tuple[ScoredFace, ...], order: list[int]) -> list[int]:
    """The first of an order, not of one moment if there are others; sorted by score, high first."""
    chosen: list[int] = []
    for n in order:
        near = (abs(timeline[n].time - timeline[other].time) < _APART for other in chosen)
        if len(chosen) < _SHOWN and not any(near):
            chosen.append(n)
    chosen += [n for n in order if n not in chosen][: _SHOWN - len(chosen)]
    return sorted(chosen, key=lambda n: -timeline[n].score)


def _pass(
    prediction: Prediction, spec: FaceSpec, path: Path, chosen: set[int], limits: Limits
) -> tuple[dict[int, Image], str | None, tuple[float, ...]]:
    wanted: dict[float, list[int]] = {}
    for n in chosen:
        wanted.setdefault(prediction.timeline[n].time, []).append(n)
    first = min((face.time for face in prediction.timeline), default=0.0)
    found: dict[int, Image] = {}
    finder, cuts, thumbnail = CutFinder(), [], None
    with Video(path, limits) as video:
        for frame in video.frames(spec.target_fps):
            if finder.is_cut(frame.rgb):
                cuts.append(frame.time)
            if thumbnail is None and frame.time >= first:
                thumbnail = _url(frame.rgb, _WIDE)
            for n in wanted.get(frame.time, ()):
                box = np.array(prediction.timeline[n].box, np.float32)
                found[n] = crop_face(frame.rgb, box, spec.image_size, spec.margin)
    return found, thumbnail, tuple(cuts)


def _shown(prediction: Prediction, number: int, high: bool, crop: Image) -> ShownFace:
    face = np.asarray(cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    maps = prediction.heatmaps
    heat = None if maps is None else _url(overlay(face, maps[number]), _SIDE)
    return ShownFace(prediction.timeline[number], high, _url(face, _SIDE), heat)


def _url(rgb: Image, side: int) -> str:
    """A picture as a data URL, its longer side at most `side` pixels."""
    scale = min(1.0, side / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
