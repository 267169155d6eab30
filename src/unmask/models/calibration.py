"""`calibration.json` of a bundle: what was fitted on videos that the model did not learn from."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt

from unmask import documents
from unmask.atomic import write_text
from unmask.documents import STRICT
from unmask.errors import ModelError
from unmask.models.decision import Decision, Probability

CALIBRATION = "calibration.json"


@dataclass(frozen=True)
class Basis:
    """What a calibration was fitted on.

    Attributes:
        reals, fakes: how many videos.
        videos: where they are from, in words.
        auc_roc: of their scores; None if only one class was there.
        fake_above, real_below, segment_threshold, segment_contrast: what each threshold was chosen
            for, in words.
    """

    reals: Annotated[int, Ge(0)]
    fakes: Annotated[int, Ge(0)]
    videos: str
    auc_roc: float | None
    fake_above: str
    real_below: str
    segment_threshold: str
    segment_contrast: str = ""

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Calibration:
    """The fitted part of a Decision.

    Attributes:
        temperature, offset, real_below, fake_above, segment_threshold, segment_contrast: see
            Decision.
        basis: what it was fitted on.
        format: of the file.

    Raises:
        ValueError: real_below lies above fake_above.
    """

    temperature: Annotated[float, Gt(0)]
    offset: float
    real_below: Probability
    fake_above: Probability
    segment_threshold: Probability
    basis: Basis
    segment_contrast: float | None = None
    format: Literal[2] = 2

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if self.real_below > self.fake_above:
            raise ValueError("real_below lies above fake_above")

    def applied(self, decision: Decision) -> Decision:
        """The decision with what was fitted."""
        return replace(
            decision,
            temperature=self.temperature,
            offset=self.offset,
            real_below=self.real_below,
            fake_above=self.fake_above,
            segment_threshold=self.segment_threshold,
            segment_contrast=self.segment_contrast,
        )

    def save(self, folder: str | Path) -> None:
        """Write `calibration.json`."""
        write_text(Path(folder) / CALIBRATION, documents.to_json(self))

    @classmethod
    def load(cls, folder: str | Path) -> Self | None:
        """Read `calibration.json`; None if there is none.

        Raises:
            ModelError: it cannot be used.
        """
        path = Path(folder) / CALIBRATION
        return documents.read_json(cls, path, ModelError) if path.exists() else None
