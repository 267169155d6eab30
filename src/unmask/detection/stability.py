"""Does the verdict hold for a copy of the video? A verdict that does not is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from unmask.detection.prediction import Prediction, Trial
from unmask.errors import FileError
from unmask.video.corruption import Corruption
from unmask.video.reader import Frame, Limits, Video

if TYPE_CHECKING:
    from unmask.detection.detector import Detector

# What happens to a clip between its source and whoever asks.
_COPIES = {
    "encoded again": Corruption("h264", 2),
    "at half the resolution": Corruption("resize", 2),
}
_CUT = "without its first third"
_TRIMMED = 1 / 3  # of the time with faces that the trimmed copy lacks at its start


@dataclass(frozen=True)
class Trim:
    """A video without its first seconds; to be given to Detector.under."""

    seconds: float
    level: int = 1

    @contextmanager
    def open(self, path: Path, limits: Limits) -> Iterator[Video]:
        """The video as it is after that.

        Raises:
            VideoError: it cannot be read.
        """
        with Video(path, limits, self._frames) as video:
            yield video

    def _frames(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        return (frame for frame in frames if frame.time >= self.seconds)


def tested(detector: "Detector", prediction: Prediction) -> Prediction:
    """Judge three copies of a video; a verdict that one of them does not share is inconclusive.

    The copies are encoded again (H.264, crf 28), of half the resolution, and without the first
    third. That takes about three times as long as the prediction did.

    Args:
        detector: that made the prediction.
        prediction: of a video that can be read again; failed ones and those of `.pt` files are
            returned as they are.

    Returns:
        The prediction with its `stability`.
    """
    path = Path(prediction.video)
    if prediction.verdict == "failed" or path.suffix == ".pt":
        return prediction
    times = [face.time for face in prediction.timeline]
    trim = Trim(min(times) + _TRIMMED * (max(times) - min(times)))
    trials = []
    copies: dict[str, Corruption | Trim] = {**_COPIES, _CUT: trim}
    for name, change in copies.items():
        try:
            other = detector.under(change).predict(path)
            trials.append(Trial(name, other.verdict, other.confidence))
        except FileError:
            trials.append(Trial(name, "failed", None))
    prediction = replace(prediction, stability=tuple(trials))
    changed = [trial.copy for trial in trials if trial.verdict != prediction.verdict]
    if not changed or prediction.verdict == "inconclusive":
        return prediction
    said = f"{prediction.verdict} as it is, but not {', not '.join(changed)}"
    reason = "; ".join(filter(None, (prediction.reason, said)))
    return replace(prediction, verdict="inconclusive", reason=reason)
