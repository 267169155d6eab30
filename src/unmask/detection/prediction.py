"""What is known of a video after it was judged."""

from dataclasses import dataclass

from unmask.segments import Segment


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
    """

    video: str
    verdict: str
    confidence: float | None
    segments: tuple[Segment, ...]
    timeline: tuple[ScoredFace, ...]
    windows: tuple[ScoredWindow, ...]
    tracks: tuple[ScoredTrack, ...]
    coverage: float
    model: ModelId
    reason: str | None = None

    @property
    def is_fake(self) -> bool | None:
        """True or False for the verdicts "fake" and "real", else None."""
        return {"fake": True, "real": False}.get(self.verdict)
