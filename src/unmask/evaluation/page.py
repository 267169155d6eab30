"""A report -> one HTML file that needs nothing beside it."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING

import cv2
import jinja2
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from unmask.evaluation import plots
from unmask.evaluation.scores import Labels, ScoredVideo, Scores, arrays
from unmask.evaluation.steps import steps

if TYPE_CHECKING:
    from unmask.evaluation.report import Report

_SHOWN = 12
_FACE = 96  # pixels


@dataclass(frozen=True)
class ConfidentError:
    """A video on the wrong side of the threshold.

    Attributes:
        video: which.
        faces: of it, as data URLs.
        link: to the clip's own report, relative to the page; None where there is none.
        place: where the video lies, in place of the link.
    """

    video: ScoredVideo
    faces: tuple[str, ...]
    link: str | None

    @property
    def place(self) -> str | None:
        """Of the video, unless its report says so."""
        path = self.video.path or self.video.file
        return None if self.link or path is None else str(path)


def render(
    report: "Report",
    videos: Sequence[ScoredVideo],
    faces: Callable[[ScoredVideo], Iterable[NDArray[np.uint8]]] = lambda video: (),
    link: Callable[[ScoredVideo], str | None] = lambda video: None,
) -> str:
    """The page.

    Args:
        report: what it says.
        videos: of the report.
        faces: gives faces of a video to show, (S, S, 3) uint8 RGB.
        link: gives the address of a video's own report.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("unmask.evaluation", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = _number
    environment.filters["between"] = _between
    labels, scores = arrays(videos)
    style, script = (_source(name) for name in ("page.css", "page.js"))
    text: str = environment.get_template("report.html.jinja").render(
        report=report,
        curves=_curves(report, labels, scores),
        pictures=_pictures(labels, scores),
        wide=_wide(report),
        steps=json.dumps(asdict(steps(labels, scores, report.metrics.threshold))),  # all numbers
        errors=[
            ConfidentError(video, tuple(map(_jpeg, faces(video))), link(video))
            for video in confident_errors(videos, report.metrics.threshold)
        ],
        style=style,
        script=script,
        policy=_policy(style, script),
    )
    # A name may hold bytes that are no UTF-8.
    return text.encode("utf-8", "replace").decode()


def confident_errors(videos: Sequence[ScoredVideo], threshold: float) -> list[ScoredVideo]:
    """The videos on the wrong side of the threshold, the farthest from it first."""
    wrong = [
        (abs(video.score - threshold), number)
        for number, video in enumerate(videos)
        if video.score is not None and (video.score > threshold) != bool(video.label)
    ]
    return [videos[number] for _, number in sorted(wrong, key=lambda w: -w[0])[:_SHOWN]]


def _curves(report: "Report", labels: Labels, scores: Scores) -> list[tuple[str, str]]:
    """(what it shows, data URL) of the pictures that the page's script has in a form to read."""
    metrics = report.metrics
    histogram = partial(
        plots.draw_histogram, labels=labels, scores=scores, threshold=metrics.threshold
    )
    precision = partial(plots.draw_precision_recall, labels=labels, scores=scores)
    return [
        ("ROC curve", _picture(partial(plots.draw_roc, labels=labels, scores=scores))),
        ("Precision and recall", _picture(precision)),
        ("Confusion matrix", _picture(partial(plots.draw_confusion, metrics=metrics))),
        ("Histogram of confidence", _picture(histogram)),
    ]


def _pictures(labels: Labels, scores: Scores) -> list[tuple[str, str]]:
    """The other pictures of these scores."""
    reliability = partial(plots.draw_reliability, labels=labels, scores=scores)
    return [
        ("ROC, log", _picture(partial(plots.draw_log_roc, labels=labels, scores=scores))),
        ("Reliability diagram", _picture(reliability)),
    ]


def _wide(report: "Report") -> list[tuple[str, str]]:
    """The pictures of what this report has several of."""
    found = []
    shown = sum(row.auc_roc is not None for row in report.slices)
    if shown:
        draw = partial(plots.draw_slices, rows=report.slices)
        found.append(("AUC by slice", _picture(draw, 9.6, 1.3 + 0.32 * shown)))
    if report.robustness:
        draw = partial(plots.draw_robustness, cells=report.robustness)
        found.append(("Robustness", _picture(draw, 9.6, 4.6)))
    return found


def _picture(draw: Callable[[Axes], None], *inches: float) -> str:
    return _url("image/svg+xml", plots.as_svg(draw, *inches).encode())


def _source(name: str) -> str:
    """A file beside the template, to stand within the page."""
    return resources.files("unmask.evaluation").joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Nothing from outside, and of what stands in the page only what we have put there."""
    marks = (hashlib.sha256(text.encode()).digest() for text in (style, script))
    own = [f"'sha256-{base64.b64encode(mark).decode()}'" for mark in marks]
    return (
        f"default-src 'none'; img-src data:; style-src {own[0]}; script-src {own[1]}; "
        "base-uri 'none'; form-action 'none'"
    )


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
