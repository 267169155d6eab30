import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn import metrics

from unmask.evaluation.measures import (
    MEASURES,
    Interval,
    compare,
    delong,
    expected_calibration_error,
    intervals,
    measure,
    tpr_at_fpr,
)

AUC = ("auc_roc",)


def drawn(seed: int, count: int = 200, gap: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    return y, 1 / (1 + np.exp(-rng.normal(gap * (2 * y - 1))))


def test_a_perfect_detector_and_its_opposite() -> None:
    y = np.array([0, 0, 1, 1])
    good, bad = measure(y, y.astype(float)), measure(y, 1.0 - y)
    assert (good.auc_roc, good.average_precision, good.eer) == (1, 1, 0)
    assert (good.tpr_at_fpr_1_percent, good.brier, good.ece) == (1, 0, 0)
    assert good.log_loss == pytest.approx(0, abs=1e-6)
    assert (bad.auc_roc, bad.eer, bad.tpr_at_fpr_01_percent, bad.brier) == (0, 1, 0, 1)
    assert bad.ece == 1


def test_a_constant_knows_nothing() -> None:
    found = measure([0, 1, 0, 1], [0.5] * 4)
    assert (found.auc_roc, found.average_precision, found.eer) == (0.5, 0.5, 0.5)
    assert found.ece == 0
    assert found.log_loss == pytest.approx(np.log(2))


def test_one_class_leaves_ranks_undefined() -> None:
    found = measure([1, 1], [0.2, 0.9])
    assert found.auc_roc is found.average_precision is found.eer is None
    assert found.tpr_at_fpr_1_percent is None
    assert found.brier == pytest.approx((0.8**2 + 0.1**2) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_eer_is_where_an_interpolated_curve_crosses(seed: int) -> None:
    y, s = drawn(seed)
    fpr, tpr, _ = metrics.roc_curve(y, s)
    crossing = brentq(lambda x: 1 - x - interp1d(fpr, tpr)(x), 0, 1)
    assert measure(y, s).eer == pytest.approx(crossing, abs=1e-3)


def test_tpr_at_fpr_counts_by_hand() -> None:
    # Two of ten reals lie above the fakes' 0.6; one above 0.8.
    y = [0] * 10 + [1] * 4
    s = [0.1] * 8 + [0.7, 0.9] + [0.5, 0.6, 0.8, 0.95]
    assert tpr_at_fpr(np.array(y), np.array(s), 0.0) == 0.25
    assert tpr_at_fpr(np.array(y), np.array(s), 0.1) == 0.5
    assert tpr_at_fpr(np.array(y), np.array(s), 0.2) == 1.0


def test_calibration_error_by_hand() -> None:
    y, s = np.array([0, 1, 1, 1]), np.array([0.05, 0.05, 0.95, 0.95])
    # Two bins: mean 0.05 with half fake, mean 0.95 with all fake.
    assert expected_calibration_error(y, s) == pytest.approx(0.5 * 0.45 + 0.5 * 0.05)
    rng = np.random.default_rng(0)
    p = rng.uniform(size=50_000)
    calibrated = expected_calibration_error((rng.uniform(size=50_000) < p).astype(int), p)
    assert calibrated == pytest.approx(0, abs=0.01)


def test_intervals_cover_what_is_true_about_as_often_as_they_say() -> None:
    truth = measure(*drawn(999, 200_000)).auc_roc
    assert truth is not None
    hits = 0
    for seed in range(60):
        y, s = drawn(seed, 80)
        found = intervals(y, s, np.arange(80), AUC, level=0.9, resamples=200)["auc_roc"]
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= truth <= found.high
    assert 46 <= hits <= 60  # 54 expected


def test_clusters_widen_the_interval() -> None:
    """Every item ten times: as rows they look like more evidence, as clusters they are not."""
    y, s = drawn(1, 60)
    many, copies = np.repeat(y, 10), np.repeat(s, 10)

    def width(interval: Interval) -> float:
        assert interval.low is not None
        assert interval.high is not None
        return interval.high - interval.low

    once = width(intervals(y, s, np.arange(60), AUC, resamples=400)["auc_roc"])
    owners = np.repeat(np.arange(60), 10)
    assert width(intervals(many, copies, owners, AUC, resamples=400)["auc_roc"]) == pytest.approx(
        once, rel=0.1
    )
    assert (
        width(intervals(many, copies, np.arange(600), AUC, resamples=400)["auc_roc"]) < 0.5 * once
    )


def test_the_same_scores_do_not_differ_and_better_ones_do() -> None:
    y, s = drawn(0, 300)
    same = compare(y, s, s, np.arange(300))
    assert (same.difference, same.p_value) == (0, 1)
    noisy = np.clip(s + np.random.default_rng(1).normal(0, 0.5, 300), 0, 1)
    better = compare(y, s, noisy, np.arange(300))
    assert better.difference > 0.05
    assert better.p_value < 0.01
    assert better.interval.low is not None
    assert better.interval.low > 0


def test_delong_agrees_with_the_bootstrap_and_with_a_known_case() -> None:
    y, s = drawn(3, 400)
    other = np.clip(s + np.random.default_rng(4).normal(0, 0.25, 400), 0, 1)
    one, two = delong(y, s, other), compare(y, s, other, np.arange(400))
    assert one.difference == pytest.approx(two.difference)
    for a, b in zip(
        (one.interval.low, one.interval.high), (two.interval.low, two.interval.high), strict=True
    ):
        assert a == pytest.approx(b, abs=0.01)
    assert delong(y, s, s).p_value == 1
    assert delong(y, y, 1 - y).p_value == 0  # perfect against inverted
    with pytest.raises(ValueError, match="two of both"):
        delong([1, 0, 0], [0.5, 0.1, 0.2], [0.5, 0.1, 0.3])
    # By hand: fakes 3 and 1, reals 2 and 0; the second detector is perfect.
    known = delong([1, 1, 0, 0], [0.9, 0.3, 0.5, 0.1], [0.9, 0.8, 0.2, 0.1])
    # Placements of the first: fakes 1, 0.5, reals 0.5, 1; variances 0.125 / 2 each.
    assert known.difference == pytest.approx(0.75 - 1)
    assert known.interval.low == pytest.approx(-0.25 - 1.959964 * 0.125**0.5, abs=1e-5)


def test_false_positive_rates_of_p_values_are_what_they_say() -> None:
    hits = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 2, 60)
        base = rng.normal(y)
        a, b = (1 / (1 + np.exp(-(base + rng.normal(0, 1, 60)))) for _ in range(2))
        hits += delong(y, a, b).p_value < 0.1
    assert 3 <= hits <= 18  # 10 expected


def test_scores_that_are_no_probabilities_can_still_be_ranked() -> None:
    y, s = drawn(2)
    found, logits = measure(y, s), measure(y, np.log(s / (1 - s)))
    assert logits.auc_roc == pytest.approx(found.auc_roc)
    assert logits.eer == pytest.approx(found.eer)
    assert logits.brier is logits.log_loss is logits.ece is None


@pytest.mark.parametrize("digits", [2, 12])  # with and without ties
@pytest.mark.parametrize("seed", range(3))
def test_all_agree_with_scikit_learn(seed: int, digits: int) -> None:
    y, s = drawn(seed)
    s = np.round(s, digits)
    found = measure(y, s)
    assert found.auc_roc == pytest.approx(metrics.roc_auc_score(y, s))
    assert found.average_precision == pytest.approx(metrics.average_precision_score(y, s))
    assert found.brier == pytest.approx(metrics.brier_score_loss(y, s))
    assert found.log_loss == pytest.approx(metrics.log_loss(y, s))
    fpr, tpr, _ = metrics.roc_curve(y, s, drop_intermediate=False)
    assert found.tpr_at_fpr_1_percent == pytest.approx(tpr[fpr <= 0.01].max())


@pytest.mark.parametrize("name", MEASURES)
def test_order_does_not_matter(name: str) -> None:
    y, s = drawn(7)
    order = np.random.default_rng(0).permutation(len(y))
    assert MEASURES[name](y, s) == pytest.approx(MEASURES[name](y[order], s[order]))


@pytest.mark.parametrize(
    ("labels", "scores"),
    [([0, 1], [0.1]), ([0, 2], [0.1, 0.2]), ([0, 1], [0.1, float("nan")]), ([], [])],
)
def test_nonsense_is_refused(labels: list[int], scores: list[float]) -> None:
    with pytest.raises(ValueError, match="label"):
        measure(labels, scores)
