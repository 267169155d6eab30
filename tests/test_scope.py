"""Videos that no verdict can be given of, and the bands of evidence that verdicts become."""

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import MakeClip
from reports import predicted

from unmask.detection import scope
from unmask.detection.card import card_figures
from unmask.detection.detector import Detector
from unmask.detection.prediction import Prediction, ScoredFace, Trial
from unmask.detection.scope import bits_per_pixel, scoped
from unmask.models import Bundle, load_bundle
from unmask.models.registry import find_model
from unmask.report.words import ABSENCE, TITLES, band, error_rates, sentence
from unmask.segments import Segment


def faces(count: int = 12, side: float = 80, step: float = 0.25) -> tuple[ScoredFace, ...]:
    box = (10.0, 10.0, 10 + 0.8 * side, 10 + side)
    return tuple(ScoredFace(step * k, 0.5, 0, box) for k in range(count))


def test_an_ordinary_video_is_within_the_limits() -> None:
    prediction = predicted(timeline=faces())
    assert scoped(prediction, bits=0.05) == prediction
    edge = predicted(timeline=faces(scope.MIN_FACES, scope.MIN_FACE), coverage=scope.MIN_COVERAGE)
    assert scoped(edge, bits=scope.MIN_BITS) == edge


@pytest.mark.parametrize(
    ("change", "bits", "said"),
    [
        ({"timeline": faces(side=scope.MIN_FACE - 1)}, None, "face is too small to judge: 31"),
        ({}, scope.MIN_BITS / 2, "too compressed to judge: 0.0020 bits"),
        ({"timeline": faces(step=0.01)}, None, "too short to judge: faces over 0.1 s"),
        ({"timeline": faces(scope.MIN_FACES - 1, step=1)}, None, "too few faces were scored: 2"),
        ({"coverage": 0.05}, None, "a face in 5% of the sampled frames"),
    ],
)
@pytest.mark.parametrize("verdict", ["fake", "real", "inconclusive"])
def test_outside_of_a_limit_there_is_no_verdict(
    change: dict[str, object], bits: float | None, said: str, verdict: str
) -> None:
    prediction = replace(predicted(timeline=faces()), verdict=verdict, reason="damaged", **change)  # type: ignore[arg-type]
    found = scoped(prediction, bits)
    assert found.verdict == "inconclusive"
    assert found.confidence == prediction.confidence  # what was measured stays
    (only,) = found.out_of_scope
    assert said in only
    assert found.reason == f"damaged; {only}"
    assert band(found).level == "inconclusive"


def test_what_failed_stays_so() -> None:
    failure = replace(predicted(), verdict="failed", confidence=None, tracks=(), timeline=())
    assert scoped(failure, bits=0.0) == failure


def test_a_detector_applies_the_limits_but_not_to_altered_copies(
    bundle: Bundle, tmp_path: Path, make_clip: MakeClip
) -> None:
    short = make_clip(tmp_path / "short.mp4", 0.4)
    detector = Detector(bundle, stability=True)
    prediction = detector.predict(short)
    assert prediction.verdict == "inconclusive"
    assert "too short" in (prediction.reason or "")
    assert prediction.stability is not None
    assert {trial.verdict for trial in prediction.stability} <= {"real", "fake"}
    assert prediction.to_dict()["out_of_scope"] == prediction.out_of_scope


def test_bits_of_a_pixel_are_those_of_the_container(clip: Path, tmp_path: Path) -> None:
    bits = bits_per_pixel(clip)
    assert bits is not None
    whole = clip.stat().st_size * 8 / (160 * 160 * 30)  # 3 s of 10 frames
    assert 0.5 * whole < bits <= whole
    assert bits_per_pixel(tmp_path / "none.mp4") is None
    assert bits_per_pixel(tmp_path / "faces.pt") is None


# Words


def trials(*verdicts: str) -> tuple[Trial, ...]:
    return tuple(Trial("copy", verdict, 0.5) for verdict in verdicts)  # type: ignore[arg-type]


SEGMENT = (Segment(1.0, 2.0, 0.9),)


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({"verdict": "fake", "confidence": 0.9}, "moderate"),
        ({"verdict": "fake", "confidence": 0.9, "stability": trials("fake", "fake")}, "strong"),
        # Taken back: the score says fake, a copy does not.
        ({"confidence": 0.9, "stability": trials("fake", "real")}, "inconclusive"),
        ({"confidence": 0.9, "stability": trials("real"), "segments": SEGMENT}, "inconclusive"),
        ({"confidence": 0.1, "stability": trials("fake")}, "inconclusive"),
        ({"confidence": 0.5}, "inconclusive"),
        ({"confidence": 0.5, "stability": trials("inconclusive")}, "inconclusive"),
        ({"confidence": 0.5, "segments": SEGMENT}, "moderate"),
        ({"confidence": 0.5, "segments": SEGMENT, "out_of_scope": ("small",)}, "inconclusive"),
        ({"verdict": "real", "confidence": 0.1}, "weak"),
        ({"verdict": "failed", "confidence": None}, "failed"),
    ],
)
def test_bands_of_evidence(change: dict[str, object], level: str) -> None:
    prediction = replace(predicted(verdict="inconclusive", segments=(), stability=None), **change)  # type: ignore[arg-type]
    found = band(prediction)
    assert (found.level, found.title) == (level, TITLES[found.level])
    said = sentence(prediction, "clip.mp4", "ab" * 32, "unmask 1.0") + found.said + ABSENCE
    assert "authentic" not in said.lower()
    assert "clip.mp4" in said
    if prediction.confidence is not None:
        assert f"{prediction.confidence:.2f}" in said
        assert "no proof" in said


def test_error_rates_are_those_of_the_card(bundle: Bundle) -> None:
    small = load_bundle(find_model("small"))
    figures = card_figures(small.card or "")
    assert figures is not None
    reals = figures.verdicts["real"]
    said = " ".join(error_rates(small))
    assert f"called {reals.fake} fake, {reals.real} real" in said
    assert figures.missed
    assert figures.missed in said
    assert error_rates(bundle) == ["The error rates of this model are not known."]
    assert card_figures("# Another card\n\n| real | 1 | 2 |") is None


def test_a_prediction_says_why_it_is_out_of_scope() -> None:
    prediction: Prediction = scoped(predicted(timeline=faces(side=10)))
    assert prediction.to_dict()["out_of_scope"] == prediction.out_of_scope != ()
