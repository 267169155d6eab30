"""unmask finds manipulated faces in video, says how sure it is, and says when it happens.

Names are imported when they are first used, so that `import unmask` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from unmask.data.preprocessor import VideoPreprocessor
    from unmask.data.tree import preprocess_tree
    from unmask.data.windows import Window
    from unmask.detection.detector import Detector
    from unmask.detection.prediction import Prediction
    from unmask.errors import UnmaskError
    from unmask.faces import Face, FaceTrack
    from unmask.segments import Segment, format_timestamp
    from unmask.synth import make_fakes
    from unmask.training.dataset import DeepfakeWindowDataset, create_dataloaders
    from unmask.video.reader import Frame

__all__ = [
    "DeepfakeWindowDataset",
    "Detector",
    "Face",
    "FaceTrack",
    "Frame",
    "Prediction",
    "Segment",
    "UnmaskError",
    "VideoPreprocessor",
    "Window",
    "create_dataloaders",
    "format_timestamp",
    "make_fakes",
    "preprocess_tree",
]

_HOMES = {
    "data.preprocessor": ("VideoPreprocessor",),
    "data.tree": ("preprocess_tree",),
    "data.windows": ("Window",),
    "detection.detector": ("Detector",),
    "detection.prediction": ("Prediction",),
    "errors": ("UnmaskError",),
    "faces": ("Face", "FaceTrack"),
    "segments": ("Segment", "format_timestamp"),
    "synth": ("make_fakes",),
    "training.dataset": ("DeepfakeWindowDataset", "create_dataloaders"),
    "video.reader": ("Frame",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(f"unmask.{_HOME[name]}"), name)
    raise AttributeError(f"module 'unmask' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
