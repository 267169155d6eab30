"""How much do scores suffer from corruptions? One row a kind and level."""

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.evaluation.measures import Interval, auc_roc, intervals
from unmask.evaluation.metrics import evaluate
from unmask.evaluation.scores import ScoredVideo, arrays, clusters


@dataclass(frozen=True)
class Cell:
    """The same videos under one corruption.

    Attributes:
        kind: of corruption; "none" for the clean videos.
        level: 1 to 5, the higher the worse; 0 for the clean videos.
        parameter: what the level means, e.g. "crf 23".
        scored, failed: how many videos have a score, and how many none.
        accuracy, auc_roc: of the scored ones; None if undefined.
        interval: of the AUC, 95 %.
    """

    kind: str
    level: int
    parameter: str
    scored: int
    failed: int
    accuracy: float | None
    auc_roc: float | None
    interval: Interval


def summarise(
    kind: str,
    level: int,
    parameter: str,
    videos: Sequence[ScoredVideo],
    threshold: float,
    resamples: int = 300,
) -> Cell:
    """The row of one corruption."""
    labels, scores = arrays(videos)
    failed = len(videos) - len(labels)
    if not len(labels):
        return Cell(kind, level, parameter, 0, failed, None, None, Interval(None, None))
    found = intervals(labels, scores, clusters(videos), ["auc_roc"], resamples=resamples)
    return Cell(
        kind,
        level,
        parameter,
        len(labels),
        failed,
        evaluate(videos, threshold).accuracy,
        auc_roc(labels, scores),
        found["auc_roc"],
    )
