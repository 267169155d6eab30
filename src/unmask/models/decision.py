"""How scores become a verdict."""

from dataclasses import dataclass

from unmask.errors import UsageError


@dataclass(frozen=True)
class Decision:
    """How scores become a verdict; the defaults are the design document's.

    Attributes:
        people: whose faces count (see unmask.faces.Tracker); the video's confidence is that of
            its worst person.
        smoothing: windows in the moving average.
        frame_smoothing: faces in the moving average over the frame curve.
        aggregate: "mean" or "max" of the smoothed windows is a person's confidence; or "logit",
            that of their log-odds (see unmask.segments.aggregate).
        segment_threshold: a segment is where the curve lies above it.
        real_below, fake_above: confidence under the one is "real", over the other "fake", and
            between them "inconclusive".
    """

    people: str | int = "largest"
    smoothing: int = 5
    frame_smoothing: int = 3
    aggregate: str = "mean"
    segment_threshold: float = 0.7
    real_below: float = 0.5
    fake_above: float = 0.5

    def __post_init__(self) -> None:
        if self.aggregate not in ("mean", "max", "logit"):
            raise UsageError(f"aggregate must be mean, max or logit, not {self.aggregate!r}")
        if min(self.smoothing, self.frame_smoothing) < 1:
            raise UsageError("smoothing and frame_smoothing must be at least 1")
