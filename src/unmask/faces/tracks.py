"""Faces of successive frames -> people: a track is one person over time."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unmask.errors import UsageError
from unmask.faces.crop import crop_face
from unmask.faces.mtcnn import Face
from unmask.video import Frame

MAX_GAP = 1.0  # seconds that a face may be out of sight within one track
MIN_SECONDS = 1.0  # a track shorter than this, and than half the video, is passing background
MIN_SHARE = 1 / 3  # of the largest track's face width: smaller faces are background


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One person's face over time; gaps in `times` are stretches without a clear face.

    Attributes:
        id: number of the track within the video, from 0.
        times: (N,) float64, seconds, strictly increasing.
        boxes: (N, 4) float32, x0, y0, x1, y1 in pixels of the frame.
        crops: (N, S, S, 3) uint8, RGB.
    """

    id: int
    times: NDArray[np.float64]
    boxes: NDArray[np.float32]
    crops: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.times)


@dataclass
class _Open:
    """A track that may still grow."""

    times: list[float] = field(default_factory=list)
    boxes: list[NDArray[np.float32]] = field(default_factory=list)
    crops: list[NDArray[np.uint8]] = field(default_factory=list)

    def add(self, time: float, box: NDArray[np.float32], crop: NDArray[np.uint8]) -> None:
        self.times.append(time)
        self.boxes.append(box)
        self.crops.append(crop)

    @property
    def width(self) -> float:
        return float(np.median([box[2] - box[0] for box in self.boxes]))


def parse_faces(faces: str | int) -> str | int:
    """Check a choice of faces: "largest", "all", or how many people at the most."""
    if faces in ("largest", "all"):
        return faces
    try:
        count = int(faces)
    except ValueError:
        count = 0
    if count < 1:
        raise UsageError(f"faces must be 'largest', 'all' or a number from 1, not {faces!r}")
    return count


class Tracker:
    """Collects the faces of frames, in order, into tracks.

    `faces="largest"` takes the largest face of every frame, whoever it is, into one track.
    "all" links faces into people, and a number N keeps the N people who take most of the picture
    over time. Small or passing background faces are left out (see MIN_SECONDS, MIN_SHARE).
    """

    def __init__(self, faces: str | int = "largest", size: int = 224, margin: int = 0) -> None:
        self.faces = parse_faces(faces)
        self.size = size
        self.margin = margin
        self._tracks: list[_Open] = []
        self._span = 0.0

    def add(self, frame: Frame, faces: list[Face]) -> None:
        """Take the faces of the next frame, largest first."""
        self._span = frame.time
        if self.faces == "largest":
            if faces:
                self._tracks = self._tracks or [_Open()]
                self._grow(self._tracks[0], frame, faces[0])
            return
        waiting = [t for t in self._tracks if frame.time - t.times[-1] <= MAX_GAP + 1e-6]
        pairs = sorted(
            (
                (_distance(track.boxes[-1], face.box), i, j)
                for i, track in enumerate(waiting)
                for j, face in enumerate(faces)
            ),
        )
        taken_tracks: set[int] = set()
        taken_faces: set[int] = set()
        for distance, i, j in pairs:
            if distance >= 1 or i in taken_tracks or j in taken_faces:
                continue
            taken_tracks.add(i)
            taken_faces.add(j)
            self._grow(waiting[i], frame, faces[j])
        for j, face in enumerate(faces):
            if j not in taken_faces:
                self._tracks.append(_Open())
                self._grow(self._tracks[-1], frame, face)

    def finish(self) -> list[FaceTrack]:
        """The tracks that count, in order of appearance."""
        tracks = self._tracks
        if self.faces != "largest" and tracks:
            widest = max(track.width for track in tracks)
            least = min(MIN_SECONDS, self._span / 2)
            long = [t for t in tracks if t.times[-1] - t.times[0] >= least] or tracks
            tracks = [t for t in long if t.width >= MIN_SHARE * widest] or long
        if isinstance(self.faces, int):
            ranked = sorted(tracks, key=lambda t: len(t.times) * t.width**2, reverse=True)
            chosen = {id(t) for t in ranked[: self.faces]}
            tracks = [t for t in tracks if id(t) in chosen]
        return [
            FaceTrack(i, np.array(t.times), np.stack(t.boxes), np.stack(t.crops))
            for i, t in enumerate(tracks)
        ]

    def _grow(self, track: _Open, frame: Frame, face: Face) -> None:
        crop = crop_face(frame.rgb, face.box, self.size, self.margin)
        track.add(frame.time, face.box, crop)


def _distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """How far two boxes are apart, 0 for the same box; at 1 they can't be one face any more.

    Between samples a head moves by up to its own width and changes its size only slowly.
    """
    side_a, side_b = (float(np.sqrt(max(np.prod(box[2:] - box[:2]), 1e-6))) for box in (a, b))
    moved = float(np.linalg.norm((a[:2] + a[2:]) / 2 - (b[:2] + b[2:]) / 2))
    scaled = abs(np.log2(side_a / side_b))
    return moved / max(side_a, side_b) + float(scaled) / 2
