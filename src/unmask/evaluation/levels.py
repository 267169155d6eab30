"""Measures of videos, of windows and of frames, each with its interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from unmask.evaluation.measures import MEASURES, Measures, intervals, measure
from unmask.evaluation.metrics import Metrics, metrics_at
from unmask.evaluation.scores import (
    Labels,
    ScoredVideo,
    Scores,
    arrays,
    clusters,
    frame_labels,
    window_labels,
)

_MANY = 5000  # items beyond which fewer resamples have to do
_FEW_RESAMPLES = 200


@dataclass(frozen=True)
class Estimate:
    """A measure with its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Level:
    """What is measured of videos, of windows or of frames.

    Attributes:
        items, fakes: how many there are, and how many of them are fake.
        clusters: how many independent groups: people, else recordings, else videos.
        metrics: at the threshold.
        measures: by name, see Measures.
    """

    items: int
    fakes: int
    clusters: int
    metrics: Metrics
    measures: dict[str, Estimate]


def levels(
    videos: Sequence[ScoredVideo], threshold: float = 0.5, resamples: int = 1000
) -> dict[str, Level]:
    """ "video", and "window" and "frame" where their scores are known.

    A frame or window of a fake counts as fake where it is manipulated, if that is known.

    Raises:
        ValueError: no video has a score.
    """
    labels, scores = arrays(videos)
    failed = len(videos) - len(labels)
    found = {"video": _level(threshold, labels, scores, clusters(videos), resamples, failed)}
    for name, items, labels_of in _PARTS:
        rows = [
            (label, item[-1], video.cluster or video.name)
            for video in videos
            for label, item in zip(labels_of(video), items(video), strict=True)
        ]
        if rows:
            y, s, groups = zip(*rows, strict=True)
            found[name] = _level(threshold, np.array(y), np.array(s), groups, resamples)
    return found


_Items = Callable[[ScoredVideo], Sequence[tuple[float, ...]]]
_PARTS: tuple[tuple[str, _Items, Callable[[ScoredVideo], list[int]]], ...] = (
    ("window", lambda video: video.windows, window_labels),
    ("frame", lambda video: video.frames, frame_labels),
)


def _level(
    threshold: float,
    labels: Labels,
    scores: Scores,
    groups: Sequence[str],
    resamples: int,
    failed: int = 0,
) -> Level:
    found = measure(labels, scores)
    resamples = min(resamples, _FEW_RESAMPLES) if len(groups) > _MANY else resamples
    between = intervals(labels, scores, groups, resamples=resamples)
    return Level(
        len(groups),
        int(labels.sum()),
        len(set(groups)),
        metrics_at(threshold, labels, scores, failed),
        {
            field.name: Estimate(
                getattr(found, field.name), between[field.name].low, between[field.name].high
            )
            for field in fields(Measures)
        },
    )


def estimate(
    name: str,
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    resamples: int = 1000,
) -> Estimate:
    """One measure with its interval, by drawing whole groups."""
    value = getattr(measure(labels, scores), name)
    assert name in MEASURES
    between = intervals(labels, scores, groups, [name], resamples=resamples)[name]
    return Estimate(value, between.low, between.high)
