"""Faces as tensors -> logits: backbones, temporal modules, the network, bundles."""

from unmask.models.backbones import folded, load_imagenet, synchronised
from unmask.models.bundle import Bundle, BundleConfig, Provenance, load_bundle, save_bundle
from unmask.models.calibration import Calibration
from unmask.models.decision import Decision
from unmask.models.network import DeepfakeNet, Logits, ModelConfig
from unmask.models.registry import find_model, shipped_models

__all__ = [
    "Bundle",
    "BundleConfig",
    "Calibration",
    "Decision",
    "DeepfakeNet",
    "Logits",
    "ModelConfig",
    "Provenance",
    "find_model",
    "folded",
    "load_bundle",
    "load_imagenet",
    "save_bundle",
    "shipped_models",
    "synchronised",
]
