"""unmask finds manipulated faces in video, says how sure it is, and says when it happens.

Names are imported when they are first used, so that `import unmask` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from unmask.data import DeepfakeWindowDataset, create_dataloaders
    from unmask.detector import Detector, Prediction
    from unmask.errors import UnmaskError
    from unmask.faces import Face, FaceTrack
    from unmask.preprocess import VideoPreprocessor, preprocess_tree
    from unmask.segments import Segment, format_timestamp
    from unmask.synth import make_fakes
    from unmask.video import Frame
    from unmask.windows import Window

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
    "data": ("DeepfakeWindowDataset", "create_dataloaders"),
    "detector": ("Detector", "Prediction"),
    "errors": ("UnmaskError",),
    "faces": ("Face", "FaceTrack"),
    "preprocess": ("VideoPreprocessor", "preprocess_tree"),
    "segments": ("Segment", "format_timestamp"),
    "synth": ("make_fakes",),
    "video": ("Frame",),
    "windows": ("Window",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(f"unmask.{_HOME[name]}"), name)
    raise AttributeError(f"module 'unmask' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
