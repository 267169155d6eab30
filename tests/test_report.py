"""The report of an evaluation: what is in it, that it fits its schema, and its page."""

import json
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from unmask.errors import UsageError
from unmask.evaluation import (
    FrameScore,
    Report,
    ScoredVideo,
    WindowScore,
    make_report,
    plots,
    read_scores,
    report_text,
    write_evaluation,
)
from unmask.evaluation.fitting import Fitting, fit_scores
from unmask.evaluation.measures import Interval
from unmask.evaluation.page import confident_errors
from unmask.evaluation.protocols import run_protocol, spread
from unmask.evaluation.robustness import Cell, summarise
from unmask.evaluation.schema import report_schema
from unmask.evaluation.scores import frame_labels, window_labels
from unmask.evaluation.slices import Slice, ranked_pairs
from unmask.segments import Segment

SCHEMA = Path(__file__).parent.parent / "docs" / "report.schema.json"


def corpus(count: int = 40, seed: int = 0) -> list[ScoredVideo]:
    """Reals and fakes of two methods, partly faked, of two people each; two have no face."""
    rng = np.random.default_rng(seed)
    videos = []
    for k in range(count):
        label = k % 2
        truth = ((7 / 3, 13 / 3),) if label else None
        times = np.arange(24) / 3
        inside = (times >= 7 / 3) & (times < 13 / 3) & bool(label)
        faces = np.clip(0.3 + 0.5 * inside + rng.normal(0, 0.1, 24), 0, 1).round(6)
        rows = zip(times.tolist(), faces.tolist(), strict=True)
        videos.append(
            ScoredVideo(
                name=f"{seed}_{k}",
                label=label,
                score=float(faces.max()),
                category="Celeb-synthesis" if label else "Celeb-real",
                segments=(Segment(7 / 3, 13 / 3, 0.8),) if label else (),
                num_windows=2,
                coverage=1.0,
                cluster=f"person {k // 4}",
                method=("swap", "lips")[k // 2 % 2] if label else None,
                truth=truth,
                windows=(WindowScore(0, 5, 0.8 if label else 0.3), WindowScore(5, 8, 0.3)),
                frames=tuple(FrameScore(*row) for row in rows),
                resolution=(480, 720)[k % 4 // 2],
                face_size=60.0 + k,
            )
        )
    failed = {"score": None, "frames": (), "windows": (), "segments": (), "reason": "no face"}
    return [*videos[:-2], *(replace(v, coverage=0.0, **failed) for v in videos[-2:])]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def report() -> Report:
    videos = corpus()
    fitting = fit_scores(corpus(seed=1), videos, "temperature", "eer")
    cells = [summarise("none", 0, "", videos, 0.5), summarise("jpeg", 1, "quality 80", videos, 0.5)]
    assert fitting.threshold is not None
    return make_report(
        fitting.apply(videos),
        fitting.threshold,
        fitting=fitting,
        robustness=cells,
        against=corpus(),
        protocol="celeb-df-v2",
    )


def test_everything_that_is_written_fits_the_schema(report: Report, tmp_path: Path) -> None:
    schema = report_schema()
    assert schema == json.loads(SCHEMA.read_text()), "run tools/schema.py"
    jsonschema.Draft202012Validator.check_schema(schema)
    bare = make_report([ScoredVideo("a", 1, 0.5)])
    for one in (report, bare):
        written = write_evaluation(tmp_path, corpus(), one)
        content = json.loads((tmp_path / "report.json").read_text())
        jsonschema.validate(content, schema)
        assert content["videos"] == written.videos
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content | {"videos": "many"}, schema)


def test_failures_are_listed_and_scored_both_ways(report: Report) -> None:
    assert [f.reason for f in report.failures] == ["no face", "no face"]
    without, wrong = report.metrics, report.metrics_failures_wrong
    assert (without.scored, without.failed, wrong.scored) == (38, 2, 40)
    (tn, fp), (fn, tp) = without.confusion_matrix
    assert wrong.confusion_matrix == ((tn, fp + 1), (fn + 1, tp))
    assert without.auc_roc is not None
    assert wrong.auc_roc is not None
    assert wrong.auc_roc < without.auc_roc
    assert report.mean_coverage == pytest.approx(38 / 40)
    assert report.levels["video"].metrics == report.metrics


def test_frames_and_windows_are_judged_by_what_is_manipulated(report: Report) -> None:
    frame, window = report.levels["frame"], report.levels["window"]
    assert (frame.items, frame.fakes) == (38 * 24, 19 * 6)
    assert (window.items, window.fakes) == (38 * 2, 19)
    assert frame.clusters == report.levels["video"].clusters == 10
    rows = [
        (float(v.label == 1 and 7 / 3 <= f.time < 13 / 3), f.score)
        for v in corpus()
        for f in v.frames
    ]
    expected = roc_auc_score(*zip(*rows, strict=True))
    assert frame.measures["auc_roc"].value == pytest.approx(expected)
    assert window.measures["auc_roc"].value == 1
    (tn, fp), (fn, tp) = window.metrics.confusion_matrix
    assert (tn + fp, fn + tp) == (38 * 2 - 19, 19)
    assert report.localisation is not None
    assert report.localisation.average_precision[0.95] == pytest.approx(19 / 20)


def test_every_video_is_in_one_slice_of_each_kind(report: Report) -> None:
    totals: dict[str, int] = {}
    for row in report.slices:
        totals[row.by] = totals.get(row.by, 0) + row.real + row.fake + row.failed
    assert totals == {"category": 40, "method": 20, "resolution": 40, "face size": 40}
    methods = {row.name: row for row in report.slices if row.by == "method"}
    lips = [v for v in corpus() if v.score is not None and v.method in (None, "lips")]
    expected = roc_auc_score([v.label for v in lips], [v.score for v in lips])
    assert methods["lips"].auc_roc == pytest.approx(expected)
    assert methods["lips"].against == "all"
    assert [r.name for r in report.slices if r.by == "resolution"] == [
        "480 to 720p",
        "720 to 1080p",
    ]


class Page(HTMLParser):
    """Collects what a page refers to and whether its tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_beside_it(report: Report, tmp_path: Path) -> None:
    videos = [*corpus(), ScoredVideo("<script>alert(1)</script>", 0, 1.0)]
    face = np.zeros((224, 224, 3), np.uint8)
    write_evaluation(tmp_path, videos, report, lambda video: [face, face])
    text = (tmp_path / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert len(page.sources) >= 8
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text
    for word in ("Most confident errors", "Robustness", "Slices", "Protocol celeb-df-v2", "lips"):
        assert word in text
    assert f">{report.metrics.accuracy:.3f}<" in text
    assert text.count("image/jpeg") == 2 * len(confident_errors(videos, report.metrics.threshold))


def test_confident_errors_are_the_surest_wrong_ones() -> None:
    videos = [ScoredVideo(f"{s}", label, s) for label in (0, 1) for s in (0.1, 0.4, 0.6, 0.95)]
    assert [(v.label, v.score) for v in confident_errors(videos, 0.5)] == [
        (0, 0.95),
        (1, 0.1),
        (0, 0.6),
        (1, 0.4),
    ]


def test_the_text_names_what_was_fitted_where(report: Report) -> None:
    text = report_text(report)
    assert "2 without a score" in text
    assert "temperature calibration on 38 videos" in text
    assert "deviates: 20 Celeb-real videos where the split has 108" in text
    assert report_text(make_report(corpus(), 0.5, fitting=Fitting())).count("\n") < text.count("\n")


def test_details_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_evaluation(tmp_path, corpus())
    back = read_scores(tmp_path / "test_detailed_predictions.json")
    again = make_report(back)
    assert again == make_report(corpus())


def test_a_window_of_one_face_has_the_label_of_the_face() -> None:
    times = [0.0, 1.0, 2.0, 3.0]
    video = ScoredVideo(
        name="a", label=1, score=0.5, truth=((0.0, 1.0), (2.0, 3.0)),
        frames=tuple(FrameScore(t, 0.5) for t in times),
        windows=tuple(WindowScore(t, t, 0.5) for t in times),
    )  # fmt: skip
    assert window_labels(video) == frame_labels(video) == [1, 0, 1, 0]


def test_a_protocol_takes_so_many_frames_evenly_spread() -> None:
    frames = tuple(FrameScore(float(k), k / 100) for k in range(94))
    taken = spread(frames, 32)
    assert len(taken) == 32
    assert (taken[0], taken[-1]) == (frames[0], frames[-1])
    steps = np.diff([f.time for f in taken])
    assert set(steps.tolist()) == {3.0}
    assert spread(frames[:5], 32) == frames[:5]


def celeb_df(frames: int = 40) -> list[ScoredVideo]:
    rows = [("Celeb-real", 0, 108), ("YouTube-real", 0, 70), ("Celeb-synthesis", 1, 340)]
    times = [k / 3 for k in range(frames)]
    return [
        ScoredVideo(
            name=f"{category}{k}",
            label=label,
            score=0.9,
            category=category,
            frames=tuple(FrameScore(time, 0.2 + 0.6 * label) for time in times),
        )
        for category, label, count in rows
        for k in range(count)
    ]


def test_a_protocol_says_when_it_was_not_followed() -> None:
    whole = run_protocol("celeb-df-v2", celeb_df())
    assert whole.deviations == ()
    assert whole.video_auc.value == whole.frame_auc.value == 1  # of frames, not of the scores
    (calibrated,) = run_protocol("celeb-df-v2", celeb_df(), calibrated=True).deviations
    assert "calibrated" in calibrated
    few = run_protocol("celeb-df-v2", celeb_df(10)[:-1])
    assert few.deviations == (
        "339 Celeb-synthesis videos where the split has 340",
        "517 videos have fewer than 32 scored frames",
    )
    split = {0: "real", 1: "fake"}
    ff = [
        replace(video, label=label, category=split[label], name=f"{label}{k}")
        for label, count in ((0, 140), (1, 560))
        for k, video in enumerate(celeb_df()[:1] * count)
    ]
    assert not [text for text in run_protocol("ff++c23", ff).deviations if "videos where" in text]
    bare = [replace(video, frames=()) for video in celeb_df()]
    assert run_protocol("celeb-df-v2", bare).frame_auc.value is None
    with pytest.raises(UsageError, match="unknown protocol 'x'; there are celeb-df-v2"):
        run_protocol("x", celeb_df())


HOSTILE = [
    r"$\bad$",
    "$",
    r"a_$x^$_b",
    "two\nlines",
    "Face_Method-v2.1_" * 6,
    "method " * 13,
    "W" * 90,
    "<b>&amp;</b>",
]


@pytest.mark.parametrize("kind", ["slices", "robustness"])
def test_any_name_can_be_drawn_and_stays_in_the_picture(kind: str) -> None:
    interval = Interval(0.6, 0.8)
    rows = [Slice("method", name, 9, 9, 0, 0.7, 0.7, interval, "own") for name in HOSTILE]
    cells = [Cell(name, k % 2, "", 9, 0, 0.7, 0.7, interval) for name in HOSTILE for k in (1, 2)]
    draw = {
        "slices": partial(plots.draw_slices, rows=rows),
        "robustness": partial(plots.draw_robustness, cells=cells),
    }[kind]
    assert plots.as_svg(draw, 9.6, 4.6).startswith("<?xml")
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw(axes)
    figure.canvas.draw()
    legend = axes.get_legend()
    texts = axes.get_yticklabels() if legend is None else legend.get_texts()
    shown = [text.get_text() for text in texts]
    assert any(r"$\bad$" in name for name in shown)
    assert any("two lines" in name for name in shown)
    inside = figure.bbox
    for text in (*texts, axes.title):
        box = text.get_window_extent()
        assert inside.x0 <= box.x0 < box.x1 <= inside.x1
        assert inside.y0 <= box.y0 < box.y1 <= inside.y1
    assert axes.get_position().width > 0.5


def test_pairs_are_a_fake_and_its_own_recording() -> None:
    """Known by hand: right, wrong, equal; one without its recording, one without a score."""
    rows: list[tuple[int, float | None, str | None, str]] = [
        (0, 0.5, "a", ""), (0, 0.7, "b", ""), (0, 0.2, "c", ""), (0, None, "d", ""),
        (1, 0.6, "a", "face swap (x)"), (1, 0.6, "b", "face swap (y)"),
        (1, 0.2, "c", "lip-sync (z)"), (1, 0.9, "d", "lip-sync (z)"),
        (1, 0.9, None, "lip-sync (z)"), (1, None, "a", "face swap (x)"),
    ]  # fmt: skip
    videos = [
        ScoredVideo(f"v{k}", label, score, recording=recording, method=method or None)
        for k, (label, score, recording, method) in enumerate(rows)
    ]
    assert ranked_pairs(videos, videos) == (3, 1.5)
    report = make_report(videos)
    assert (report.pairs, report.pairs_right) == (3, 1.5)
    kinds = {row.name: (row.pairs, row.right) for row in report.slices if row.by == "kind"}
    assert kinds == {"face swap": (2, 1.0), "lip-sync": (1, 0.5)}
    assert "1.5 of 3 fakes" in report_text(report)
