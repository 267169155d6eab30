import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unmask.errors import CorpusError
from unmask.evaluation import ScoredVideo, evaluate, make_report, read_scores, write_evaluation
from unmask.evaluation.metrics import auc
from unmask.evaluation.report import compare_scores
from unmask.segments import Segment


def videos(labels: list[int], scores: list[float | None]) -> list[ScoredVideo]:
    return [
        ScoredVideo(f"v{i}", label, score)
        for i, (label, score) in enumerate(zip(labels, scores, strict=True))
    ]


EXAMPLE = videos([0, 0, 0, 0, 1, 1, 1, 1], [0.1, 0.2, 0.6, None, 0.9, 0.8, 0.5, 0.55])


def test_known_answers() -> None:
    """By hand: 3 reals and 4 fakes have a score; 0.5 is not above 0.5."""
    m = evaluate(EXAMPLE)
    assert m.confusion_matrix == ((2, 1), (1, 3))
    assert m.accuracy == pytest.approx(5 / 7)
    assert m.precision == pytest.approx(3 / 4)
    assert m.recall == pytest.approx(3 / 4)
    assert m.f1_score == pytest.approx(3 / 4)
    assert m.auc_roc == pytest.approx(10 / 12)  # 10 of 12 pairs are in the right order
    assert (m.scored, m.failed) == (7, 1)


def test_a_failure_never_becomes_a_half() -> None:
    without = [video for video in EXAMPLE if video.score is not None]
    a, b = evaluate(EXAMPLE), evaluate(without)
    assert (a.accuracy, a.auc_roc) == (b.accuracy, b.auc_roc)
    with pytest.raises(ValueError, match="none of 2"):
        evaluate(videos([0, 1], [None, None]))


def test_auc_is_the_share_of_ordered_pairs() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 60), np.round(rng.random(60), 1)
    pairs = scores[labels == 1][:, None] - scores[labels == 0][None]
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert auc(labels, scores) == pytest.approx(expected)
    assert auc([1, 1], [0.1, 0.2]) is None
    assert auc([0, 1], [0.1, float("nan")]) is None


def test_one_class_has_no_auc_and_no_crash(tmp_path: Path) -> None:
    report = write_evaluation(tmp_path, videos([1, 1], [0.9, 0.2]))
    assert report.metrics.auc_roc is None
    assert json.loads((tmp_path / "test_metrics_summary.json").read_text())["auc_roc"] is None


def test_two_detectors_are_compared_on_what_both_have_scored() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80).tolist()
    good = videos(labels, [float(np.clip(label + rng.normal(0, 0.3), 0, 1)) for label in labels])
    bad = videos(labels, rng.uniform(size=80).tolist())
    found = compare_scores([*good, ScoredVideo("only here", 1, 0.5)], bad)
    assert found.videos == 80
    assert found.bootstrap.difference == pytest.approx(found.delong.difference)
    assert found.bootstrap.difference > 0.2
    assert max(found.bootstrap.p_value, found.delong.p_value) < 0.01
    assert compare_scores(good, good).bootstrap.difference == 0
    with pytest.raises(ValueError, match="no video has a score in both"):
        compare_scores(good, [ScoredVideo("other", 1, 0.5)])
    with pytest.raises(ValueError, match="v0 has another label"):
        compare_scores(good, videos([1 - label for label in labels], [0.5] * 80))


def test_videos_of_one_name_are_told_apart_by_their_path() -> None:
    """FaceForensics++ has a 000_003 of every method."""
    mine = [
        ScoredVideo("000_003", 1, 0.9, file="Deepfakes/000_003"),
        ScoredVideo("000_003", 1, 0.2, file="Face2Face/000_003"),
        ScoredVideo("000", 0, 0.4, file="youtube/000"),
        ScoredVideo("003", 0, 0.1, file="youtube/003"),
    ]
    found = compare_scores(mine, mine[::-1])
    assert (found.videos, found.bootstrap.difference) == (4, 0)
    with pytest.raises(ValueError, match="several videos are named 000_003"):
        compare_scores([replace(video, file=None) for video in mine], mine)


def test_measures_have_intervals_and_failures_are_counted() -> None:
    report = make_report(EXAMPLE)
    assert (report.videos, len(report.failures), report.levels["video"].items) == (8, 1, 7)
    found = report.levels["video"].measures["auc_roc"]
    assert found.value == pytest.approx(10 / 12)
    assert None not in (found.low, found.value, found.high)
    assert found.low <= found.value <= found.high  # type: ignore[operator]


def test_the_files_have_the_documents_form(tmp_path: Path) -> None:
    rows = [*EXAMPLE, ScoredVideo("s", 1, 0.7, "fake", (Segment(1, 2.5, 0.8),), 3, 0.9)]
    write_evaluation(tmp_path, rows)
    summary = json.loads((tmp_path / "test_metrics_summary.json").read_text())
    details = json.loads((tmp_path / "test_detailed_predictions.json").read_text())
    overall = details["overall_metrics"]
    assert set(overall) == {
        "accuracy", "precision", "recall", "f1_score", "auc_roc", "confusion_matrix",
    }  # fmt: skip
    assert overall.items() <= summary.items()
    assert len(details["per_video_predictions"]) == 9
    row = details["per_video_predictions"][-1]
    assert row["video_name"] == "s"
    assert row["video_is_fake"] is True
    assert row["overall_confidence"] == row["confidence"] == 0.7
    assert (row["predicted"], row["true_label"], row["num_windows"]) == (1, 1, 3)
    (segment,) = row["manipulated_segments"]
    assert (segment["start_time"], segment["end_time"]) == ("00:00:01", "00:00:02")
    failed = details["per_video_predictions"][3]
    assert failed["predicted"] is failed["confidence"] is failed["video_is_fake"] is None
    png = (tmp_path / "evaluation_plots.png").read_bytes()
    width, height = struct.unpack(">II", png[16:24])
    assert png.startswith(b"\x89PNG")
    assert width > 1000
    assert height > 400


def test_scores_come_back_as_they_were_written(tmp_path: Path) -> None:
    a = write_evaluation(tmp_path / "a", EXAMPLE)
    b = write_evaluation(tmp_path / "b", read_scores(tmp_path / "a/test_detailed_predictions.json"))
    assert a.metrics == b.metrics


def test_a_list_of_any_other_detector_may_say_more(tmp_path: Path) -> None:
    rows = [{"video": "a", "label": "FAKE", "score": "0.5", "category": None, "mood": "glum"},
            {"video": "b", "label": 0, "score": None, "frames": [[0, 0.25]]}]  # fmt: skip
    (tmp_path / "s.json").write_text(json.dumps(rows))
    a, b = read_scores(tmp_path / "s.json")
    assert (a.label, a.score, a.category, a.input_type) == (1, 0.5, "", "scores")
    assert (b.label, b.score, b.frames) == (0, None, ((0.0, 0.25),))


def test_scores_of_any_other_detector(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("video,label,score\na,real,0.2\nb,fake,0.9\nc,1,\n")
    rows = read_scores(tmp_path / "s.csv")
    assert [(r.name, r.label, r.score) for r in rows] == [
        ("a", 0, 0.2), ("b", 1, 0.9), ("c", 1, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "has no column label and no column score and no column video"),
        ("video,label\na,0\n", "has no column score"),
        ("video,label,score\na,7,0.1\n", "line 2: label: should be real .0. or fake .1., not '7'"),
        ("video,label,score\na,0,0.5\nb,,1\n", "line 3: label: should be real"),
        ("video,label,score\n,0,0.5\n", "line 2: video: should be a valid string"),
        ("video,label,score\na,0,high\n", "line 2: score: should be a valid number.* not 'high'"),
        ("video,label,score\na,0,nan\n", "line 2: score: should be a finite number, not 'nan'"),
        ("video,label,score\n", "no scores"),
        ("video,label,score,resolution\na,0,0.5,1e400\n", "line 2: resolution: should be a valid"),
        ('video,label,score\na,0,"' + "9" * 140_000 + '"\n', "field larger than"),
    ],
)
def test_bad_scores_are_named(tmp_path: Path, text: str, cause: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(CorpusError, match=cause):
        read_scores(tmp_path / "s.csv")


ROW = {"video_name": "a", "true_label": 1, "overall_confidence": 0.5}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("{]", "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON: recursion limit|nested too deeply"),
        ("3", "should be an object, not 3"),
        ("[]", "holds no scores"),
        ("{}", "holds no scores"),
        ('[{"video": "a", "label": 1e999, "score": 0}]', "rows.0.label: should be real"),
        ('[{"video": "a", "label": 1}]', "rows.0.score: Field required"),
        ('[{"video": "a", "label": 1, "score": NaN}]', "rows.0.score: should be a finite number"),
        ([ROW | {"true_label": "?"}], "per_video_predictions.0.true_label: should be real"),
        ([ROW, ROW | {"mood": "glum"}], "per_video_predictions.1.mood: Unexpected"),
        ([ROW | {"frames": [[0]]}], r"per_video_predictions\.0\.frames\.0"),
        ([ROW | {"manipulated_segments": [{"start": 0}]}], "segments.0.end: Field required"),
    ],
)
def test_bad_documents_are_named(tmp_path: Path, text: object, cause: str) -> None:
    written = text if isinstance(text, str) else json.dumps({"per_video_predictions": text})
    (tmp_path / "s.json").write_text(written)
    with pytest.raises(CorpusError, match=cause) as caught:
        read_scores(tmp_path / "s.json")
    assert caught.value.path == tmp_path / "s.json"
