"""After the last epoch: a complete model, calibrated and evaluated, with its card."""

import logging
from pathlib import Path

from unmask.corpora import VideoRecord
from unmask.detection.calibrate import fit_calibration
from unmask.detection.detector import Detector
from unmask.detection.evaluate import EvaluateOptions, evaluate, save_with_card, score_labelled
from unmask.detection.scoring import labelled_videos
from unmask.errors import CorpusError
from unmask.evaluation import Report
from unmask.models import load_bundle, save_bundle
from unmask.models.bundle import BEST

log = logging.getLogger("unmask")


def finish(data: str | Path, out: str | Path, calibrate: bool, device: str) -> Report | None:
    """Leave `out` a complete model, and its evaluation on the test split in `out/evaluation`.

    Args:
        data: the preprocessed tree.
        out: folder of the run.
        calibrate: fit the scale and the thresholds on the val split.
        device: see pick_device.

    Returns:
        Report of the test split; None if the tree has none that could be scored.
    """
    detector = Detector(load_bundle(Path(out) / BEST), device=device)
    if calibrate:
        detector = _calibrated(detector, labelled_videos(data, "val"))
    save_bundle(out, detector.bundle)
    try:
        report = evaluate(data, out, Path(out) / "evaluation", EvaluateOptions(device=device))
    except CorpusError as error:
        log.warning("not evaluated: %s", error)
        return None
    save_with_card(detector, report, out)
    return report


def _calibrated(detector: Detector, videos: list[VideoRecord]) -> Detector:
    try:
        scored, labels = score_labelled(detector, videos)
        calibration = fit_calibration(scored, labels, detector.decision, "the val split")
        return detector.calibrated(calibration)
    except ValueError as error:
        log.warning("not calibrated: %s", error)
        return detector
