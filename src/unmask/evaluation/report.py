"""Everything that is to be said of scores, as one noun; and the files that say it."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from unmask.atomic import write_text
from unmask.evaluation.fitting import Fitting, ScoreCalibration
from unmask.evaluation.levels import Level, levels
from unmask.evaluation.localisation import Localisation, localise
from unmask.evaluation.measures import Difference, compare, delong
from unmask.evaluation.metrics import (
    Metrics,
    OperatingPoint,
    evaluate,
    evaluate_as_wrong,
    operating_points,
)
from unmask.evaluation.page import render
from unmask.evaluation.plots import plot_evaluation
from unmask.evaluation.protocols import ProtocolResult, run_protocol
from unmask.evaluation.robustness import Cell
from unmask.evaluation.scores import ScoredVideo, arrays, clusters, detailed_row
from unmask.evaluation.slices import Slice, ranked_pairs, slices
from unmask.evaluation.verdicts import VerdictCounts, count_verdicts

SUMMARY = "test_metrics_summary.json"
DETAILS = "test_detailed_predictions.json"
PLOTS = "evaluation_plots.png"
REPORT = "report.json"
PAGE = "report.html"
CLIPS = "reports"  # a folder of pages, one a clip
Faces = Callable[[ScoredVideo], Iterable[NDArray[np.uint8]]]


@dataclass(frozen=True)
class Failure:
    """A video without a score, and why."""

    video: str
    reason: str | None


@dataclass(frozen=True)
class Comparison:
    """These scores against others of the same videos: the difference of the AUC.

    Attributes:
        videos: how many have a score in both.
        bootstrap, delong: the difference by either test.
    """

    videos: int
    bootstrap: Difference
    delong: Difference


@dataclass(frozen=True)
class Report:
    """All that is known of how good scores are; see the attributes' own types.

    Attributes:
        videos: how many there are, with and without a score.
        failures: those without.
        mean_coverage: share of sampled frames with a scored face, over the videos; None if unknown.
        real_below: a score up to it is called real, one between it and the threshold inconclusive.
        verdicts: what the real and the fake videos were called.
        metrics: at the threshold, over the videos that have a score.
        metrics_failures_wrong: the same with every video without a score called the wrong class.
        goal: what the threshold was chosen for on other videos; None if it was given.
        calibration: what was fitted on other videos and applied to these scores.
        levels: measures of videos, windows and frames.
        localisation: how well manipulated periods are found; None where none is known.
        operating_points: what thresholds cost; those but the first were chosen on these very
            scores, in hindsight.
        slices: by category, kind and method of the fake, resolution and face size.
        pairs, pairs_right: fakes whose own recording has a score, and how many score higher.
        robustness: the same videos under corruptions.
        comparison: against other scores.
        protocol: a published one.
    """

    videos: int
    failures: tuple[Failure, ...]
    mean_coverage: float | None
    real_below: float
    verdicts: dict[str, VerdictCounts]
    metrics: Metrics
    metrics_failures_wrong: Metrics
    goal: str | None
    calibration: ScoreCalibration | None
    levels: dict[str, Level]
    localisation: Localisation | None
    operating_points: tuple[OperatingPoint, ...]
    slices: tuple[Slice, ...]
    pairs: int = 0
    pairs_right: float = 0.0
    robustness: tuple[Cell, ...] = ()
    comparison: Comparison | None = None
    protocol: ProtocolResult | None = None


def make_report(
    videos: Sequence[ScoredVideo],
    threshold: float = 0.5,
    *,
    real_below: float | None = None,
    fitting: Fitting = Fitting(),  # noqa: B008
    robustness: Sequence[Cell] = (),
    against: Sequence[ScoredVideo] | None = None,
    protocol: str | None = None,
) -> Report:
    """Measure scores.

    Args:
        videos: with their scores, calibrated already if they are to be.
        threshold: a score above it counts as fake.
        real_below: a score up to it is called real; None is the threshold.
        fitting: what was learned on other videos.
        robustness: see summarise.
        against: other scores of the same videos.
        protocol: name of a published one.

    Raises:
        ValueError: no video has a score, or none in common with `against`.
        UsageError: no such protocol.
    """
    labels, scores = arrays(videos)
    known = [video.coverage for video in videos if video.coverage is not None]
    located = any(video.label and video.truth for video in videos)
    lower = threshold if real_below is None else real_below
    pairs, right = ranked_pairs(videos, videos)
    return Report(
        videos=len(videos),
        failures=tuple(Failure(v.name, v.reason) for v in videos if v.score is None),
        mean_coverage=float(np.mean(known)) if known else None,
        real_below=lower,
        verdicts=count_verdicts(videos, lower, threshold),
        metrics=evaluate(videos, threshold),
        metrics_failures_wrong=evaluate_as_wrong(videos, threshold),
        goal=fitting.goal,
        calibration=fitting.calibration,
        levels=levels(videos, threshold),
        localisation=localise(videos) if located else None,
        operating_points=tuple(
            operating_points(labels, scores, threshold) if len(set(labels.tolist())) == 2 else ()
        ),
        slices=tuple(slices(videos, threshold)),
        pairs=pairs,
        pairs_right=right,
        robustness=tuple(robustness),
        comparison=None if against is None else compare_scores(videos, against),
        protocol=None
        if protocol is None
        else run_protocol(protocol, videos, fitting.calibration is not None),
    )


def write_evaluation(
    folder: str | Path,
    videos: Sequence[ScoredVideo],
    report: Report | None = None,
    faces: Faces = lambda video: (),
) -> Report:
    """Write the summary, the detailed predictions, the plots, the report and its page.

    Args:
        folder: for the files; the page links to `reports/<video>.html` where that lies in it.
        videos: with their scores.
        report: of them; None makes it.
        faces: gives faces of a video to show, (S, S, 3) uint8 RGB.

    Raises:
        ValueError: no video has a score.
        FileError: a file cannot be written.
    """
    folder, report = Path(folder), report or make_report(videos)
    summary = asdict(report.metrics)
    names = ("accuracy", "precision", "recall", "f1_score", "auc_roc", "confusion_matrix")
    details = {
        "overall_metrics": {name: summary[name] for name in names},
        "per_video_predictions": [detailed_row(v, report.metrics.threshold) for v in videos],
    }
    write_text(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
    write_text(folder / DETAILS, json.dumps(details, indent=1) + "\n")
    write_text(folder / REPORT, json.dumps(asdict(report), indent=2) + "\n")
    plot_evaluation(folder / PLOTS, *arrays(videos), report.metrics)
    write_text(folder / PAGE, render(report, videos, faces, _links(folder, videos)))
    return report


def _links(folder: Path, videos: Sequence[ScoredVideo]) -> Callable[[ScoredVideo], str | None]:
    """The clip's own report of a video, where one lies beside the page and can only be its."""
    made = {path.stem for path in (folder / CLIPS).glob("*.html")} - {"index"}
    named = Counter(video.name for video in videos)
    return lambda video: (
        f"{CLIPS}/{quote(video.name, errors='surrogateescape')}.html"
        if video.name in made and named[video.name] == 1
        else None
    )


def compare_scores(videos: Sequence[ScoredVideo], others: Sequence[ScoredVideo]) -> Comparison:
    """The difference of two detectors' AUC on the videos that both have scored.

    Raises:
        ValueError: they have no video in common, disagree on a label, have fewer than two of a
            class, or several videos of one name.
    """
    theirs = {key: v for key, v in _by_key(others, videos).items() if v.score is not None}
    own = _by_key(videos, others)
    pairs = [(v, theirs[key]) for key, v in own.items() if v.score is not None and key in theirs]
    if not pairs:
        raise ValueError("no video has a score in both")
    wrong = [mine.name for mine, other in pairs if mine.label != other.label]
    if wrong:
        raise ValueError(f"{wrong[0]} has another label in the other file")
    labels, mine = arrays([video for video, _ in pairs])
    _, other = arrays([video for _, video in pairs])
    groups = clusters([video for video, _ in pairs])
    return Comparison(len(pairs), compare(labels, mine, other, groups), delong(labels, mine, other))


def _by_key(videos: Sequence[ScoredVideo], others: Sequence[ScoredVideo]) -> dict[str, ScoredVideo]:
    """By name; where names occur twice on a side, by the path within the tree."""
    names = [Counter(video.name for video in side) for side in (videos, others)]
    twice = next((name for side in names for name, count in side.items() if count > 1), None)
    if twice is None:
        return {video.name: video for video in videos}
    files = {video.file: video for video in videos if video.file is not None}
    if len(files) < len(videos):
        raise ValueError(f"several videos are named {twice}, and no path says which is which")
    return files


def report_text(report: Report) -> str:
    """A few lines for people."""
    m = report.metrics
    lines = [
        f"videos     {m.scored} scored, {m.failed} without a score",
        f"accuracy   {m.accuracy:.4f}",
        f"precision  {m.precision:.4f}",
        f"recall     {m.recall:.4f}",
        f"f1         {m.f1_score:.4f}",
        f"auc-roc    {'undefined (one class)' if m.auc_roc is None else f'{m.auc_roc:.4f}'}",
        "           called real  inconclusive  called fake  no score",
    ]
    lines += [
        f"{truth:9}  {c.real:11}  {c.inconclusive:12}  {c.fake:11}  {c.failed:8}"
        for truth, c in report.verdicts.items()
    ]
    if report.pairs:
        right = f"{report.pairs_right:g} of {report.pairs}"
        lines.append(f"pairs      {right} fakes have a higher score than their own recording")
    if m.failed:
        wrong = report.metrics_failures_wrong
        lines.append(f"  as wrong {wrong.accuracy:.4f} accuracy, {_auc(wrong.auc_roc)}")
    if report.goal or report.calibration:
        lines.append(f"fitted on other videos: {_fitted(report)}")
    if report.localisation is not None:
        ap = report.localisation.average_precision
        found = ", ".join(f"AP@{iou:g} {_number(value)}" for iou, value in ap.items())
        frames = report.localisation.frame_auc
        lines.append(f"segments   {found}, AUC of frames in partly faked {_number(frames)}")
    if report.comparison is not None:
        lines.append(f"difference {_compared(report.comparison)}")
    if report.protocol is not None:
        lines += _followed(report.protocol)
    for cell in report.robustness:
        name = f"{cell.kind} {cell.level}" if cell.level else "clean"
        lines.append(
            f"{name:12} {cell.parameter:12} {_auc(cell.auc_roc)}, {cell.failed} without a score"
        )
    return "\n".join(lines) + "\n"


def _fitted(report: Report) -> str:
    threshold = f"threshold {report.metrics.threshold:.4f} for {report.goal}" if report.goal else ""
    c = report.calibration
    scale = "" if c is None else f"{c.method} calibration on {c.videos} videos"
    if c is not None and c.method == "temperature":
        scale += f", T = {c.temperature:.3f}"
    return "; ".join(filter(None, (threshold, scale)))


def _compared(comparison: Comparison) -> str:
    found, interval = comparison.bootstrap, comparison.bootstrap.interval
    low, high = interval.low, interval.high
    between = "no interval" if low is None else f"95 % from {low:+.4f} to {high:+.4f}"
    return (
        f"{found.difference:+.4f} of the AUC on {comparison.videos} videos, {between}, "
        f"p = {found.p_value:.4f} (paired bootstrap), {comparison.delong.p_value:.4f} (DeLong)"
    )


def _followed(p: ProtocolResult) -> list[str]:
    return [
        f"protocol   {p.name}: video {_auc(p.video_auc.value)}, "
        f"frame {_auc(p.frame_auc.value)} ({p.protocol.frames} frames a video)",
        *(f"           deviates: {deviation}" for deviation in p.deviations),
    ]


def _auc(value: float | None) -> str:
    return f"AUC {_number(value)}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
