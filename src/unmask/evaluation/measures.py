"""How good are scores? Measures of a binary classifier, with intervals and comparisons.

Everywhere labels are (N,) 0 real or 1 fake, scores (N,) the higher the more likely fake, and
`clusters` (N,) name what is not independent: the frames of a video, the videos of a person.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

Array = NDArray[np.float64]
Measure = Callable[[NDArray[np.int64], Array], float | None]
BINS = 15


@dataclass(frozen=True)
class Measures:
    """What does not depend on a threshold.

    The first five are None unless both classes occur; the last three take probabilities, and are
    None for scores outside 0 to 1.

    Attributes:
        auc_roc: area under the ROC curve.
        average_precision: area under precision over recall, by steps.
        eer: the rate at which as many reals are called fake as fakes real.
        tpr_at_fpr_1_percent, tpr_at_fpr_01_percent: share of fakes found where at most so many
            of the reals are called fake.
        log_loss: mean negative log-likelihood, natural; no probability counts as less than 1e-7.
        brier: mean squared error of the probabilities.
        ece: expected calibration error (see expected_calibration_error).
    """

    auc_roc: float | None
    average_precision: float | None
    eer: float | None
    tpr_at_fpr_1_percent: float | None
    tpr_at_fpr_01_percent: float | None
    log_loss: float | None
    brier: float | None
    ece: float | None


@dataclass(frozen=True)
class Interval:
    """A confidence interval; None where fewer than half of the resamples had a value."""

    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """One score file against another on the same items.

    Attributes:
        difference: of the measure, first minus second.
        interval: of it.
        p_value: of there being none, two-sided.
    """

    difference: float
    interval: Interval
    p_value: float


def measure(labels: ArrayLike, scores: ArrayLike) -> Measures:
    """All of them."""
    y, s = _arrays(labels, scores)
    return Measures(*(MEASURES[field.name](y, s) for field in fields(Measures)))


def auc_roc(y: NDArray[np.int64], s: Array) -> float | None:
    """Area under the ROC curve; ties count half."""
    if not _both(y):
        return None
    fpr, tpr, *_ = curve(y, s)
    return float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1])) / 2)


def average_precision(y: NDArray[np.int64], s: Array) -> float | None:
    """Sum of precision times the steps of recall, fake being positive."""
    if not _both(y):
        return None
    _, tpr, precision, _ = curve(y, s)
    return float(np.sum(np.diff(tpr) * precision[1:]))


def equal_error_rate(y: NDArray[np.int64], s: Array) -> float | None:
    """Where the false positive rate equals the false negative rate, between points linearly."""
    if not _both(y):
        return None
    fpr, tpr, *_ = curve(y, s)
    gap = fpr + tpr - 1  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(fpr[after - 1] + share * (fpr[after] - fpr[after - 1]))


def tpr_at_fpr(y: NDArray[np.int64], s: Array, limit: float) -> float | None:
    """The largest true positive rate of a threshold whose false positive rate is within `limit`."""
    if not _both(y):
        return None
    fpr, tpr, *_ = curve(y, s)
    return float(tpr[fpr <= limit + 1e-12].max())


class Curve(NamedTuple):
    """Rates where scores of at least `level` are called fake: first none, then ever more.

    Attributes:
        fpr, tpr: share of the reals, and of the fakes, that are called fake; from 0 to 1.
        precision: share of fakes among what is called fake; 0 where nothing is.
        level: the scores that occur, falling, after infinity.
    """

    fpr: Array
    tpr: Array
    precision: Array
    level: Array


def curve(y: NDArray[np.int64], s: Array) -> Curve:
    """The rates at every threshold; both classes must occur.

    Our own because intervals take thousands of them.
    """
    order = np.argsort(-s, kind="stable")
    last = np.flatnonzero(np.append(np.diff(s[order]), 1))  # of each run of equal scores
    found = np.append(0, np.cumsum(y[order])[last])
    called = np.append(0, last + 1)
    real = len(y) - found[-1]
    precision = found / np.maximum(called, 1)
    return Curve(
        (called - found) / real, found / found[-1], precision, np.append(np.inf, s[order][last])
    )


def expected_calibration_error(y: NDArray[np.int64], s: Array) -> float | None:
    """Mean distance of score and share of fakes in bins of equal width, weighted by their sizes.

    Naeini, Cooper and Hauskrecht 2015 (AAAI), for the probability of fake.
    """
    if not _probabilities(s):
        return None
    count, confidence, fakes = calibration_bins(y, s)
    return float(np.sum(count * np.abs(confidence - fakes)) / len(s))


def calibration_bins(y: NDArray[np.int64], s: Array) -> tuple[NDArray[np.int64], Array, Array]:
    """(number of scores, their mean, share of fakes) of the bins that are not empty."""
    place = np.minimum((s * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    full = count > 0
    sums = [np.bincount(place, weights=w, minlength=BINS)[full] / count[full] for w in (s, y)]
    return count[full], sums[0], sums[1]


def _brier(y: NDArray[np.int64], s: Array) -> float | None:
    return float(np.square(s - y).mean()) if _probabilities(s) else None


def _log_loss(y: NDArray[np.int64], s: Array) -> float | None:
    if not _probabilities(s):
        return None
    truth = np.clip(np.where(y == 1, s, 1 - s), 1e-7, 1)
    return float(-np.log(truth).mean())


MEASURES: dict[str, Measure] = {
    "auc_roc": auc_roc,
    "average_precision": average_precision,
    "eer": equal_error_rate,
    "tpr_at_fpr_1_percent": lambda y, s: tpr_at_fpr(y, s, 0.01),
    "tpr_at_fpr_01_percent": lambda y, s: tpr_at_fpr(y, s, 0.001),
    "log_loss": _log_loss,
    "brier": _brier,
    "ece": expected_calibration_error,
}


def intervals(
    labels: ArrayLike,
    scores: ArrayLike,
    clusters: ArrayLike,
    names: Iterable[str] = MEASURES,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile intervals of measures, by drawing whole clusters with replacement.

    Efron and Tibshirani 1993; resampling clusters keeps what is not independent together.
    """
    y, s = _arrays(labels, scores)
    draws: dict[str, list[float]] = {name: [] for name in names}
    for rows in _resample(clusters, resamples, seed):
        for name, values in draws.items():
            value = MEASURES[name](y[rows], s[rows])
            if value is not None:
                values.append(value)
    return {name: _interval(values, level, resamples) for name, values in draws.items()}


def compare(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    clusters: ArrayLike,
    name: str = "auc_roc",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Paired bootstrap: both score files on the same resampled clusters.

    The p-value is twice the smaller share of resampled differences on either side of 0, at least
    1 / resamples.

    Raises:
        ValueError: the measure is not defined for these labels.
    """
    y, a = _arrays(labels, first)
    _, b = _arrays(labels, second)
    function = MEASURES[name]
    values = function(y, a), function(y, b)
    if values[0] is None or values[1] is None:
        raise ValueError(f"{name} takes both classes")
    draws = []
    for rows in _resample(clusters, resamples, seed):
        one, other = function(y[rows], a[rows]), function(y[rows], b[rows])
        if one is not None and other is not None:
            draws.append(one - other)
    below, above = np.mean(np.array(draws) <= 0), np.mean(np.array(draws) >= 0)
    p_value = float(np.clip(2 * min(below, above), 1 / resamples, 1))
    return Difference(values[0] - values[1], _interval(draws, level, resamples), p_value)


def delong(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> Difference:
    """Difference of two areas under the ROC curve on independent items, by their covariance.

    DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44; placements by midranks.

    Raises:
        ValueError: fewer than two of a class.
    """
    y, a = _arrays(labels, first)
    _, b = _arrays(labels, second)
    fake, real = y == 1, y == 0
    if min(fake.sum(), real.sum()) < 2:
        raise ValueError("DeLong's test takes two of both classes")
    placed = []
    for s in (a, b):
        above = (s[fake][:, None] > s[real]) + 0.5 * (s[fake][:, None] == s[real])
        placed.append((above.mean(axis=1), above.mean(axis=0)))
    areas = [float(by_fake.mean()) for by_fake, _ in placed]
    by_fake = np.cov([p[0] for p in placed]) / fake.sum()
    by_real = np.cov([p[1] for p in placed]) / real.sum()
    variance = float(np.array([1, -1]) @ (by_fake + by_real) @ np.array([1, -1]))
    difference = areas[0] - areas[1]
    if variance <= 0:  # the same order, or orders that differ by the same everywhere
        return Difference(difference, Interval(difference, difference), float(difference == 0))
    error = variance**0.5
    margin = float(norm.ppf(0.975)) * error
    p_value = float(2 * norm.sf(abs(difference) / error))
    return Difference(difference, Interval(difference - margin, difference + margin), p_value)


def _arrays(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.int64], Array]:
    y, s = np.asarray(labels, dtype=np.int64), np.asarray(scores, dtype=np.float64)
    if y.shape != s.shape or y.ndim != 1 or not len(y):
        raise ValueError(f"as many labels as scores are needed, not {y.shape} and {s.shape}")
    if not np.isin(y, (0, 1)).all() or not np.isfinite(s).all():
        raise ValueError("labels are 0 or 1, and scores finite numbers")
    return y, s


def _probabilities(s: Array) -> bool:
    return bool((s >= 0).all() and (s <= 1).all())


def _both(y: NDArray[np.int64]) -> bool:
    return bool(y.any() and not y.all())


def _resample(clusters: ArrayLike, resamples: int, seed: int) -> "list[NDArray[np.intp]]":
    """Rows of each resample."""
    _, owner = np.unique(np.asarray(clusters), return_inverse=True)
    members = [np.flatnonzero(owner == k) for k in range(owner.max() + 1)]
    rng = np.random.default_rng(seed)
    return [
        np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])
        for _ in range(resamples)
    ]


def _interval(values: list[float], level: float, resamples: int) -> Interval:
    if 2 * len(values) < resamples:
        return Interval(None, None)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
