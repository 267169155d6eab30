"""A report -> one HTML file that needs nothing beside it."""

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray

from unmask.evaluation import plots
from unmask.evaluation.scores import ScoredVideo, arrays

if TYPE_CHECKING:
    from unmask.evaluation.report import Report

_SHOWN = 12
_FACE = 96  # pixels


@dataclass(frozen=True)
class ConfidentError:
    """A video on the wrong side of the threshold, with faces as data URLs."""

    video: ScoredVideo
    faces: tuple[str, ...]


def render(
    report: "Report",
    videos: Sequence[ScoredVideo],
    faces: Callable[[ScoredVideo], Iterable[NDArray[np.uint8]]] = lambda video: (),
) -> str:
    """The page. `faces` gives faces of a video to show, (S, S, 3) uint8 RGB."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("unmask.evaluation", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = _number
    environment.filters["between"] = _between
    return environment.get_template("report.html.jinja").render(
        report=report,
        pictures=_pictures(report, videos),
        errors=[
            ConfidentError(video, tuple(map(_jpeg, faces(video))))
            for video in confident_errors(videos, report.metrics.threshold)
        ],
    )


def confident_errors(videos: Sequence[ScoredVideo], threshold: float) -> list[ScoredVideo]:
    """The videos on the wrong side of the threshold, the farthest from it first."""
    wrong = [
        (abs(video.score - threshold), number)
        for number, video in enumerate(videos)
        if video.score is not None and (video.score > threshold) != bool(video.label)
    ]
    return [videos[number] for _, number in sorted(wrong, key=lambda w: -w[0])[:_SHOWN]]


def _pictures(report: "Report", videos: Sequence[ScoredVideo]) -> list[tuple[str, str]]:
    """(what it shows, data URL) of every picture that this report has something for."""
    labels, scores = arrays(videos)
    metrics = report.metrics
    found = [
        ("ROC curve", plots.as_svg(partial(plots.draw_roc, labels=labels, scores=scores))),
        ("ROC, log", plots.as_svg(partial(plots.draw_log_roc, labels=labels, scores=scores))),
        (
            "Precision and recall",
            plots.as_svg(partial(plots.draw_precision_recall, labels=labels, scores=scores)),
        ),
        ("Confusion matrix", plots.as_svg(partial(plots.draw_confusion, metrics=metrics))),
        (
            "Histogram of confidence",
            plots.as_svg(
                partial(
                    plots.draw_histogram,
                    labels=labels,
                    scores=scores,
                    threshold=metrics.threshold,
                )
            ),
        ),
        (
            "Reliability diagram",
            plots.as_svg(partial(plots.draw_reliability, labels=labels, scores=scores)),
        ),
    ]
    shown = sum(row.auc_roc is not None for row in report.slices)
    if shown:
        draw = partial(plots.draw_slices, rows=report.slices)
        found.append(("AUC by slice", plots.as_svg(draw, 9.6, 1.3 + 0.32 * shown)))
    if report.robustness:
        draw = partial(plots.draw_robustness, cells=report.robustness)
        found.append(("Robustness", plots.as_svg(draw, 9.6, 4.6)))
    return [(name, _url("image/svg+xml", svg.encode())) for name, svg in found]


def _jpeg(face: NDArray[np.uint8]) -> str:
    small = cv2.resize(face, (_FACE, _FACE), interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    return _url("image/jpeg", data.tobytes())


def _url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
