"""Calibration and thresholds: fitted on some videos, applied to others."""

import numpy as np
import pytest
from numpy.typing import NDArray

from unmask.errors import UsageError
from unmask.evaluation import ScoredVideo
from unmask.evaluation.fitting import fit_platt, fit_score_calibration, fit_scores
from unmask.evaluation.measures import MEASURES
from unmask.evaluation.metrics import choose_threshold, operating_points

Drawn = tuple[NDArray[np.int64], NDArray[np.float64]]


def overconfident(seed: int, count: int, factor: float = 3.0) -> Drawn:
    """Labels, and scores whose logits are `factor` times what they should be."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, count)
    labels = (rng.random(count) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    return labels, 1 / (1 + np.exp(-factor * logits))


def videos(drawn: Drawn, prefix: str) -> list[ScoredVideo]:
    rows = zip(*(part.tolist() for part in drawn), strict=True)
    return [ScoredVideo(f"{prefix}{k}", label, score) for k, (label, score) in enumerate(rows)]


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_the_temperature_is_what_made_scores_too_sure(factor: float) -> None:
    found = fit_score_calibration(*overconfident(0, 20_000, factor), "temperature")
    assert found.temperature == pytest.approx(factor, rel=0.06)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibrated_scores_mean_what_they_say_on_other_videos(method: str) -> None:
    fitted = fit_score_calibration(*overconfident(0, 5000), method)
    labels, scores = overconfident(1, 5000)
    after = fitted.apply(scores)
    for name in ("ece", "log_loss", "brier"):
        before, now = MEASURES[name](labels, scores), MEASURES[name](labels, after)
        assert before is not None
        assert now is not None
        assert now < before
    assert MEASURES["ece"](labels, after) == pytest.approx(0, abs=0.03)
    order = np.argsort(scores)
    assert (np.diff(after[order]) >= 0).all()


@pytest.mark.parametrize("margin", [0.5, 2.0, 9.0])
def test_few_videos_without_a_mistake_make_nothing_certain(margin: float) -> None:
    """However far apart: of ten and ten videos, Platt's targets are 1/12 and 11/12."""
    labels = np.repeat([0, 1], 10)
    logits = np.repeat([-margin, margin], 10)
    scores = 1 / (1 + np.exp(-logits))
    temperature, offset = fit_platt(labels, scores)
    wanted = pytest.approx(np.repeat([1 / 12, 11 / 12], 10), abs=0.001)
    assert fit_score_calibration(labels, scores, "temperature").apply(scores) == wanted
    assert 1 / (1 + np.exp(-(logits + offset) / temperature)) == wanted


def test_what_is_fitted_on_cannot_be_what_is_reported() -> None:
    held_out, reported = videos(overconfident(0, 200), "a"), videos(overconfident(1, 200), "b")
    fitted = fit_scores(held_out, reported, "temperature", "eer")
    assert fitted.threshold is not None
    assert fitted.apply(reported)[0].score != reported[0].score
    with pytest.raises(ValueError, match=r"1 of its videos are among those reported \(b0\)"):
        fit_scores([*held_out, reported[0]], reported, "temperature")


def test_a_failure_stays_without_a_score() -> None:
    held_out = videos(overconfident(0, 200), "a")
    fitted = fit_scores(held_out, [], "isotonic")
    assert fitted.apply([ScoredVideo("x", 1, None)])[0].score is None


def test_thresholds_by_hand() -> None:
    labels = np.array([0] * 10 + [1] * 4)
    scores = np.array([0.1] * 8 + [0.7, 0.9] + [0.5, 0.6, 0.8, 0.95])
    assert choose_threshold(labels, scores, "fpr=0") == pytest.approx((0.9 + 0.95) / 2)
    assert choose_threshold(labels, scores, "fpr=0.1") == pytest.approx((0.7 + 0.8) / 2)
    assert choose_threshold(labels, scores, "accuracy") == pytest.approx(0.3)
    assert choose_threshold(1 - labels, scores, "fpr=0") == 0.95  # nothing may be called fake


@pytest.mark.parametrize("goal", ["fpr=0.1", "fpr=0.01", "eer", "accuracy"])
def test_a_threshold_does_what_it_was_chosen_for(goal: str) -> None:
    labels, scores = overconfident(3, 999)
    called = scores > choose_threshold(labels, scores, goal)
    fpr, tpr = called[labels == 0].mean(), called[labels == 1].mean()
    thresholds = np.unique(scores)
    rates = [
        ((scores > t)[labels == 0].mean(), (scores > t)[labels == 1].mean()) for t in thresholds
    ]
    if goal == "eer":
        assert abs(fpr + tpr - 1) <= min(abs(f + t - 1) for f, t in rates) + 1e-9
    elif goal == "accuracy":
        assert tpr - fpr >= max(t - f for f, t in rates) - 1e-9
    else:
        limit = float(goal[4:])
        assert fpr <= limit
        assert tpr >= max(t for f, t in rates if f <= limit)


@pytest.mark.parametrize("goal", ["f1", "fpr=2", "fpr=x", "fpr", "fpr=nan", "fpr=²", ""])
def test_an_impossible_goal_is_named(goal: str) -> None:
    with pytest.raises(UsageError, match="a goal is accuracy, eer, or"):
        choose_threshold(*overconfident(0, 50), goal)
    with pytest.raises(ValueError, match="both classes"):
        choose_threshold(np.array([1, 1]), np.array([0.1, 0.2]), "eer")


def test_what_an_operating_point_costs() -> None:
    labels, scores = np.array([0, 0, 0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.9, 0.8, 0.4])
    point = operating_points(labels, scores, 0.5)[0]
    assert (point.tpr, point.fpr) == (0.5, 0.25)
    assert (point.false_alarms, point.missed) == (250, 500)
    # Of 100 videos with 1 fake: 0.5 found against 99 * 0.25 alarms.
    assert point.precision == pytest.approx((2 / 3, 0.05 / (0.05 + 0.225), 0.5 / (0.5 + 24.75)))
