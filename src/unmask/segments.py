"""A score curve -> smoothed -> time segments. Sees arrays only."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Segment:
    """A stretch of video that looks manipulated.

    Attributes:
        start, end: seconds.
        confidence: mean score inside, 0 to 1.
        track: whose face.
    """

    start: float
    end: float
    confidence: float
    track: int = 0

    @property
    def start_time(self) -> str:
        """Start as HH:MM:SS."""
        return format_timestamp(self.start)

    @property
    def end_time(self) -> str:
        """End as HH:MM:SS."""
        return format_timestamp(self.end)

    def to_dict(self) -> dict[str, float | int | str]:
        """Plain values, with the times as a player shows them."""
        return {
            "start": self.start,
            "end": self.end,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "confidence": self.confidence,
            "track": self.track,
        }


def moving_average(scores: ArrayLike, width: int) -> NDArray[np.float64]:
    """Centred mean over `width` entries; at the ends over those of them that exist."""
    values = np.asarray(scores, dtype=np.float64)
    kernel = np.ones(min(width, 2 * len(values) + 1))
    total = np.convolve(values, kernel)
    count = np.convolve(np.ones_like(values), kernel)
    first = (len(kernel) - 1) // 2
    return (total / count)[first : first + len(values)]


def stretches(starts: ArrayLike, ends: ArrayLike, max_gap: float) -> list[slice]:
    """Runs of neighbouring entries with at most `max_gap` seconds between them.

    Args:
        starts, ends: (N,) seconds that each entry stands for, in order, N > 0.
        max_gap: seconds from one entry's end to the next one's start.
    """
    begins, stops = np.asarray(starts, float), np.asarray(ends, float)
    cuts = np.flatnonzero(begins[1:] - stops[:-1] > max_gap) + 1
    edges = [0, *cuts.tolist(), len(begins)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def find_segments(
    starts: ArrayLike,
    ends: ArrayLike,
    scores: ArrayLike,
    threshold: float,
    track: int = 0,
    max_gap: float = float("inf"),
) -> list[Segment]:
    """Join neighbouring entries whose score lies above `threshold`.

    Args:
        starts, ends: (N,) seconds that each score stands for, in order; may overlap.
        scores: (N,) 0 to 1.
        threshold: a score equal to it is outside.
        track: whose face, for the result.
        max_gap: seconds without an entry that a segment may bridge.

    Returns:
        Segments in order. One that is still open at the last entry ends there.
    """
    segments: list[Segment] = []
    inside: list[float] = []
    begin = end = 0.0
    rows = zip(*(np.asarray(a, float).tolist() for a in (starts, ends, scores)), strict=True)
    for start, stop, score in rows:
        if inside and (score <= threshold or start - end > max_gap):
            segments.append(Segment(begin, end, float(np.mean(inside)), track))
            inside = []
        if score > threshold:
            begin = begin if inside else start
            inside.append(score)
            end = stop
    if inside:
        segments.append(Segment(begin, end, float(np.mean(inside)), track))
    return segments


@dataclass(frozen=True)
class Step:
    """A run of a curve that stands above the rest of it.

    Attributes:
        start, stop: half-open range of entries.
        contrast: how sharply it stands out: the smaller of its height over the rest and over the
            entries beside its edges, in units of what the curve deviates within the two parts.
    """

    start: int
    stop: int
    contrast: float


_LEAST = 3  # entries of a step, of the rest, and on each side of an edge
_MOST = 2000  # entries that are searched; longer curves are averaged in groups
_QUIET = 0.15  # deviation of log-odds below which a curve counts as equally quiet


def find_step(curve: ArrayLike) -> Step | None:
    """The run of a curve by which two levels fit it best, if it is the higher one.

    Within one video light, camera and compression stay the same: a part that differs from the rest
    says more than a level that other videos reach, too. The fit is that of least squares with two
    change points (an epidemic alternative: Levin and Kline 1985, "The cusum test of homogeneity
    with an application in spontaneous abortion epidemiology").

    Args:
        curve: (N,) log-odds, evenly in time.

    Returns:
        The step; None of a curve of fewer than six entries, or without one.
    """
    whole = np.asarray(curve, dtype=np.float64)
    group = -(-len(whole) // _MOST) or 1
    values = np.array([whole[k : k + group].mean() for k in range(0, len(whole), group)])
    count, total = len(values), np.concatenate([[0.0], np.cumsum(values)])
    best, start, stop = 0.0, 0, 0
    for first in range(count - _LEAST + 1):
        ends = np.arange(first + _LEAST, count + 1)
        inside = ends - first
        outside = count - inside
        ends, inside, outside = (part[outside >= _LEAST] for part in (ends, inside, outside))
        if not len(ends):
            continue
        part = total[ends] - total[first]
        height = part / inside - (total[-1] - part) / outside
        gain = height * np.sqrt(inside * outside / count)
        last = int(gain.argmax())
        if gain[last] > best:
            best, start, stop = float(gain[last]), first, int(ends[last])
    if not stop:
        return None
    return Step(start * group, min(stop * group, len(whole)), _contrast(values, start, stop))


def _contrast(values: NDArray[np.float64], start: int, stop: int) -> float:
    step, rest = values[start:stop], np.concatenate([values[:start], values[stop:]])
    heights = [step.mean() - rest.mean()]
    if start:
        before = values[max(0, start - _LEAST) : start]
        heights.append(step[:_LEAST].mean() - before.mean())
    if stop < len(values):
        heights.append(step[-_LEAST:].mean() - values[stop : stop + _LEAST].mean())
    spread = (len(step) * step.var() + len(rest) * rest.var()) / (len(values) - 2)
    return float(min(heights) / np.sqrt(spread + _QUIET**2))


def format_timestamp(seconds: float) -> str:
    """Seconds -> "HH:MM:SS", rounded down, as a player shows it."""
    whole = int(seconds + 1e-6)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def aggregate(scores: NDArray[np.float64], how: str) -> float:
    """One probability from those of (N,) windows.

    Args:
        scores: 0 to 1, at least one.
        how: "mean", "max", or "logit": the mean of the log-odds and of one window more that is
            undecided, so that sure windows weigh more and a few windows less.
    """
    if how == "logit":
        odds = np.clip(scores, 1e-9, 1 - 1e-9)
        evidence = (np.log(odds) - np.log1p(-odds)).sum() / (len(scores) + 1)
        return float(1 / (1 + np.exp(-evidence)))
    return float(scores.max() if how == "max" else scores.mean())
