"""Timed frames -> the faces in each: where to search, and where to follow."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import torch

from unmask.faces.boxes import unmatched
from unmask.faces.cuts import CutFinder
from unmask.faces.mtcnn import MTCNN, Face
from unmask.stages import stage
from unmask.threads import take_one_core
from unmask.video.reader import Frame

# Every so many seconds faces are searched for from this share of the picture's shorter side on:
# the smaller, the more rarely; for those smaller still only where there is no other. A face that
# stays as long cannot be missed.
SEARCHES = ((1.0, 1 / 6), (2.0, 1 / 12), (10.0, 1 / 24))
# Where only the largest face counts: small ones matter at the beginning of a shot.
SEARCHES_FOR_LARGEST = ((1.0, 1 / 6), (math.inf, 1 / 24))
_SURE = 0.9  # score of a face that does not vanish without a search
_MAX_HELD, _MAX_HELD_GPU = 8, 32  # frames between two searches, or searched at once
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
            once a second (see SEARCHES), after a cut and where there is no clear face, and
            follow the faces from there into the frames between, forwards and backwards: look
            around their boxes only. Where a clear face is lost on the way, its frame is
            searched. On a GPU every frame is searched in any case.
        largest: only the largest face of each frame is of interest.
    """

    def __init__(self, detector: MTCNN, exact: bool = False, largest: bool = False) -> None:
        self._detector = detector
        self._searches = SEARCHES_FOR_LARGEST if largest else SEARCHES
        self._on_cpu = detector.device.type == "cpu"
        self._every = exact or not self._on_cpu  # a GPU searches faster than it follows

    def find(self, frames: Iterable[Frame]) -> Iterator[Sighting]:
        """Yield each frame with its faces, in order, some seconds late.

        Several stretches of the video are worked at, a core for each: networks as small as
        these gain little from sharing one.
        """
        threads = torch.get_num_threads() if self._on_cpu else 1
        pool = ThreadPoolExecutor(threads, "faces", take_one_core if threads > 1 else None)
        coming: deque[tuple[_Stretch, Future[None]]] = deque()
        before: Future[None] | None = None
        first: Future[list[Face]] | None = None
        try:
            for stretch in self._stretches(frames):
                if self._every:
                    done = pool.submit(self._search_all, stretch)
                else:
                    last = pool.submit(self._search, stretch.sightings[-1], stretch.share)
                    done = pool.submit(self._settle, stretch, first, last, before)
                    first = last
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
                yield _Stretch(held, previous, self._searches)
                held, previous = [], None
            elif cut:
                previous = None
            held.append(Sighting(frame, cut, []))
            most = _MAX_HELD if self._on_cpu else _MAX_HELD_GPU
            full = len(held) >= min(most, _MAX_HELD_PIXELS * 3 // frame.rgb.size)
            due = previous is None or frame.time > previous.end + self._searches[0][0] - 1e-3
            if full or (due and not self._every):
                previous = _Stretch(held, previous, self._searches)
                yield previous
                held = []
        if held:
            yield _Stretch(held, previous, self._searches)

    def _search_all(self, stretch: "_Stretch") -> None:
        with stage("search", len(stretch.sightings)):
            found = self._detector.detect([sighting.frame.rgb for sighting in stretch.sightings])
        for sighting, faces in zip(stretch.sightings, found, strict=True):
            sighting.faces = faces

    def _settle(
        self,
        stretch: "_Stretch",
        first: Future[list[Face]] | None,
        last: Future[list[Face]],
        before: Future[None] | None,
    ) -> None:
        """Follow faces into a stretch from both ends, and on through it where they end inside.

        Args:
            stretch: the frames.
            first, last: the searches of its start and its end.
            before: done with the stretch before it, which is worked at meanwhile.
        """
        *between, end = stretch.sightings
        end.faces = last.result()
        start = stretch.start
        left, right = first.result() if start and first else [], end.faces
        for one, other in zip(between, between[::-1], strict=True):
            if one.frame.index >= other.frame.index:
                if one is other:
                    one.faces = self._follow([one], [[*left, *_lost(right, left)]])[0]
                break
            one.faces, other.faces = self._follow([one, other], [left, right])
            left, right = one.faces, other.faces
        if before is not None:
            before.result()
        searched = {end}
        for sighting in stretch.sightings:
            if start is not None:
                self._carry(start, sighting, searched)
            start = sighting
        if not _sure(end.faces):
            end.faces = self._search(end, 0)
        for after, sighting in pairwise(stretch.sightings[::-1]):
            self._carry(after, sighting, searched)
        for sighting in stretch.sightings:
            sighting.faces = sorted(sighting.faces, key=lambda face: face.area, reverse=True)

    def _carry(self, neighbour: Sighting, sighting: Sighting, searched: set[Sighting]) -> None:
        """Follow the faces of a neighbour that are not found here yet."""
        lost = _lost(neighbour.faces, sighting.faces)
        if lost:
            (found,) = self._follow([sighting], [lost])
            sighting.faces = sighting.faces + _lost(found, sighting.faces)
            if sighting not in searched and _sure(_lost(lost, found)):
                sighting.faces = self._search(sighting, SEARCHES[1][1])
                searched.add(sighting)

    def _search(self, sighting: Sighting, share: float) -> list[Face]:
        rgb = sighting.frame.rgb
        with stage("search", 1):
            return self._detector.detect([rgb], round(min(rgb.shape[:2]) * share))[0]

    def _follow(self, sightings: list[Sighting], faces: list[list[Face]]) -> list[list[Face]]:
        frames = [sighting.frame.rgb for sighting in sightings]
        with stage("follow", len(frames)):
            return self._detector.detect_near(frames, [[f.box for f in near] for near in faces])


class _Stretch:
    """Successive frames of a shot, the last of which is searched.

    Attributes:
        sightings: the frames.
        start: the searched end of the stretch before it, if that was of the same shot.
        end: seconds, of the last one.
        share: of the picture's shorter side; the search is for faces from there on.
    """

    def __init__(
        self,
        sightings: list[Sighting],
        previous: "_Stretch | None",
        searches: tuple[tuple[float, float], ...],
    ) -> None:
        self.sightings = sightings
        self.end = sightings[-1].frame.time
        last = previous._searched if previous else (-math.inf,) * len(searches)
        shares = [
            share
            for time, (every, share) in zip(last, searches, strict=True)
            if time == -math.inf or self.end > time + every - 1e-3
        ]
        self.share = min(shares, default=searches[0][1])
        self._searched: tuple[float, ...] = tuple(
            self.end if share >= self.share else time
            for time, (_, share) in zip(last, searches, strict=True)
        )
        self.start = previous.sightings[-1] if previous else None


def _finished(stretch: _Stretch, done: Future[None]) -> list[Sighting]:
    done.result()
    return stretch.sightings


def _lost(before: list[Face], after: list[Face]) -> list[Face]:
    return [before[i] for i in unmatched([f.box for f in before], [f.box for f in after])]


def _sure(faces: list[Face]) -> bool:
    return any(face.score > _SURE for face in faces)
