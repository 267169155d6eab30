"""unmask finds manipulated faces in video, says how sure it is, and says when it happens.

    import unmask
    result = unmask.predict("clip.mp4")
    print(result.verdict, result.confidence, result.segments)

Names are imported when they are first used, so that `import unmask` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from unmask.api import evaluate, list_models, load_model, predict, preprocess, train
    from unmask.data.preprocessor import VideoPreprocessor
    from unmask.data.tree import preprocess_tree
    from unmask.data.windows import Window
    from unmask.detection.detector import Detector
    from unmask.detection.prediction import Prediction
    from unmask.engine import Engine, Shard
    from unmask.errors import UnmaskError
    from unmask.faces import Face, FaceTrack
    from unmask.models import Bundle, Decision, ModelConfig, load_bundle, save_bundle
    from unmask.report.write import write_report
    from unmask.segments import Segment, format_timestamp
    from unmask.synth import make_fakes
    from unmask.training.config import TrainConfig
    from unmask.training.dataset import DeepfakeWindowDataset, create_dataloaders
    from unmask.video.reader import Frame, Limits

_HOMES = {
    "api": ("evaluate", "list_models", "load_model", "predict", "preprocess", "train"),
    "data.preprocessor": ("VideoPreprocessor",),
    "data.tree": ("preprocess_tree",),
    "data.windows": ("Window",),
    "detection.detector": ("Detector",),
    "detection.prediction": ("Prediction",),
    "engine": ("Engine", "Shard"),
    "errors": ("UnmaskError",),
    "faces": ("Face", "FaceTrack"),
    "models": ("Bundle", "Decision", "ModelConfig", "load_bundle", "save_bundle"),
    "report.write": ("write_report",),
    "segments": ("Segment", "format_timestamp"),
    "synth": ("make_fakes",),
    "training.config": ("TrainConfig",),
    "training.dataset": ("DeepfakeWindowDataset", "create_dataloaders"),
    "video.reader": ("Frame", "Limits"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Bundle",
    "Decision",
    "DeepfakeWindowDataset",
    "Detector",
    "Engine",
    "Face",
    "FaceTrack",
    "Frame",
    "Limits",
    "ModelConfig",
    "Prediction",
    "Segment",
    "Shard",
    "TrainConfig",
    "UnmaskError",
    "VideoPreprocessor",
    "Window",
    "create_dataloaders",
    "evaluate",
    "format_timestamp",
    "list_models",
    "load_bundle",
    "load_model",
    "make_fakes",
    "predict",
    "preprocess",
    "preprocess_tree",
    "save_bundle",
    "train",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(f"unmask.{_HOME[name]}"), name)
    raise AttributeError(f"module 'unmask' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
