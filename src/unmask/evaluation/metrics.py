"""Metrics at a threshold, with what could not be scored counted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from unmask.errors import UsageError
from unmask.evaluation.measures import auc_roc, curve
from unmask.evaluation.scores import Labels, ScoredVideo, Scores, arrays

_PREVALENCES = (0.5, 0.1, 0.01)
_FPR_LIMITS = (0.1, 0.01, 0.001)


@dataclass(frozen=True)
class Metrics:
    """Metrics of scored videos, windows or frames; fake is the positive class.

    Attributes:
        accuracy, precision, recall, f1_score: at the threshold, 0 to 1; 0 where undefined.
        auc_roc: None unless both classes occur.
        confusion_matrix: [[TN, FP], [FN, TP]].
        threshold: a score above it counts as fake.
        scored, failed: how many have a score, and how many videos have none.
    """

    accuracy: float
    precision: float
    recall: float
    f1_score: float
    auc_roc: float | None
    confusion_matrix: tuple[tuple[int, int], tuple[int, int]]
    threshold: float
    scored: int
    failed: int


@dataclass(frozen=True)
class OperatingPoint:
    """What a threshold costs.

    Attributes:
        name: how it was chosen.
        threshold: a score above it counts as fake.
        tpr, fpr: share of the fakes, and of the reals, that are called fake.
        false_alarms, missed: of 1,000 reals, and of 1,000 fakes.
        precision: share of fakes among what is called fake where every second, tenth, hundredth
            video is a fake; None where nothing is called fake.
    """

    name: str
    threshold: float
    tpr: float
    fpr: float
    false_alarms: int
    missed: int
    precision: tuple[float | None, ...]


def auc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the ROC curve; None unless both classes occur and all scores are finite."""
    y, s = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    return auc_roc(y.astype(np.int64), s) if np.isfinite(s).all() else None


def evaluate(videos: Sequence[ScoredVideo], threshold: float = 0.5) -> Metrics:
    """Metrics over the videos that have a score; those without are counted, never guessed.

    Raises:
        ValueError: no video has a score.
    """
    labels, scores = arrays(videos)
    if not len(labels):
        raise ValueError(f"none of {len(videos)} videos has a score")
    return metrics_at(threshold, labels, scores, len(videos) - len(labels))


def metrics_at(threshold: float, labels: Labels, scores: Scores, failed: int = 0) -> Metrics:
    """Metrics of (N,) scores with their labels, N > 0."""
    guesses = (scores > threshold).astype(int)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, guesses, average="binary", zero_division=0
    )
    (tn, fp), (fn, tp) = confusion_matrix(labels, guesses, labels=[0, 1]).tolist()
    return Metrics(
        accuracy=float((labels == guesses).mean()),
        precision=float(precision),
        recall=float(recall),
        f1_score=float(f1),
        auc_roc=auc(labels, scores),
        confusion_matrix=((tn, fp), (fn, tp)),
        threshold=threshold,
        scored=len(labels),
        failed=failed,
    )


def evaluate_as_wrong(videos: Sequence[ScoredVideo], threshold: float = 0.5) -> Metrics:
    """Metrics in which every video without a score counts as wrong, surer than all others."""
    _, scores = arrays(videos)
    worst = (max(scores.max(), threshold) + 1, min(scores.min(), threshold) - 1)  # by label
    filled = [replace(v, score=float(worst[v.label])) if v.score is None else v for v in videos]
    return evaluate(filled, threshold)


def operating_points(labels: Labels, scores: Scores, threshold: float) -> list[OperatingPoint]:
    """What some thresholds cost: the one in use, and, in hindsight, others of these scores.

    Raises:
        ValueError: a class is missing.
    """
    points = [_point("in use", threshold, labels, scores)]
    for goal in ("eer", "accuracy", *(f"fpr={limit:g}" for limit in _FPR_LIMITS)):
        points.append(_point(goal, choose_threshold(labels, scores, goal), labels, scores))
    return points


def choose_threshold(labels: Labels, scores: Scores, goal: str) -> float:
    """The threshold that serves a goal best on these scores.

    Args:
        labels: (N,) 0 or 1, both occurring.
        scores: (N,).
        goal: "accuracy", the mean of both classes' being largest; "eer", as many reals called
            fake as fakes real; "fpr=0.01", the most fakes with at most so many false alarms.

    Raises:
        UsageError: no such goal.
        ValueError: a class is missing.
    """
    if len(set(labels.tolist())) < 2:
        raise ValueError("a threshold takes videos of both classes")
    limit = check_goal(goal)
    fpr, tpr, _, level = curve(labels, scores)
    if goal == "accuracy":
        best = int(np.argmax(tpr - fpr))
    elif goal == "eer":
        best = int(np.argmin(np.abs(fpr + tpr - 1)))
    else:
        assert limit is not None
        best = int(np.flatnonzero(fpr <= limit + 1e-12)[-1])
    if best == 0:  # nothing is called fake
        return float(level[1])
    # Between two scores, so that what is chosen does not hang on the last digit.
    below = level[best + 1] if best + 1 < len(level) else level[best] - 1e-3
    return float((level[best] + below) / 2)


def _point(name: str, threshold: float, labels: Labels, scores: Scores) -> OperatingPoint:
    called = scores > threshold
    tpr, fpr = float(called[labels == 1].mean()), float(called[labels == 0].mean())
    precision = tuple(
        tpr * share / (tpr * share + fpr * (1 - share)) if tpr + fpr else None
        for share in _PREVALENCES
    )
    alarms, missed = round(1000 * fpr), round(1000 * (1 - tpr))
    return OperatingPoint(name, threshold, tpr, fpr, alarms, missed, precision)


def check_goal(goal: str) -> float | None:
    """The limit in "fpr=0.01"; None for "accuracy" and "eer".

    Raises:
        UsageError: there is no such goal.
    """
    if goal in ("accuracy", "eer"):
        return None
    name, _, text = goal.partition("=")
    limit = float(text) if text.replace(".", "", 1).isdecimal() else -1.0
    if name != "fpr" or not 0 <= limit < 1:
        raise UsageError(f"a goal is accuracy, eer, or fpr=0.01 (0 to 1), not {goal!r}")
    return limit
