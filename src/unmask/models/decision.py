"""How a model's scores become a verdict: the one decision that a bundle carries.

`predict`, `evaluate` and the report after training all use it, so that what is measured is what
is delivered.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt, Interval
from numpy.typing import NDArray

from unmask.documents import STRICT
from unmask.errors import UsageError

Verdict = Literal["fake", "real", "inconclusive", "failed"]
Aggregate = Literal["mean", "max", "logit"]
Probability = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True)
class Decision:
    """How scores become a verdict; the defaults are the design document's.

    Attributes:
        faces: whose faces count: "largest" of each frame, "all", or the N most prominent people
            (see unmask.faces.Tracker). The video's confidence is that of its worst person.
        smoothing: windows in the moving average.
        frame_smoothing: faces in the moving average over the frame curve.
        aggregate: "mean" or "max" of the smoothed windows is a person's confidence; or "logit",
            that of their log-odds (see unmask.segments.aggregate).
        temperature, offset: a logit z has the probability sigmoid((z + offset) / temperature).
            Platt 1999, "Probabilistic Outputs for Support Vector Machines"; with an offset of 0,
            Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks".
        real_below, fake_above: a confidence up to the one is "real", over the other "fake", and
            between them "inconclusive".
        segment_threshold: a segment is where the smoothed curve lies above it.
        segment_contrast: where a person has no such segment, a stretch that stands out from the
            rest of the curve more sharply than this is one (see unmask.segments.find_step), and
            the video is not called "real". None looks for none.

    Raises:
        UsageError: real_below lies above fake_above.
    """

    faces: str | int = "largest"
    smoothing: Annotated[int, Interval(ge=1, le=10_000)] = 5
    frame_smoothing: Annotated[int, Interval(ge=1, le=10_000)] = 3
    aggregate: Aggregate = "mean"
    temperature: Annotated[float, Gt(0)] = 1.0
    offset: float = 0.0
    real_below: Probability = 0.5
    fake_above: Probability = 0.5
    segment_threshold: Probability = 0.7
    segment_contrast: float | None = None

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if self.aggregate not in ("mean", "max", "logit"):
            raise UsageError(f"aggregate must be mean, max or logit, not {self.aggregate!r}")
        if min(self.smoothing, self.frame_smoothing) < 1:
            raise UsageError("smoothing and frame_smoothing must be at least 1")
        if self.temperature <= 0:
            raise UsageError("temperature must be above 0")
        if not 0 <= self.real_below <= self.fake_above <= 1 or not 0 <= self.segment_threshold <= 1:
            raise UsageError("thresholds lie between 0 and 1, real_below not above fake_above")

    def probability(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw logits of any shape -> calibrated probabilities of being fake."""
        scaled = (logits + self.offset) / self.temperature
        return np.asarray(0.5 * (1 + np.tanh(0.5 * scaled)))  # the sigmoid, without overflow

    def verdict(self, confidence: float) -> Verdict:
        """What a probability of fake is called."""
        if confidence > self.fake_above:
            return "fake"
        return "real" if confidence <= self.real_below else "inconclusive"
