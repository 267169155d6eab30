"""Where is a detector good, and where not? Metrics by category, method, resolution, face size."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from unmask.evaluation.measures import Interval, auc_roc, intervals
from unmask.evaluation.scores import ScoredVideo, arrays, clusters

_RESOLUTIONS = (0, 360, 480, 720, 1080, 2160)
_FACE_SIZES = (0, 48, 96, 160, 256)
_FEWEST = 5  # of a class, for an interval that means something


@dataclass(frozen=True)
class Slice:
    """The videos that have something in common.

    Attributes:
        by: "category", "kind", "method", "resolution" or "face size". A kind is what stands before
            the brackets in the names of methods: "face swap" of "face swap (GHOST)".
        name: of the slice.
        real, fake, failed: how many have a score, by class, and how many none.
        accuracy: at the threshold; None if none has a score.
        auc_roc: of its fakes against its reals; None unless both classes are there.
        interval: of the AUC, 95 %; none where a class has fewer than five videos.
        against: "own", or "all" where the other class is that of the whole file, since the slice
            has one class only.
        pairs: of the fakes whose own recording has a score, how many there are, and
        right: how many of them have a higher score than it; half where they are equal.
    """

    by: str
    name: str
    real: int
    fake: int
    failed: int
    accuracy: float | None
    auc_roc: float | None
    interval: Interval
    against: str
    pairs: int = 0
    right: float = 0.0


def slices(videos: Sequence[ScoredVideo], threshold: float, resamples: int = 300) -> list[Slice]:
    """All slices of all kinds that divide these videos."""
    kinds: dict[str, Callable[[ScoredVideo], str | None]] = {
        "category": lambda video: video.category or None,
        "kind": lambda video: (video.method or "").partition(" (")[0] or None,
        "method": lambda video: video.method,
        "resolution": lambda video: _bin(video.resolution, _RESOLUTIONS, "p"),
        "face size": lambda video: _bin(video.face_size, _FACE_SIZES, " px"),
    }
    if not any(" (" in (video.method or "") for video in videos):
        del kinds["kind"]
    found = []
    for by, name_of in kinds.items():
        members: dict[str, list[ScoredVideo]] = defaultdict(list)
        for video in videos:
            name = name_of(video)
            if name is not None:
                members[name].append(video)
        for name, inside in sorted(members.items(), key=lambda item: _order(item[0])):
            found.append(_slice(by, name, inside, videos, threshold, resamples))
    return found


def _slice(
    by: str,
    name: str,
    inside: list[ScoredVideo],
    videos: Sequence[ScoredVideo],
    threshold: float,
    resamples: int,
) -> Slice:
    labels, scores = arrays(inside)
    accuracy = float(((scores > threshold) == labels).mean()) if len(labels) else None
    real, fake = int((labels == 0).sum()), int((labels == 1).sum())
    against = "own"
    compared = inside
    if (real == 0) != (fake == 0):
        against = "all"
        compared = inside + [video for video in videos if video.label != labels[0]]
    y, s = arrays(compared)
    area = auc_roc(y, s) if len(y) else None
    interval = Interval(None, None)
    if area is not None and min((y == 0).sum(), (y == 1).sum()) >= _FEWEST:
        drawn = intervals(y, s, clusters(compared), ["auc_roc"], resamples=resamples)
        interval = drawn["auc_roc"]
    failed = len(inside) - len(labels)
    pairs, right = ranked_pairs(inside, videos)
    return Slice(by, name, real, fake, failed, accuracy, area, interval, against, pairs, right)


def ranked_pairs(fakes: Sequence[ScoredVideo], videos: Sequence[ScoredVideo]) -> tuple[int, float]:
    """How many of the fakes have a recording with a score among the videos, and a higher score.

    Equal scores count half. Light, camera and compression are the same in both: no other measure
    of a few videos says as much about manipulation alone.
    """
    reals = {v.recording: v.score for v in videos if not v.label and v.recording}
    apart = [
        fake.score - real
        for fake in fakes
        if fake.label and fake.score is not None
        and (real := reals.get(fake.recording or "")) is not None
    ]  # fmt: skip
    return len(apart), sum(1.0 if d > 0 else 0.5 if d == 0 else 0.0 for d in apart)


def _bin(value: float | None, edges: Sequence[int], unit: str) -> str | None:
    if value is None:
        return None
    place = int(np.searchsorted(edges, value, side="right"))
    if place == len(edges):
        return f"{edges[-1]}{unit} and more"
    return f"{edges[place - 1]} to {edges[place]}{unit}"


def _order(name: str) -> tuple[int, str]:
    """Sizes by number, names by letter."""
    first = name.split()[0].removesuffix("p")
    return (int(first), "") if first.isdigit() and " " in name else (0, name)
