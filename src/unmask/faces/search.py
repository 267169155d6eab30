"""Timed frames -> the faces in each: where to search, and where to follow."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import torch
from threadpoolctl import threadpool_limits

from unmask.faces.boxes import unmatched
from unmask.faces.cuts import CutFinder
from unmask.faces.mtcnn import MTCNN, Face
from unmask.video import Frame

SEARCH_EVERY = 1.0  # seconds at the most; a face that stays as long cannot be missed
MIN_SHARE_OF_PICTURE = 1 / 16  # of its shorter side; smaller faces are searched more rarely:
SEARCH_ALL_EVERY = 10.0  # seconds, and after a cut, and where there is no larger face
_SURE = 0.9  # score of a face that does not vanish without a search
_MAX_HELD = 8  # frames between two searches
_MAX_HELD_PIXELS = 35_000_000  # of these frames together


@dataclass(eq=False)
class Sighting:
    """A frame, the faces in it, largest first, and whether a hard cut lies before it."""

    frame: Frame
    cut: bool
    faces: list[Face]


class FaceFinder:
    """Finds the faces in the frames of a video.

    Args:
        detector: the face detector.
        exact: search every frame for every face, as the detector alone would. Otherwise search
            once a second and on both sides of a cut, and follow the faces from there into the
            frames between, forwards and backwards: look around their boxes only. Where a clear
            face is lost on the way, its frame is searched. Faces below MIN_SHARE_OF_PICTURE are
            followed likewise, but searched for only every ten seconds.
    """

    def __init__(self, detector: MTCNN, exact: bool = False) -> None:
        self._detector = detector
        self._exact = exact

    def find(self, frames: Iterable[Frame]) -> Iterator[Sighting]:
        """Yield each frame with its faces, in order, some seconds late.

        Several stretches of the video are worked at, a core for each: networks as small as
        these gain little from sharing one.
        """
        threads = torch.get_num_threads() if self._detector.device.type == "cpu" else 1
        pool = ThreadPoolExecutor(threads, "faces", _take_one_core if threads > 1 else None)
        coming: deque[tuple[_Stretch, Future[None]]] = deque()
        before: Future[None] | None = None
        try:
            for stretch in self._stretches(frames):
                if self._exact:
                    done = pool.submit(self._search_all, stretch)
                else:
                    last = pool.submit(self._search, stretch.sightings[-1], stretch.thorough)
                    done = pool.submit(self._settle, stretch, last, before)
                coming.append((stretch, done))
                before = done
                if len(coming) > threads:
                    yield from _finished(*coming.popleft())
            while coming:
                yield from _finished(*coming.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _stretches(self, frames: Iterable[Frame]) -> "Iterator[_Stretch]":
        """Cut the video where a search is due."""
        cuts = CutFinder()
        held: list[Sighting] = []
        previous: _Stretch | None = None  # of the same shot
        for frame in frames:
            cut = cuts.is_cut(frame.rgb)
            if held and (cut or frame.rgb.shape != held[0].frame.rgb.shape):
                yield _Stretch(held, previous)
                held, previous = [], None
            elif cut:
                previous = None
            held.append(Sighting(frame, cut, []))
            full = len(held) >= min(_MAX_HELD, _MAX_HELD_PIXELS * 3 // frame.rgb.size)
            due = previous is None or frame.time > previous.end + SEARCH_EVERY - 1e-3
            if full or (due and not self._exact):
                previous = _Stretch(held, previous)
                yield previous
                held = []
        if held:
            yield _Stretch(held, previous)

    def _search_all(self, stretch: "_Stretch") -> None:
        found = self._detector.detect([sighting.frame.rgb for sighting in stretch.sightings])
        for sighting, faces in zip(stretch.sightings, found, strict=True):
            sighting.faces = faces

    def _settle(
        self, stretch: "_Stretch", last: Future[list[Face]], before: Future[None] | None
    ) -> None:
        """Follow faces through a stretch from both ends."""
        *between, end = stretch.sightings
        if before is not None:
            before.result()
        searched = set()
        faces = stretch.before
        for sighting in between:
            sighting.faces = self._follow(sighting, faces)
            if _sure(_lost(faces, sighting.faces)):
                sighting.faces = self._search(sighting)
                searched.add(sighting.frame.index)
            faces = sighting.faces
        end.faces = last.result()
        unseen = _lost(faces, end.faces)  # too small for this search, or gone
        end.faces = end.faces + _lost(self._follow(end, unseen), end.faces)
        for after, sighting in pairwise(stretch.sightings[::-1]):
            entered = _lost(after.faces, sighting.faces)
            if entered and sighting.frame.index not in searched:
                faces = self._follow(sighting, [*sighting.faces, *entered])
                missed = _sure(_lost(after.faces, faces))
                sighting.faces = self._search(sighting) if missed else faces

    def _search(self, sighting: Sighting, thorough: bool = False) -> list[Face]:
        rgb = sighting.frame.rgb
        least = round(min(rgb.shape[:2]) * MIN_SHARE_OF_PICTURE)
        if not thorough and least > self._detector.min_face_size:
            (faces,) = self._detector.detect([rgb], least)
            if faces:
                return faces
        return self._detector.detect([rgb])[0]

    def _follow(self, sighting: Sighting, faces: list[Face]) -> list[Face]:
        return self._detector.detect_near(sighting.frame.rgb, [face.box for face in faces])


class _Stretch:
    """Successive frames of a shot, the last of which is searched.

    Attributes:
        sightings: the frames.
        end: seconds, of the last one.
        thorough: whether the search is for faces of every size.
        searched: seconds, when the last such search is or was.
    """

    def __init__(self, sightings: list[Sighting], previous: "_Stretch | None") -> None:
        self.sightings = sightings
        self.end = sightings[-1].frame.time
        searched: float = previous.searched if previous else -math.inf
        self.thorough = self.end > searched + SEARCH_ALL_EVERY - 1e-3
        self.searched: float = self.end if self.thorough else searched
        self._last = previous.sightings[-1] if previous else None

    @property
    def before(self) -> list[Face]:
        """The faces where the stretch before it ended, if that was of the same shot."""
        return self._last.faces if self._last else []


def _finished(stretch: _Stretch, done: Future[None]) -> list[Sighting]:
    done.result()
    return stretch.sightings


def _take_one_core() -> None:
    torch.get_num_threads()  # or torch would set the number later
    threadpool_limits(1, user_api="openmp")  # of this thread only


def _lost(before: list[Face], after: list[Face]) -> list[Face]:
    return [before[i] for i in unmatched([f.box for f in before], [f.box for f in after])]


def _sure(faces: list[Face]) -> bool:
    return any(face.score > _SURE for face in faces)
