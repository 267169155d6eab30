"""Faces as tensors -> logits: backbones, temporal modules, the network, bundles."""

from unmask.models.backbone import folded, load_imagenet
from unmask.models.bundle import Bundle, Decision, load_bundle, save_bundle
from unmask.models.network import (
    DeepfakeNet,
    Logits,
    ModelConfig,
    autocast,
    fast_precision,
)
from unmask.models.pretrained import find_model, shipped_models
from unmask.models.verdicts import Calibration

__all__ = [
    "Bundle",
    "Calibration",
    "Decision",
    "DeepfakeNet",
    "Logits",
    "ModelConfig",
    "autocast",
    "fast_precision",
    "find_model",
    "folded",
    "load_bundle",
    "load_imagenet",
    "save_bundle",
    "shipped_models",
]
