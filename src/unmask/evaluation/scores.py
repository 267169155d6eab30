"""A video's label beside its scores, and the files that hold them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from unmask.documents import FOREIGN, STRICT, By, Label, read_csv, read_json
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
        file: its path within its tree, without the suffix; tells videos of one name apart.
        verdict: what it was called, where that does not follow from its score and the thresholds
            of all: each video may have been judged by thresholds that others were fitted on.
        recording: names the recording that it is, or was made from.
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
    file: str | None = None
    verdict: str | None = None
    recording: str | None = None

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


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What a file may say of a video beside its name, label and score; see ScoredVideo."""

    input_type: str = "scores"
    category: str | None = None
    method: str | None = None
    manipulated_segments: tuple["_Segment", ...] = ()
    true_segments: tuple[tuple[float, float], ...] | None = None
    num_windows: Annotated[int, Ge(0)] = 0
    windows: tuple[tuple[float, float, float], ...] = ()
    frames: tuple[tuple[float, float], ...] = ()
    coverage: float | None = None
    resolution: int | None = None
    face_size: float | None = None
    reason: str | None = None
    cluster: str | None = None
    file: str | None = None
    verdict: str | None = None
    recording: str | None = None

    __pydantic_config__ = FOREIGN

    def of(self, name: str, label: int, score: float | None) -> ScoredVideo:
        """The video with all that is known of it."""
        segments = self.manipulated_segments
        return ScoredVideo(
            name=name,
            label=label,
            score=score,
            category=self.category or "",
            segments=tuple(Segment(s.start, s.end, s.confidence, s.track) for s in segments),
            num_windows=self.num_windows,
            coverage=self.coverage,
            reason=self.reason,
            input_type=self.input_type,
            cluster=self.cluster,
            method=self.method,
            truth=self.true_segments,
            windows=tuple(WindowScore(*window) for window in self.windows),
            frames=tuple(FrameScore(*frame) for frame in self.frames),
            resolution=self.resolution,
            face_size=self.face_size,
            file=self.file,
            verdict=self.verdict,
            recording=self.recording,
        )


@dataclass(frozen=True)
class _Row(_Known):
    """Of any detector's file."""

    video: str
    label: Label
    score: float | None


@dataclass(frozen=True)
class _Segment:
    """Of our own file, where the times stand as a player shows them, too."""

    start: float
    end: float
    confidence: float
    track: int = 0
    start_time: str = ""
    end_time: str = ""

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class _Detailed(_Known):
    """Of our own file."""

    video_name: str
    true_label: Label
    overall_confidence: float | None
    video_is_fake: bool | None = None
    predicted: int | None = None
    confidence: float | None = None

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class _File:
    """Our own file; or another's, whose whole content are the rows."""

    per_video_predictions: tuple[_Detailed, ...] = ()
    rows: tuple[_Row, ...] = ()


def _as_file(content: object) -> object:
    return {"rows": content} if isinstance(content, list) else content


def read_scores(path: str | Path) -> list[ScoredVideo]:
    """Read scores with labels, ours or any other detector's.

    A `.csv` has the columns video, label (0/1 or real/fake) and score (empty: failed), and may
    have category, method, cluster, coverage, resolution, face_size and reason. A `.json` is
    `test_detailed_predictions.json`, or a list of objects with video, label and score.

    Raises:
        CorpusError: not such a file.
    """
    path = Path(path)
    kind: type[_File] = Annotated[_File, By(_as_file)]  # type: ignore[assignment]
    if path.suffix.lower() == ".csv":
        file = _File(rows=tuple(read_csv(_Row, path, CorpusError)))
    else:
        file = read_json(kind, path, CorpusError, strict=False)
    videos = [row.of(row.video, row.label, row.score) for row in file.rows]
    ours = file.per_video_predictions
    videos += [row.of(row.video_name, row.true_label, row.overall_confidence) for row in ours]
    if not videos:
        raise CorpusError(path, "holds no scores")
    return videos


def detailed_row(video: ScoredVideo, threshold: float) -> dict[str, Any]:
    """What `read_scores` reads back, as plain values."""
    fake = None if video.score is None else video.score > threshold
    row = _Detailed(
        video_name=video.name,
        input_type=video.input_type,
        category=video.category,
        method=video.method,
        video_is_fake=fake,
        overall_confidence=video.score,
        manipulated_segments=tuple(
            _Segment(s.start, s.end, s.confidence, s.track, s.start_time, s.end_time)
            for s in video.segments
        ),
        predicted=None if fake is None else int(fake),
        confidence=video.score,
        true_label=video.label,
        true_segments=video.truth,
        num_windows=video.num_windows,
        # Times are not rounded, since a period may begin at one.
        windows=tuple((w.start, w.end, round(w.score, 6)) for w in video.windows),
        frames=tuple((f.time, round(f.score, 6)) for f in video.frames),
        coverage=video.coverage,
        resolution=video.resolution,
        face_size=video.face_size,
        reason=video.reason,
        cluster=video.cluster,
        file=video.file,
        verdict=video.verdict,
        recording=video.recording,
    )
    return asdict(row)
