"""A video's label beside its scores, and the files that hold them."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unmask.errors import CorpusError
from unmask.segments import Segment

Labels = NDArray[np.int64]
Scores = NDArray[np.float64]


class WindowScore(NamedTuple):
    """The score of a stretch of video; start and end in seconds."""

    start: float
    end: float
    score: float


class FrameScore(NamedTuple):
    """The score of a sampled frame, the highest of its faces; time in seconds."""

    time: float
    score: float


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
        input_type: "video", "preprocessed" or "scores".
        cluster: what it is not independent of: the person, or the recording, in it.
        method: how a fake was made.
        truth: (start, end) in seconds of what is manipulated; None if unknown.
        windows, frames: their scores, where there are any.
        resolution: shorter side of the frame in pixels.
        face_size: median of the square root of the face boxes' area, in pixels.
        path: the file that was scored.
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
    method: str | None = None
    truth: tuple[tuple[float, float], ...] | None = None
    windows: tuple[WindowScore, ...] = ()
    frames: tuple[FrameScore, ...] = ()
    resolution: int | None = None
    face_size: float | None = None
    path: Path | None = None

    @property
    def periods(self) -> tuple[tuple[float, float], ...] | None:
        """What is manipulated where that is known: nothing in a real video."""
        return () if self.label == 0 else self.truth

    @property
    def is_partial(self) -> bool:
        """Whether it is a fake with real frames, as far as its scored frames show."""
        return bool(self.label and self.frames) and len(set(frame_labels(self))) == 2


def arrays(videos: Iterable[ScoredVideo]) -> tuple[Labels, Scores]:
    """(labels, scores) of the videos that have a score."""
    pairs = [(video.label, video.score) for video in videos if video.score is not None]
    labels = np.array([label for label, _ in pairs], dtype=np.int64)
    return labels, np.array([score for _, score in pairs], dtype=np.float64)


def clusters(videos: Iterable[ScoredVideo]) -> list[str]:
    """What each video that has a score is drawn with: the person or recording, else itself."""
    return [video.cluster or video.name for video in videos if video.score is not None]


def frame_labels(video: ScoredVideo) -> list[int]:
    """1 for each scored frame that is manipulated; the video's label where periods are unknown."""
    if video.periods is None:
        return [video.label] * len(video.frames)
    return [int(any(a <= f.time < b for a, b in video.periods)) for f in video.frames]


def window_labels(video: ScoredVideo) -> list[int]:
    """1 for each scored window that a manipulated period reaches into."""
    if video.periods is None:
        return [video.label] * len(video.windows)
    # A window ends with its last face, a period before its end.
    return [int(any(a <= w.end and b > w.start for a, b in video.periods)) for w in video.windows]


def read_scores(path: str | Path) -> list[ScoredVideo]:
    """Read scores with labels, ours or any other detector's.

    A `.csv` has the columns video, label (0/1 or real/fake) and score (empty: failed), and may
    have category, method, cluster, coverage, resolution, face_size and reason. A `.json` is
    `test_detailed_predictions.json`, or a list of objects with video, label and score.

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
    except RecursionError as error:
        raise CorpusError(path, "no scores with labels: nested too deep") from error
    except (ValueError, TypeError, OverflowError, csv.Error) as error:
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
    truth = row.get("true_segments")
    resolution = _number(row.get("resolution"))
    return ScoredVideo(
        name=str(row["video_name" if ours else "video"]),
        label=int(float(label)),
        score=_number(row["overall_confidence" if ours else "score"]),
        category=str(row.get("category") or ""),
        segments=tuple(
            Segment(_finite(s["start"]), _finite(s["end"]), _finite(s["confidence"]))
            for s in row.get("manipulated_segments") or ()
        ),
        num_windows=int(row.get("num_windows") or 0),
        coverage=_number(row.get("coverage")),
        reason=row.get("reason") or None,
        input_type=str(row.get("input_type") or "scores"),
        cluster=row.get("cluster") or None,
        method=row.get("method") or None,
        truth=None if truth is None else tuple((_finite(a), _finite(b)) for a, b in truth),
        windows=tuple(WindowScore(*map(_finite, w)) for w in row.get("windows") or ()),
        frames=tuple(FrameScore(*map(_finite, f)) for f in row.get("frames") or ()),
        resolution=None if resolution is None else int(resolution),
        face_size=_number(row.get("face_size")),
    )


def _number(value: Any) -> float | None:
    return None if value in ("", None) else _finite(value)


def _finite(value: Any) -> float:
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"score {number} is not a number")
    return number


def detailed_row(video: ScoredVideo, threshold: float) -> dict[str, Any]:
    """What `read_scores` reads back, as plain values."""
    fake = None if video.score is None else video.score > threshold
    return {
        "video_name": video.name,
        "input_type": video.input_type,
        "category": video.category,
        "method": video.method,
        "video_is_fake": fake,
        "overall_confidence": video.score,
        "manipulated_segments": [segment.to_dict() for segment in video.segments],
        "predicted": None if fake is None else int(fake),
        "confidence": video.score,
        "true_label": video.label,
        "true_segments": video.truth,
        "num_windows": video.num_windows,
        "windows": _rounded(video.windows),
        "frames": _rounded(video.frames),
        "coverage": video.coverage,
        "resolution": video.resolution,
        "face_size": video.face_size,
        "reason": video.reason,
        "cluster": video.cluster,
    }


def _rounded(rows: Sequence[tuple[float, ...]]) -> list[list[float]]:
    """Scores; times stay, since a period may begin at one."""
    return [[*row[:-1], round(row[-1], 6)] for row in rows]
