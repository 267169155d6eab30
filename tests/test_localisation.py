"""Periods found, against the definition by hand and against the dataset's own package."""

import importlib.machinery
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unmask.evaluation import FrameScore, ScoredVideo
from unmask.evaluation.localisation import (
    AP_IOUS,
    AR_COUNTS,
    AR_IOUS,
    average_precision,
    average_recall,
    localise,
)
from unmask.segments import Segment

Truth = list[list[tuple[float, float]]]
Found = list[list[Segment]]


def test_known_answers() -> None:
    """Two videos, three periods; surest first: right, wrong, right, twice the same."""
    truth: Truth = [[(0, 10), (20, 30)], [(5, 6)]]
    found: Found = [
        [Segment(0, 9, 0.9), Segment(12, 18, 0.8), Segment(0, 10, 0.5)],
        [Segment(5, 6, 0.7)],
    ]
    # Precision 1 up to recall 1/3, then 2/3 (the best that follows) up to 2/3, and no more.
    assert average_precision(found, truth, 0.5) == pytest.approx((1 + 2 / 3) / 3)
    # At 0.95 the first is wrong and the third right: ranks 3 and 4 of 4, precision 1/2 at best.
    assert average_precision(found, truth, 0.95) == pytest.approx(2 / 3 * 0.5)
    # The surest of each video: 0.9 of the first period (IoU 0.5 to 0.85), all of the third.
    assert average_recall(found, truth, 1) == pytest.approx((8 / 10 + 1) / 3)
    assert average_precision([[]], [[]], 0.5) is None
    assert average_precision([[]], [[(0, 1)]], 0.5) == 0


def test_what_is_known_of_videos_is_measured() -> None:
    frames = tuple(FrameScore(t, 0.9 if 2 <= t < 4 else 0.1) for t in range(8))
    partial = ScoredVideo(
        "a", 1, 0.9, segments=(Segment(2, 4, 0.9),), truth=((2, 4),), frames=frames
    )
    real = ScoredVideo("b", 0, 0.1, frames=frames)
    unknown = ScoredVideo("c", 1, 0.1, frames=frames)
    found = localise([partial, real, unknown])
    assert (found.videos, found.periods, found.partial) == (2, 1, 1)
    assert found.frame_auc == 1
    assert found.average_precision[0.95] == 1
    alarm = ScoredVideo("b", 0, 0.1, segments=(Segment(0, 1, 0.95),))
    assert localise([partial, alarm]).average_precision[0.5] == 0.5


def drawn(seed: int) -> tuple[Found, Truth]:
    """Periods, and proposals near them and elsewhere, the surest first (as the package takes)."""
    rng = np.random.default_rng(seed)
    truth: Truth = []
    found: Found = []
    for _ in range(40):
        clock, periods, segments = 0.0, [], []
        for _ in range(rng.integers(0, 4)):
            start = clock + rng.uniform(0.2, 3)
            clock = start + rng.uniform(0.2, 2)
            periods.append((float(start), float(clock)))
            for _ in range(rng.integers(0, 4)):
                a, b = np.array([start, clock]) + rng.normal(0, 0.1, 2)
                segments.append(Segment(float(a), float(b), float(rng.random())))
        for _ in range(rng.integers(1, 15)):
            a = rng.uniform(0, 8)
            segments.append(Segment(a, a + rng.uniform(0.1, 3), float(rng.random())))
        truth.append(periods)
        found.append(sorted(segments, key=lambda s: -s.confidence))
    return found, truth


def oracle() -> Any:
    """The compiled part of `avdeepfake1m`, without the training code that the rest imports."""
    spec = importlib.util.find_spec("avdeepfake1m")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("avdeepfake1m is not installed (pip install --no-deps avdeepfake1m)")
    (binary,) = Path(spec.submodule_search_locations[0]).glob("_evaluation*.so")
    loader = importlib.machinery.ExtensionFileLoader("_evaluation", str(binary))
    own = importlib.util.spec_from_loader("_evaluation", loader)
    assert own is not None
    module = importlib.util.module_from_spec(own)
    loader.exec_module(module)
    return module


def first_step(found: Found, truth: Truth, iou: float) -> float:
    """What the package leaves out: it adds from the surest proposal's recall on, not from 0."""
    owner, surest = max(
        ((k, s) for k, segments in enumerate(found) for s in segments),
        key=lambda x: x[1].confidence,
    )
    total = sum(map(len, truth))
    # Alone, a proposal has a precision of 1 or 0 and so an AP of 1 / total or 0.
    alone: Found = [[surest] if k == owner else [] for k in range(len(found))]
    area = average_precision(alone, truth, iou)
    assert area in (0, pytest.approx(1 / total))
    assert area is not None
    return area


@pytest.mark.parametrize("seed", range(8))
def test_the_datasets_own_package_says_the_same(seed: int, tmp_path: Path) -> None:
    package = oracle()
    found, truth = drawn(seed)
    proposals, labels = tmp_path / "proposals.json", tmp_path / "labels.json"
    rows = {str(k): [[s.confidence, s.start, s.end] for s in ss] for k, ss in enumerate(found)}
    proposals.write_text(json.dumps(rows))
    labels.write_text(json.dumps([{"file": str(k), "at": t} for k, t in enumerate(truth)]))
    expected = package.ap_ar_1d(
        str(proposals), str(labels), "file", "at", 1.0,
        list(AP_IOUS), list(AR_COUNTS), list(AR_IOUS),
    )  # fmt: skip
    precision = []
    for iou in AP_IOUS:
        ours = average_precision(found, truth, iou)
        assert ours is not None
        precision.append(ours - first_step(found, truth, iou))
    recall = [average_recall(found, truth, count) for count in AR_COUNTS]
    assert precision == pytest.approx(list(expected["ap"].values()), abs=1e-6)
    assert recall == pytest.approx([expected["ar"][count] for count in AR_COUNTS], abs=1e-6)


def test_what_that_package_said_once() -> None:
    """avdeepfake1m 0.0.4 on `drawn(0)`, for where it is not installed."""
    found, truth = drawn(0)
    assert [average_precision(found, truth, iou) for iou in AP_IOUS] == pytest.approx(
        PRECISION, abs=1e-6
    )
    assert [average_recall(found, truth, n) for n in AR_COUNTS] == pytest.approx(RECALL, abs=1e-6)


PRECISION = [0.2306655, 0.1378512, 0.0043185]
RECALL = [0.4430556, 0.5986111, 0.6375, 0.6375, 0.6375]
