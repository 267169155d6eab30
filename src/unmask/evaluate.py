"""Scores + labels -> metrics. Sees arrays only and never runs a model."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from unmask.errors import CorpusError
from unmask.measures import auc_roc
from unmask.segments import Segment


@dataclass(frozen=True)
class ScoredVideo:
    """One video's label beside its score.

    Attributes:
        name: of the video.
        label: 0 real, 1 fake.
        score: probability of fake, 0 to 1; None if it could not be scored.
        category: its folder in the corpus.
        segments: what was found in it.
        num_windows: how many windows were scored.
        coverage: share of sampled frames with a scored face.
        reason: why there is no score.
        input_type: "video" or "preprocessed".
        cluster: what it is not independent of: the person, or the recording, in it.
    """

    name: str
    label: int
    score: float | None
    category: str = ""
    segments: tuple[Segment, ...] = ()
    num_windows: int = 0
    coverage: float | None = None
    reason: str | None = None
    input_type: str = "preprocessed"
    cluster: str | None = None


@dataclass(frozen=True)
class Metrics:
    """Video-level metrics of the scored videos; fake is the positive class.

    Attributes:
        accuracy, precision, recall, f1_score: at the threshold, 0 to 1; 0 where undefined.
        auc_roc: None unless both classes occur.
        confusion_matrix: [[TN, FP], [FN, TP]].
        threshold: a score above it counts as fake.
        scored, failed: how many videos have a score, and how many have none.
    """

    accuracy: float
    precision: float
    recall: float
    f1_score: float
    auc_roc: float | None
    confusion_matrix: tuple[tuple[int, int], tuple[int, int]]
    threshold: float
    scored: int
    failed: int


def auc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the ROC curve; None unless both classes occur and all scores are finite."""
    y, s = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    return auc_roc(y.astype(np.int64), s) if np.isfinite(s).all() else None


def evaluate(videos: Sequence[ScoredVideo], threshold: float = 0.5) -> Metrics:
    """Metrics over the videos that have a score; those without are counted, never guessed.

    Raises:
        ValueError: no video has a score.
    """
    labels, scores = arrays(videos)
    if not len(labels):
        raise ValueError(f"none of {len(videos)} videos has a score")
    guesses = (scores > threshold).astype(int)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, guesses, average="binary", zero_division=0
    )
    (tn, fp), (fn, tp) = confusion_matrix(labels, guesses, labels=[0, 1]).tolist()
    return Metrics(
        accuracy=float((labels == guesses).mean()),
        precision=float(precision),
        recall=float(recall),
        f1_score=float(f1),
        auc_roc=auc(labels, scores),
        confusion_matrix=((tn, fp), (fn, tp)),
        threshold=threshold,
        scored=len(labels),
        failed=len(videos) - len(labels),
    )


def arrays(videos: Sequence[ScoredVideo]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(labels, scores) of the videos that have a score."""
    pairs = [(video.label, video.score) for video in videos if video.score is not None]
    labels = np.array([label for label, _ in pairs], dtype=np.int64)
    return labels, np.array([score for _, score in pairs], dtype=np.float64)


def read_scores(path: str | Path) -> list[ScoredVideo]:
    """Read scores with labels, ours or any other detector's.

    A `.csv` has the columns video, label (0/1 or real/fake) and score (empty: failed). A `.json`
    is `test_detailed_predictions.json`, or a list of objects with video, label and score.

    Raises:
        CorpusError: not such a file.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows: list[dict[str, Any]] = list(csv.DictReader(file))
        else:
            content = json.loads(path.read_text(encoding="utf-8"))
            rows = content["per_video_predictions"] if isinstance(content, dict) else content
        videos = [_parse_row(row) for row in rows]
    except OSError as error:
        raise CorpusError(path, f"cannot be read: {error.strerror}") from error
    except KeyError as error:
        raise CorpusError(path, f"no scores: {error} is missing") from error
    except (ValueError, TypeError) as error:
        raise CorpusError(path, f"no scores with labels: {error}") from error
    if not videos:
        raise CorpusError(path, "holds no scores")
    return videos


def _parse_row(row: dict[str, Any]) -> ScoredVideo:
    ours = "video_name" in row
    label = row["true_label" if ours else "label"]
    label = {"real": 0, "fake": 1}.get(str(label).lower(), label)
    if str(label) not in ("0", "1", "0.0", "1.0"):
        raise ValueError(f"label {label!r} is neither real (0) nor fake (1)")
    score = row["overall_confidence" if ours else "score"]
    score = None if score in ("", None) else float(score)
    if score is not None and not np.isfinite(score):
        raise ValueError(f"score {score} is not a number")
    return ScoredVideo(
        name=str(row["video_name" if ours else "video"]),
        label=int(float(label)),
        score=score,
        category=str(row.get("category") or ""),
        segments=tuple(_parse_segment(s) for s in row.get("manipulated_segments") or ()),
        num_windows=int(row.get("num_windows") or 0),
        coverage=row.get("coverage"),
        reason=row.get("reason"),
        input_type=str(row.get("input_type") or "scores"),
        cluster=row.get("cluster") or None,
    )


def _parse_segment(row: dict[str, Any]) -> Segment:
    return Segment(float(row["start"]), float(row["end"]), float(row["confidence"]))
