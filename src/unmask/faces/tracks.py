"""Faces of successive frames -> people: a track is one person over time."""

import math
from collections import deque
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from unmask.errors import UsageError
from unmask.faces.boxes import distance
from unmask.faces.crop import area, crop_face
from unmask.faces.mtcnn import Face
from unmask.faces.search import Sighting
from unmask.faces.smoothing import REACH, smooth_box
from unmask.video.reader import Frame

MAX_GAP = 1.0  # seconds that a face may be out of sight within one track
MIN_SECONDS = 1.0  # a track shorter than this, and than half the video, is passing background
MIN_SHARE = 1 / 3  # of the largest track's face width: smaller faces are background
MIN_SCORE = 0.9  # median of a track's faces: below are hands and folds, hardly ever a face
MAX_FACES = 32  # in one frame; of a crowd the largest
_SLACK = 0.1  # of a box's side: smoothing moves none of its edges further
# How alike two pictures of a face are (see _alike): 95 % of the pairs of one person in successive
# samples are above 0.73, 95 % of pairs of two people in one frame below 0.6.
_UNLIKE, _ALIKE = 0.3, 0.7
_TRIED = 120  # ways to pair tracks and faces, of which the best is found by trying
_LEAP = 3.0  # in sides of the box: as far as a face that looks the same may go between two samples


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One person's face over time; gaps in `times` are stretches without a clear face.

    Attributes:
        id: number of the track within the video, from 0.
        times: (N,) float64, seconds, strictly increasing.
        boxes: (N, 4) float32, x0, y0, x1, y1 in pixels of the frame.
        crops: (N, S, S, 3) uint8, RGB.
        landmarks: (N, 5, 2) float32, x, y in pixels of the crops (see Face); None where not kept.
    """

    id: int
    times: NDArray[np.float64]
    boxes: NDArray[np.float32]
    crops: NDArray[np.uint8]
    landmarks: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """One face of one track.

    Attributes:
        track: number of the track, in order of appearance.
        time: seconds.
        box: (4,) float32, x0, y0, x1, y1 in pixels of the frame.
        rgb: (S, S, 3) uint8, RGB.
        landmarks: (5, 2) float32, x, y in pixels of `rgb` (see Face); None where not known.
    """

    track: int
    time: float
    box: NDArray[np.float32]
    rgb: NDArray[np.uint8]
    landmarks: NDArray[np.float32] | None = None


@dataclass(eq=False)
class _Waiting:
    """A face that is cut out once its neighbours are known: the part of the frame around it."""

    at: int
    left: int
    top: int
    rgb: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


@dataclass(eq=False)
class _Open:
    """A track that may still grow."""

    id: int
    times: list[float] = field(default_factory=list)
    boxes: list[NDArray[np.float32]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    stretch: int = 0  # where the faces begin that the next one may be smoothed with
    waiting: deque[_Waiting] = field(default_factory=deque)
    looks: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def width(self) -> float:
        return float(np.median([box[2] - box[0] for box in self.boxes]))

    def expected(self, time: float) -> NDArray[np.float32]:
        """Where the face should be at `time`, if it goes on as it did."""
        box = self.boxes[-1]
        if len(self.boxes) < 2 or self.times[-1] - self.times[-2] > MAX_GAP / 2:
            return box
        speed = (box - self.boxes[-2]) / (self.times[-1] - self.times[-2])
        drift = (speed[:2] + speed[2:]) / 2 * min(time - self.times[-1], MAX_GAP / 2)
        return box + np.concatenate([drift, drift]).astype(np.float32)


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
    """Turns the faces of frames, in order, into crops that belong to tracks.

    Args:
        faces: "largest" takes the largest face of every frame, whoever it is, into one track.
            "all" links faces into people, and a number N keeps the N people who take most of
            the picture over time. A cut ends every track, and so does MAX_GAP without the face.
            Small, passing and doubtful faces are left out (see MIN_SECONDS, MIN_SHARE,
            MIN_SCORE) where there are others.
        size, margin: of the crops, see crop_face.
        exact: leave the boxes as they were found; the largest face may be a doubtful one.
            Otherwise boxes are evened out over time, see smooth_box.
    """

    def __init__(
        self, faces: str | int = "largest", size: int = 224, margin: int = 0, exact: bool = False
    ) -> None:
        self.faces = parse_faces(faces)
        self.size = size
        self.margin = margin
        self._exact = exact
        self._tracks: list[_Open] = []
        self._going: list[_Open] = []  # those that may still grow
        self._span = 0.0

    def add(self, sighting: Sighting) -> list[FaceCrop]:
        """Take the next frame; return the crops that are final now."""
        frame, faces = sighting.frame, sighting.faces[:MAX_FACES]
        self._span = frame.time
        ready = []
        if self.faces == "largest":
            if not self._exact:
                faces = [face for face in faces if face.score >= MIN_SCORE] or faces
            if faces and not self._going:
                self._open()
            pairs = [(0, 0)] if faces else []
        else:
            ended = [
                track
                for track in self._going
                if sighting.cut or frame.time - track.times[-1] > MAX_GAP + 1e-6
            ]
            ready = [crop for track in ended for crop in self._cut_out(track, None)]
            self._going = [track for track in self._going if track not in ended]
            looks = [_looks(frame, face.box) for face in faces]
            pairs = self._link(frame.time, faces, looks)
            for j in sorted(set(range(len(faces))) - {j for _, j in pairs}):
                pairs.append((len(self._going), j))
                self._open()
            for i, j in pairs:
                self._going[i].looks = looks[j]
        for i, j in pairs:
            ready += self._grow(self._going[i], sighting, faces[j])
        for track in self._going:
            ready += self._cut_out(track, frame.time)
        return ready

    def finish(self) -> list[FaceCrop]:
        """The crops that were still waiting; there are no more frames."""
        return [crop for track in self._going for crop in self._cut_out(track, None)]

    @property
    def kept(self) -> list[int]:
        """The tracks that count, in order of appearance; known when there are no more frames."""
        tracks = self._tracks
        if self.faces != "largest" and tracks:
            least = min(MIN_SECONDS, self._span / 2)
            tracks = [t for t in tracks if np.median(t.scores) >= MIN_SCORE] or tracks
            tracks = [t for t in tracks if t.times[-1] - t.times[0] >= least] or tracks
            widest = max(track.width for track in tracks)
            tracks = [t for t in tracks if t.width >= MIN_SHARE * widest]
        if isinstance(self.faces, int):
            ranked = sorted(tracks, key=lambda t: len(t.times) * t.width**2, reverse=True)
            chosen = {t.id for t in ranked[: self.faces]}
            tracks = [t for t in tracks if t.id in chosen]
        return [track.id for track in tracks]

    def _open(self) -> None:
        self._tracks.append(_Open(len(self._tracks)))
        self._going.append(self._tracks[-1])

    def _link(
        self, time: float, faces: list[Face], looks: list[NDArray[np.float32]]
    ) -> list[tuple[int, int]]:
        """Pairs of a going track and a face, so that place and looks change least in all."""
        if not faces or not self._going:
            return []
        cost = np.full((len(self._going), len(faces)), 1e3)
        for i, track in enumerate(self._going):
            expected = track.expected(time)
            fresh = time - track.times[-1] <= MAX_GAP / 2
            for j, face in enumerate(faces):
                apart, alike = distance(expected, face.box), _alike(track.looks, looks[j])
                grown = (face.box[2] - face.box[0]) / (expected[2] - expected[0])
                leapt = fresh and alike > _ALIKE and 0.7 < grown < 1.4 and apart < _LEAP
                if alike >= _UNLIKE and (apart < 1 or leapt):
                    cost[i, j] = apart + 1 - alike
        return [(i, j) for i, j in _assign(cost) if cost[i, j] < 1e3]

    def _grow(self, track: _Open, sighting: Sighting, face: Face) -> list[FaceCrop]:
        frame, box, ready = sighting.frame, face.box, []
        if sighting.cut or (track.boxes and distance(track.boxes[-1], box) >= 1):
            ready = self._cut_out(track, None)  # another face: not to be smoothed with this one
            track.stretch = len(track.boxes)
        track.times.append(frame.time)
        track.boxes.append(box)
        track.scores.append(face.score)
        part = area(frame.rgb, box, self.size, self.margin, _SLACK)
        around = frame.rgb[part].copy()  # a view would keep the whole frame
        left, top = part[1].start, part[0].start
        points = face.landmarks - np.array([left, top], np.float32)
        waiting = _Waiting(len(track.boxes) - 1, left, top, around, points)
        track.waiting.append(waiting)
        return ready

    def _cut_out(self, track: _Open, now: float | None) -> list[FaceCrop]:
        """Crops whose neighbours in time are all known; without `now` those that wait."""
        crops = []
        while track.waiting:
            time = track.times[track.waiting[0].at]
            if not self._exact and now is not None and now < time + REACH:
                break
            face = track.waiting.popleft()
            box = self._box(track, face.at)
            corner = np.array([face.left, face.top] * 2, np.float32)
            rgb = crop_face(face.rgb, box - corner, self.size, self.margin)
            rows, columns = area(face.rgb, box - corner, self.size, self.margin)
            begin = np.array([columns.start, rows.start])
            sides = np.array([columns.stop - columns.start, rows.stop - rows.start])
            landmarks = ((face.landmarks - begin) * (self.size / sides)).astype(np.float32)
            crops.append(FaceCrop(track.id, time, box, rgb, landmarks))
        return crops

    def _box(self, track: _Open, at: int) -> NDArray[np.float32]:
        if self._exact:
            return track.boxes[at]
        times, first = track.times, at
        while first > track.stretch and times[at] - times[first - 1] <= REACH:
            first -= 1
        times = times[first:]  # what comes after `at` is near: longer it would not have waited
        return smooth_box(np.array(times), np.stack(track.boxes[first:]), at - first)


def _looks(frame: Frame, box: NDArray[np.float32]) -> NDArray[np.float32]:
    """A face as a tiny picture without its brightness and contrast: (432,) float32."""
    small = crop_face(frame.rgb, box, 12).astype(np.float32).ravel()
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


def _assign(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs of a row and a column whose costs have the smallest sum, by row."""
    few, many = cost.shape
    if few > many:
        return sorted((row, column) for column, row in _assign(cost.T))
    if math.perm(many, few) <= _TRIED:
        ways = permutations(range(many), few)
        return list(enumerate(min(ways, key=lambda way: cost[np.arange(few), list(way)].sum())))
    from scipy.optimize import linear_sum_assignment  # late: it takes half a second

    rows, columns = linear_sum_assignment(cost)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _alike(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Correlation of two tiny pictures, -1 to 1; 1 for two that show nothing."""
    return 1 - float(np.sum((a - b) ** 2)) / 2
