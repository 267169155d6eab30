"""What is known of a video after it was judged."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unmask.models.decision import Verdict
from unmask.segments import Segment

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class ScoredFace:
    """The score of one sampled face.

    Attributes:
        time: seconds.
        score: 0 (real) to 1 (fake).
        track: whose face.
        box: x0, y0, x1, y1 in pixels of the upright frame.
    """

    time: float
    score: float
    track: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class ScoredWindow:
    """The score of one window; start and end in seconds."""

    start: float
    end: float
    score: float
    track: int


@dataclass(frozen=True)
class ScoredTrack:
    """One person's confidence, and from when to when they were seen, in seconds."""

    id: int
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class ModelId:
    """Which model judged: its name and the SHA-256 of its weights."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Thresholds:
    """What a confidence, and the curve of a segment, was compared with; see Decision."""

    real_below: float
    fake_above: float
    segment_threshold: float
    segment_contrast: float | None = None


@dataclass(frozen=True)
class Trial:
    """What a copy of the video is called: "failed" and no confidence if it cannot be scored."""

    copy: str
    verdict: Verdict
    confidence: float | None


@dataclass(frozen=True, repr=False)
class Prediction:
    """What is known of a video afterwards.

    Attributes:
        video: its path as it was given.
        verdict: "fake", "real", "inconclusive", or "failed" where nothing could be scored.
        confidence: probability that the video is fake, 0 to 1; None if failed.
        segments: where it looks manipulated.
        timeline: a score for every sampled face.
        windows: a score for every window.
        tracks: a score for every person; the worst one is the video's.
        coverage: share of the sampled frames with a scored face, 0 to 1.
        model: who says so.
        reason: why it failed, or what to keep in mind; None if there is nothing to say.
        thresholds: what the verdict and the segments follow from; None if failed.
        stability: what copies of the video are called (see unmask.detection.stability); None where
            that was not asked for.
        heatmaps: (N, h, w) float32, 0 to 1: for each face of the timeline, cell by cell of its
            crop, where the model looked; no proof, and no part of `to_dict`. None of models
            without a map head.
        out_of_scope: why no verdict can be given of such a video (see unmask.detection.scope).
        key: checksum of what it follows from: the file as it was (path, size, time of change), the
            model, its decision, and whose faces; empty where there was no file.
    """

    video: str
    verdict: Verdict
    confidence: float | None
    segments: tuple[Segment, ...]
    timeline: tuple[ScoredFace, ...]
    windows: tuple[ScoredWindow, ...]
    tracks: tuple[ScoredTrack, ...]
    coverage: float
    model: ModelId
    reason: str | None = None
    thresholds: Thresholds | None = None
    stability: tuple[Trial, ...] | None = None
    out_of_scope: tuple[str, ...] = ()
    heatmaps: NDArray[np.float32] | None = field(default=None, compare=False)
    key: str = field(default="", compare=False)

    def __repr__(self) -> str:
        score = "" if self.confidence is None else f", confidence={self.confidence:.3f}"
        found = f", segments={len(self.segments)}" if self.segments else ""
        return f"Prediction({self.video!r}, verdict={self.verdict!r}{score}{found})"

    @property
    def is_fake(self) -> bool | None:
        """True or False for the verdicts "fake" and "real", else None."""
        return {"fake": True, "real": False}.get(self.verdict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in the form that `unmask predict --format json` prints."""
        content = asdict(replace(self, heatmaps=None))
        del content["heatmaps"]
        return {
            "video": content.pop("video"),
            "verdict": content.pop("verdict"),
            "is_fake": self.is_fake,
            **content,
            "segments": [segment.to_dict() for segment in self.segments],
        }

    def to_json(self, indent: int | None = 2) -> str:
        """`to_dict` as JSON text; on one line if `indent` is None."""
        return json.dumps(self.to_dict(), indent=indent)

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """Draw the curve of every person over time, the thresholds, and the segments.

        Args:
            axes: to draw into; None makes a figure.

        Returns:
            The axes; `.figure.savefig("curve.png")` writes the picture.
        """
        from unmask.detection.curve import draw_prediction

        return draw_prediction(self, axes)
