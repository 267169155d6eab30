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

__all__ = [
    "Bundle",
    "Decision",
    "DeepfakeNet",
    "Logits",
    "ModelConfig",
    "autocast",
    "fast_precision",
    "folded",
    "load_bundle",
    "load_imagenet",
    "save_bundle",
]
