"""What the tests of reports share: a prediction, a video, the model, and a report of them."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import browser as browser
from conftest import MakeClip

from unmask.detection.detector import Detector
from unmask.detection.prediction import (
    ModelId,
    Prediction,
    ScoredFace,
    ScoredTrack,
    Thresholds,
    Trial,
)
from unmask.models import Bundle
from unmask.report.write import write_report
from unmask.segments import Segment


def predicted(**change: Any) -> Prediction:
    """A prediction of two people in 3 s: one is suspicious from 1 to 2 s, one is gone for 1 s."""
    times = [int(2.5 * k) / 10 for k in range(12)]  # what is on display at k / 4 s
    timeline = [
        ScoredFace(t, 0.95 if 1 <= t < 2 else 0.3, 0, (20.0, 10.0, 90.0, 110.0)) for t in times
    ]
    timeline += [ScoredFace(t, 0.2, 1, (100.0, 20.0, 150.0, 90.0)) for t in times if not 1 <= t < 2]
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {
        "video": "clip.mp4",
        "verdict": "fake",
        "confidence": 0.91,
        "segments": (Segment(1.0, 2.0, 0.95, 0), Segment(2.25, 2.5, 0.7, 0)),
        "timeline": tuple(timeline),
        "windows": (),
        "tracks": (ScoredTrack(0, 0.0, 2.75, 0.91), ScoredTrack(1, 0.0, 2.75, 0.2)),
        "coverage": 1.0,
        "model": ModelId("tiny", "ab" * 32),
        "thresholds": Thresholds(0.3, 0.8, 0.7),
        "stability": (Trial("encoded again", "fake", 0.88), Trial("cut", "fake", 0.9)),
        "heatmaps": rng.random((len(timeline), 4, 4), np.float32),
    }
    return Prediction(**values | change)


@pytest.fixture(scope="session")
def movie(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Path:
    return make_clip(tmp_path_factory.mktemp("movie") / "clip.mp4")


@pytest.fixture(scope="session")
def reporter(bundle: Bundle) -> Detector:
    return Detector(bundle)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, movie: Path, reporter: Detector) -> Path:
    """A report of `predicted`; its video lies beside its folder."""
    folder = tmp_path_factory.mktemp("reports")
    video = Path(shutil.copy(movie, folder / "clip.mp4"))
    return write_report(predicted(video=str(video)), reporter, folder / "out")
