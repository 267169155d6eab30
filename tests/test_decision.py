"""One decision: what evaluate measures and what a model carries is what predict delivers."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import random_video
from test_detector import numbered, scripted

from unmask import Detector, load_model
from unmask.data import pt_file
from unmask.data.windows import make_windows
from unmask.detection.calibrate import fit_calibration
from unmask.detection.decide import video_confidence
from unmask.detection.evaluate import EvaluateOptions, evaluate
from unmask.detection.scores import TrackLogits, VideoLogits
from unmask.errors import StoreError, UsageError
from unmask.evaluation.metrics import choose_threshold
from unmask.face_spec import FaceSpec
from unmask.models import Bundle, Decision

SPEC = FaceSpec(4, 32, 0, 8, 2)


def logits_of(values: list[float], name: str = "x") -> VideoLogits:
    """A video of one person with a window for each value."""
    times = np.arange(len(values) * 6 + 2) / 4
    windows = make_windows(len(times), 8, 2)
    boxes = np.zeros((len(times), 4), np.float32)
    frames = [np.full(8, value) for value in values]
    track = TrackLogits(times, boxes, windows, np.array(values, float), frames)
    return VideoLogits(name, (track,), len(times), float(times[-1]), (), SPEC)


def test_the_report_counts_the_verdicts_that_predict_gives(
    processed: Path, model: Path, tmp_path: Path
) -> None:
    options = EvaluateOptions(fit="train", calibrate="temperature", save=str(tmp_path / "saved"))
    report = evaluate(processed, model, tmp_path / "out", options)
    saved = load_model(tmp_path / "saved")
    counts = Counter(
        (path.parent.name, saved.predict(path).verdict) for path in processed.glob("test/*/*.pt")
    )
    for category, truth in (("Celeb-real", "real"), ("Celeb-synthesis", "fake")):
        found = report.verdicts[truth]
        for verdict in ("real", "inconclusive", "fake"):
            assert getattr(found, verdict) == counts[category, verdict]
    assert saved.bundle.card is not None
    assert saved.bundle.calibration is not None
    assert saved.bundle.calibration.basis.videos == "the train split"
    again = evaluate(processed, tmp_path / "saved", tmp_path / "again")
    assert (again.metrics, again.verdicts) == (report.metrics, report.verdicts)


def test_a_threshold_that_is_given_leaves_nothing_inconclusive(
    processed: Path, bundle: Bundle, tmp_path: Path, model: Path
) -> None:
    report = evaluate(processed, model, tmp_path / "out", EvaluateOptions(threshold=0.2))
    assert sum(counts.inconclusive for counts in report.verdicts.values()) == 0
    assert report.metrics.threshold == report.real_below == 0.2


def test_calibration_fits_the_confidence_as_it_will_be_used() -> None:
    """Scores four times too sure: the fitted confidences are near the share of fakes."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 1.5, 400)
    labels = (rng.random(400) < 1 / (1 + np.exp(-true))).astype(int).tolist()
    scored = [logits_of([4 * z + 2] * 3) for z in true]
    for aggregate in ("mean", "max"):
        decision = Decision(aggregate=aggregate, smoothing=1)
        fitted = fit_calibration(scored, labels, decision, "a test")
        assert fitted.temperature == pytest.approx(4, rel=0.25)
        assert fitted.offset == pytest.approx(-2, abs=1)
        applied = fitted.applied(decision)
        confidences = np.array([video_confidence(video, applied) for video in scored])
        reals = confidences[np.array(labels) == 0]
        assert (reals > fitted.fake_above).mean() <= 0.05
        fakes = confidences[np.array(labels) == 1]
        assert (fakes <= fitted.real_below).mean() <= 0.10 + 1e-9


def test_scores_that_say_the_contrary_become_unsure() -> None:
    scored = [logits_of([3.0 if k % 2 else -3.0]) for k in range(40)]
    labels = [1 - k % 2 for k in range(40)]
    decision = Decision(smoothing=1)
    applied = fit_calibration(scored, labels, decision, "a test").applied(decision)
    confidences = [video_confidence(video, applied) for video in scored]
    assert np.allclose(confidences, 0.5, atol=0.05)  # type: ignore[arg-type]


def test_calibration_takes_both_classes() -> None:
    with pytest.raises(ValueError, match="both classes"):
        fit_calibration([logits_of([1.0])] * 3, [1, 1, 1], Decision(), "a test")


def test_smoothing_does_not_reach_across_a_gap_in_time() -> None:
    """Faces of 0 before a gap of 10 s, of 1 behind it: without the gap the edge is softened."""
    frames = [-20.0] * 8 + [20.0] * 8
    detector = scripted(frames, Decision(smoothing=1, frame_smoothing=3, segment_threshold=0.9))
    video = numbered(16)
    (together,) = detector.judge(video).segments
    times = video.tracks[0].times + np.repeat([0.0, 10.0], 8)
    track = replace(video.tracks[0], times=times)
    apart = detector.judge(replace(video, tracks=(track,), duration=15.0))
    assert together.start == 2.25  # a face after the edge
    assert [(s.start, s.end) for s in apart.segments] == [(12.0, 14.0)]


def test_whose_faces_is_obeyed_for_faces_that_are_cut_out(bundle: Bundle, tmp_path: Path) -> None:
    video = random_video([12, 9])
    pt_file.write(tmp_path / "x.pt", replace(video, spec=replace(video.spec, faces="all")))
    people = {
        faces: len(Detector(bundle, faces=faces).predict(tmp_path / "x.pt").tracks)
        for faces in ("all", "largest", 1)
    }
    assert people == {"all": 2, "largest": 1, 1: 1}
    one = replace(video, tracks=video.tracks[:1])
    pt_file.write(tmp_path / "one.pt", one)
    with pytest.raises(StoreError, match="preprocess the video again with --faces all"):
        Detector(bundle, faces="all").predict(tmp_path / "one.pt")


def test_a_bug_costs_one_video(
    bundle: Bundle, clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    detector = Detector(bundle)
    real = detector.preprocessor.stream

    def stream(path: str | Path) -> object:
        if Path(path).name == "bad.mp4":
            raise ZeroDivisionError("of nothing")
        return real(path)

    monkeypatch.setattr(detector.preprocessor, "stream", stream)
    bad, good = detector.predict([tmp_path / "bad.mp4", clip])
    assert bad.verdict == "failed"
    assert bad.reason is not None
    assert bad.reason.startswith("ZeroDivisionError: of nothing (a bug in unmask")
    assert good.verdict != "failed"


def test_a_prediction_says_itself_in_many_ways(bundle: Bundle, clip: Path) -> None:
    prediction = Detector(bundle).predict(clip)
    assert json.loads(prediction.to_json()) == json.loads(json.dumps(prediction.to_dict()))
    assert "\n" not in prediction.to_json(indent=None)
    assert len(repr(prediction)) < 200
    axes = prediction.plot()
    heights = sorted(float(np.asarray(line.get_ydata())[0]) for line in axes.lines[-2:])
    assert heights == [0.5, 0.5]
    curve = np.asarray(axes.lines[0].get_ydata(), dtype=float)
    assert curve == pytest.approx([face.score for face in prediction.timeline])
    assert len(axes.patches) == len(prediction.segments)


def test_decisions_must_make_sense() -> None:
    with pytest.raises(UsageError, match="real_below not above fake_above"):
        Decision(real_below=0.7, fake_above=0.6)
    with pytest.raises(UsageError, match="temperature"):
        Decision(temperature=0)
    assert [Decision(real_below=0.2, fake_above=0.8).verdict(c) for c in (0.2, 0.5, 0.81)] == [
        "real", "inconclusive", "fake",
    ]  # fmt: skip
    logits = np.array([-800.0, 0.0, 800.0])
    assert Decision(temperature=2, offset=0).probability(logits).tolist() == [0, 0.5, 1]


def test_a_goal_alone_chooses_the_threshold_on_the_scale_that_is_used(
    processed: Path, model: Path, tmp_path: Path
) -> None:
    report = evaluate(processed, model, tmp_path, EvaluateOptions(fit="train", goal="accuracy"))
    paths = sorted(processed.glob("train/*/*.pt"))
    labels = np.array([int(path.parent.name == "Celeb-synthesis") for path in paths])
    scores = [prediction.confidence for prediction in load_model(model).predict(paths)]
    wanted = choose_threshold(labels, np.array(scores, dtype=float), "accuracy")
    assert report.metrics.threshold == pytest.approx(wanted, abs=1e-9)
    assert report.calibration is None
