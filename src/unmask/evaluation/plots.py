"""Scores + labels -> pictures."""

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from unmask.atomic import replacing
from unmask.evaluation.measures import BINS, calibration_bins, curve
from unmask.evaluation.metrics import Metrics
from unmask.evaluation.robustness import Cell
from unmask.evaluation.scores import Labels, Scores
from unmask.evaluation.slices import Slice

# Okabe and Ito: told apart by the colour-blind too.
_REAL, _FAKE = "#0072b2", "#d55e00"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
_MARKERS = "os^Dv<P*"
_LOWEST_FPR = 1e-3
_LONGEST, _WIDEST = 32, 220  # letters of a name, and points


def plot_evaluation(path: str | Path, labels: Labels, scores: Scores, metrics: Metrics) -> None:
    """Draw ROC curve, confusion matrix and confidence histogram into one picture.

    Args:
        path: of the picture; the suffix is the format.
        labels: (N,) 0 real, 1 fake.
        scores: (N,) 0 to 1.
        metrics: of these scores.
    """
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    roc, confusion, histogram = figure.subplots(1, 3)
    draw_roc(roc, labels, scores)
    draw_confusion(confusion, metrics)
    draw_histogram(histogram, labels, scores, metrics.threshold)
    missing = f", {metrics.failed} without a score" if metrics.failed else ""
    figure.suptitle(f"{metrics.scored} videos{missing}")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format=Path(path).suffix[1:] or "png")


def as_svg(draw: Callable[[Axes], None], width: float = 4.8, height: float = 4.2) -> str:
    """What `draw` puts on one pair of axes, as SVG; width and height in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    draw(figure.subplots())
    out = io.StringIO()
    same = rc_context({"svg.hashsalt": "unmask"})  # the same picture, the same bytes
    with same, _letters_of_any_script():
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def draw_roc(axes: Axes, labels: Labels, scores: Scores) -> None:
    """True over false positive rate."""
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="chance")
    if _both(axes, labels):
        fpr, tpr, *_ = curve(labels, scores)
        area = float(np.trapezoid(tpr, fpr))
        axes.plot(fpr, tpr, color=_FAKE, linewidth=2, label=f"AUC {area:.3f}")
    axes.set(title="ROC curve", xlabel="false positive rate", ylabel="true positive rate")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.legend(loc="lower right")


def draw_log_roc(axes: Axes, labels: Labels, scores: Scores) -> None:
    """The same where few false alarms can be afforded."""
    if _both(axes, labels):
        fpr, tpr, *_ = curve(labels, scores)
        least = max(_LOWEST_FPR, 1 / (labels == 0).sum())
        axes.plot(
            np.maximum(fpr, _LOWEST_FPR), tpr, color=_FAKE, linewidth=2, drawstyle="steps-post"
        )
        if least > _LOWEST_FPR:
            axes.axvspan(_LOWEST_FPR, least, color="0.9", label="less than one real video")
            axes.legend(loc="upper left")
    axes.set(title="ROC curve, few false alarms", xlabel="false positive rate (log)")
    axes.set(ylabel="true positive rate", xscale="log", xlim=(_LOWEST_FPR, 1), ylim=(-0.02, 1.02))


def draw_precision_recall(axes: Axes, labels: Labels, scores: Scores) -> None:
    """Precision over recall, and the share of fakes that guessing would give."""
    if _both(axes, labels):
        _, recall, precision, _ = curve(labels, scores)
        axes.plot(recall[1:], precision[1:], color=_FAKE, linewidth=2, drawstyle="steps-pre")
        share = float(labels.mean())
        axes.axhline(share, color="0.6", linestyle="--", label=f"guessing: {share:.2f}")
        axes.legend(loc="lower left")
    axes.set(title="Precision and recall", xlabel="recall", ylabel="precision")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def draw_confusion(axes: Axes, metrics: Metrics) -> None:
    """True against predicted class, as counts."""
    counts = np.array(metrics.confusion_matrix)
    axes.imshow(counts, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(counts):
        dark = count > counts.max() / 2
        axes.text(
            column, row, str(count), ha="center", va="center",
            fontsize=16, color="white" if dark else "black",
        )  # fmt: skip
    axes.set(title=f"Confusion matrix at {metrics.threshold:.3g}")
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_xticks([0, 1], ["real", "fake"])
    axes.set_yticks([0, 1], ["real", "fake"])


def bin_edges(scores: Scores) -> Scores:
    """(21,) edges of the histogram's bins: over 0 to 1, and all scores beyond."""
    return np.linspace(min(0, scores.min()), max(1, scores.max()), 21)


def draw_histogram(axes: Axes, labels: Labels, scores: Scores, threshold: float) -> None:
    """How many videos of each class have which confidence."""
    bins = bin_edges(scores)
    for label, name, colour, hatch in ((0, "real", _REAL, "//"), (1, "fake", _FAKE, "")):
        axes.hist(
            scores[labels == label], bins.tolist(), alpha=0.6, color=colour, label=name,
            edgecolor="black", linewidth=0.6, hatch=hatch,
        )  # fmt: skip
    axes.axvline(threshold, color="black", linestyle=":", label=f"threshold {threshold:.3g}")
    axes.set(title="Confidence", xlabel="confidence that the video is fake", ylabel="videos")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(top=1.35 * axes.get_ylim()[1])  # room for the legend
    axes.legend(loc="upper center", ncols=3, fontsize="small")


def draw_reliability(axes: Axes, labels: Labels, scores: Scores) -> None:
    """Share of fakes over confidence, in bins; on the diagonal a score means what it says."""
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="calibrated")
    if scores.min() < 0 or scores.max() > 1:
        axes.text(0.5, 0.5, "needs scores of 0 to 1", ha="center", va="center")
    else:
        count, confidence, fakes = calibration_bins(labels, scores)
        axes.plot(confidence, fakes, color=_FAKE, marker="o", linewidth=1.5, markersize=5)
        for x, y, n in zip(confidence, fakes, count, strict=True):
            up = y < 0.9
            axes.annotate(
                str(n), (x, y), (0, 7 if up else -7), textcoords="offset points",
                ha="center", va="bottom" if up else "top", fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
            )  # fmt: skip
        axes.set_title(f"Reliability ({BINS} bins, number of videos)")
    axes.set(xlabel="confidence that the video is fake", ylabel="share of fakes")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="upper left")


def draw_slices(axes: Axes, rows: Sequence[Slice]) -> None:
    """AUC of every slice that has one, with its interval."""
    shown = [row for row in rows if row.auc_roc is not None][::-1]
    for place, row in enumerate(shown):
        assert row.auc_roc is not None
        low, high = row.interval.low, row.interval.high
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=_REAL, linewidth=2)
        own = row.against == "own"
        axes.plot(row.auc_roc, place, "o" if own else "D", color=_FAKE if own else "white",
                  markeredgecolor=_FAKE, markersize=7)  # fmt: skip
    axes.axvline(0.5, color="0.6", linestyle="--")
    names = [f"{r.by}: {_plain(r.name)} ({r.real}+{r.fake})" for r in shown]
    axes.set_yticks(range(len(shown)), names, parse_math=False)  # a $ in a name is a $
    axes.set(title="AUC by slice, 95 % interval (real+fake videos)", xlim=(-0.02, 1.02))
    axes.set(xlabel="AUC; hollow: against the whole other class", ylim=(-0.6, len(shown) - 0.4))


def draw_robustness(axes: Axes, cells: Sequence[Cell]) -> None:
    """AUC over the level of each corruption; level 0 is the clean video."""
    clean = [cell for cell in cells if cell.level == 0]
    for number, kind in enumerate(dict.fromkeys(cell.kind for cell in cells if cell.level)):
        row = [*clean, *(cell for cell in cells if cell.kind == kind)]
        points = [(cell.level, cell.auc_roc) for cell in row if cell.auc_roc is not None]
        axes.plot(
            [x for x, _ in points], [y for _, y in points], label=_plain(kind), linewidth=1.5,
            color=_COLOURS[number % len(_COLOURS)], marker=_MARKERS[number % len(_MARKERS)],
        )  # fmt: skip
    axes.axhline(0.5, color="0.6", linestyle="--", label="chance")
    axes.set(title="Robustness", xlabel="level of corruption", ylabel="AUC", ylim=(-0.02, 1.02))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend = axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _plain(name: str) -> str:
    """A name from data, in one line and short enough to leave room for the picture."""
    name = "".join(c if c.isprintable() else "�" for c in " ".join(name.split()))  # SVG is XML
    for kept in range(_LONGEST // 2, 0, -1):
        short = name if len(name) <= 2 * kept else f"{name[:kept]}…{name[-kept:]}"
        if _width(short) <= _WIDEST:
            break
    return short


def _width(text: str) -> float:
    """In points, as the labels are set."""
    font = FontProperties(size=rcParams["font.size"])
    with _letters_of_any_script():
        return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


@contextmanager
def _letters_of_any_script() -> Iterator[None]:
    """One that the font lacks is a box in the picture and no warning: the tables have the names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield


def _both(axes: Axes, labels: Labels) -> bool:
    """Whether there are two classes; if not, the picture says so."""
    both = len(set(labels.tolist())) == 2
    if not both:
        axes.text(
            0.5, 0.5, "needs videos of both classes", ha="center", va="center",
            transform=axes.transAxes,
        )  # fmt: skip
    return both
