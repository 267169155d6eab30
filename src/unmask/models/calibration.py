"""How a model's logits become probabilities and verdicts: `calibration.json` of a bundle."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from unmask.atomic import write_text
from unmask.errors import ModelError

CALIBRATION = "calibration.json"
FORMAT = 1


@dataclass(frozen=True)
class Calibration:
    """What is made of a logit z: the probability is sigmoid((z + offset) / temperature).

    Platt 1999, "Probabilistic Outputs for Support Vector Machines"; with an offset of 0, Guo,
    Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks".

    Attributes:
        temperature: above 1 makes less sure.
        offset: added to the logit first.
        real_below, fake_above: a confidence up to the one is "real", over the other "fake", and
            between them "inconclusive".
        segment_above: a segment is where the smoothed curve of the faces lies above.
        basis: what it was fitted on, and the error rates that the thresholds were chosen for.
    """

    temperature: float
    offset: float
    real_below: float
    fake_above: float
    segment_above: float
    basis: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf or not math.isfinite(self.offset):
            raise ValueError("temperature and offset must be numbers, temperature above 0")
        if not 0 <= self.real_below <= self.fake_above <= 1 or not 0 <= self.segment_above <= 1:
            raise ValueError("thresholds lie between 0 and 1, and real_below not above fake_above")

    def save(self, folder: str | Path) -> None:
        """Write `calibration.json`."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=2)
        write_text(Path(folder) / CALIBRATION, text + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Self | None:
        """Read `calibration.json`; None if there is none.

        Raises:
            ModelError: it cannot be used.
        """
        path = Path(folder) / CALIBRATION
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("format") != FORMAT:
                raise ValueError(f"not of format {FORMAT}")
            return cls(**content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(path, f"not the calibration of a model: {error}") from error
