"""What the page's slider steps through: thresholds, and how many videos each calls fake."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.evaluation.plots import bin_edges
from unmask.evaluation.scores import Labels, Scores

_MOST = 2000  # steps; a screen shows no more


@dataclass(frozen=True)
class Steps:
    """Counts that are exact at every step, however many are left out between them.

    Attributes:
        reals, fakes: how many videos have a score.
        start: the step of the threshold in use.
        level: the lowest score that is called fake; None in the first step, where none is.
        threshold: a score above it counts as fake; the one in use at `start`. None in the last
            step, where all do.
        false_alarms, found: how many reals and fakes are called fake.
        edges: (B + 1,) of the histogram's bins, of which only the last has its upper edge.
        real_bins, fake_bins: (B,) how many videos.
    """

    reals: int
    fakes: int
    start: int
    level: tuple[float | None, ...]
    threshold: tuple[float | None, ...]
    false_alarms: tuple[int, ...]
    found: tuple[int, ...]
    edges: tuple[float, ...]
    real_bins: tuple[int, ...]
    fake_bins: tuple[int, ...]


def steps(labels: Labels, scores: Scores, threshold: float, most: int = _MOST) -> Steps:
    """Steps through (N,) scores, N > 0, from none called fake to all of them."""
    rising, place = np.unique(scores, return_inverse=True)
    level = rising[::-1]
    real, fake = (
        np.append(0, np.cumsum(np.bincount(place[labels == label], minlength=len(level))[::-1]))
        for label in (0, 1)
    )
    in_use = int((level > threshold).sum())
    kept = _kept(len(level), in_use, most)
    edges = bin_edges(scores)
    bins = [np.histogram(scores[labels == label], edges)[0].tolist() for label in (0, 1)]
    limits = [threshold if k == in_use else _between(level, int(k)) for k in kept]
    return Steps(
        reals=int(real[-1]),
        fakes=int(fake[-1]),
        start=int(np.searchsorted(kept, in_use)),
        level=tuple(float(level[k - 1]) if k else None for k in kept),
        threshold=tuple(limits),
        false_alarms=tuple(real[kept].tolist()),
        found=tuple(fake[kept].tolist()),
        edges=tuple(edges.tolist()),
        real_bins=tuple(bins[0]),
        fake_bins=tuple(bins[1]),
    )


def _kept(count: int, in_use: int, most: int) -> NDArray[np.intp]:
    """Which of the steps 0 to count: evenly spread, and closer where few are called fake."""
    if count < most:
        return np.arange(count + 1)
    even = np.linspace(0, count, most * 3 // 4)
    first = np.geomspace(1, count, most // 4)  # the corner that matters where fakes are rare
    return np.unique(np.append(np.concatenate([even, first]).round(), in_use)).astype(np.intp)


def _between(level: Scores, step: int) -> float | None:
    """The threshold with the fewest digits that calls the first `step` levels fake."""
    if step == len(level):
        return None
    below = float(level[step])
    if step == 0:
        return below
    above = float(level[step - 1])
    rounded = (round(below / 2 + above / 2, digits) for digits in range(3, 18))
    return next((value for value in rounded if below <= value < above), below)
