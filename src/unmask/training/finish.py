"""After the last epoch: the best model is evaluated."""

import logging
from functools import partial
from pathlib import Path

from unmask.detection.detector import Detector
from unmask.detection.scoring import labelled_videos, score_videos, telling_faces
from unmask.errors import CorpusError
from unmask.evaluation import Report, write_evaluation

log = logging.getLogger("unmask")


def evaluate_best(data: str | Path, out: str | Path, device: str = "auto") -> Report | None:
    """Evaluate the best model of a run on the test split, into `out/evaluation`."""
    try:
        detector = Detector.from_pretrained(out, device=device)
        videos = score_videos(detector, labelled_videos(data))
        return write_evaluation(
            Path(out) / "evaluation", videos, faces=partial(telling_faces, detector)
        )
    except (CorpusError, ValueError) as error:
        log.warning("not evaluated: %s", error)
        return None
