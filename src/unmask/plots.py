"""Scores + labels -> pictures."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from unmask.atomic import replacing
from unmask.evaluate import Metrics

_REAL, _FAKE = "#0072b2", "#d55e00"  # Okabe and Ito: told apart by the colour-blind too


def plot_evaluation(
    path: str | Path, labels: NDArray[np.int64], scores: NDArray[np.float64], metrics: Metrics
) -> None:
    """Draw ROC curve, confusion matrix and confidence histogram into one picture.

    Args:
        path: of the picture; the suffix is the format.
        labels: (N,) 0 real, 1 fake.
        scores: (N,) 0 to 1.
        metrics: of these scores.
    """
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    roc, confusion, histogram = figure.subplots(1, 3)
    _roc(roc, labels, scores, metrics.auc_roc)
    _confusion(confusion, metrics)
    _histogram(histogram, labels, scores, metrics.threshold)
    missing = f", {metrics.failed} without a score" if metrics.failed else ""
    figure.suptitle(f"{metrics.scored} videos{missing}")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _roc(
    axes: Axes, labels: NDArray[np.int64], scores: NDArray[np.float64], auc: float | None
) -> None:
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="chance")
    if auc is None:
        axes.text(0.5, 0.5, "needs videos of both classes", ha="center", va="center")
    else:
        fpr, tpr, _ = roc_curve(labels, scores)
        axes.plot(fpr, tpr, color=_FAKE, linewidth=2, label=f"AUC {auc:.3f}")
    axes.set(title="ROC curve", xlabel="false positive rate", ylabel="true positive rate")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.legend(loc="lower right")


def _confusion(axes: Axes, metrics: Metrics) -> None:
    counts = np.array(metrics.confusion_matrix)
    axes.imshow(counts, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(counts):
        dark = count > counts.max() / 2
        axes.text(
            column, row, str(count), ha="center", va="center",
            fontsize=16, color="white" if dark else "black",
        )  # fmt: skip
    axes.set(title=f"Confusion matrix at {metrics.threshold:g}", xlabel="predicted", ylabel="true")
    axes.set_xticks([0, 1], ["real", "fake"])
    axes.set_yticks([0, 1], ["real", "fake"])


def _histogram(
    axes: Axes, labels: NDArray[np.int64], scores: NDArray[np.float64], threshold: float
) -> None:
    bins = np.linspace(0, 1, 21)
    for label, name, colour, hatch in ((0, "real", _REAL, "//"), (1, "fake", _FAKE, "")):
        axes.hist(
            scores[labels == label], bins.tolist(), alpha=0.6, color=colour, label=name,
            edgecolor="black", linewidth=0.6, hatch=hatch,
        )  # fmt: skip
    axes.axvline(threshold, color="black", linestyle=":", label=f"threshold {threshold:g}")
    axes.set(title="Confidence", xlabel="confidence that the video is fake", ylabel="videos")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper center")
