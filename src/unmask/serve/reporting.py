"""A prediction -> the files that the application shows of it, and what it is called in words."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from unmask.atomic import write_text
from unmask.serve.jobs import Evidence

if TYPE_CHECKING:  # the server reads this module, too, and stays without torch
    from unmask.detection.detector import Detector
    from unmask.detection.prediction import Prediction

RESULT, PAGE = "report.json", "report.html"
# The address of the video in a page; whoever serves the page puts in the key (see Guard).
VIDEO = "video?key=0f5c1f2e77e94c0c"


def evidence(prediction: "Prediction") -> Evidence:
    """The band of a prediction that has a confidence."""
    from unmask.report.words import band

    return cast(Evidence, band(prediction).level)


def make_report(prediction: "Prediction", detector: "Detector", folder: Path, name: str) -> None:
    """Write `report.json` and `report.html` into a folder.

    Args:
        prediction: of a video that can still be read.
        detector: that made it.
        folder: of the job.
        name: what the video is called in them.

    Raises:
        FileError: they cannot be written.
    """
    from unmask.report.write import write_report

    write_report(prediction, detector, folder, name=name, page=Path(PAGE).stem, video_url=VIDEO)
    write_text(folder / RESULT, replace(prediction, video=name).to_json() + "\n")
