"""The weights that training starts from."""

import logging

from unmask.errors import ModelError, UsageError
from unmask.models import DeepfakeNet, find_model, load_bundle, load_imagenet

log = logging.getLogger("unmask")


def initialise(net: DeepfakeNet, weights: str) -> str:
    """Give the network its first weights; returns where they came from."""
    if weights == "random":
        return "random weights"
    if weights not in ("imagenet", "auto"):
        try:
            path = find_model(weights)
        except ModelError as error:
            raise UsageError(f"weights: imagenet, random, auto, or a model; {error}") from error
        bundle = load_bundle(path)
        if bundle.net.config != net.config:
            raise ModelError(weights, "has another architecture than the settings ask for")
        net.load_state_dict(bundle.net.state_dict())
        before = bundle.training.get("started_from", "unknown weights")
        return f"{bundle.name} (sha256 {bundle.sha256}), which started from {before}"
    name = net.config.backbone
    origin = load_imagenet(net.cnn, name)
    if origin is None:
        cause = f"no ImageNet weights of {name} on this machine, and no network to get them from"
        if weights == "imagenet":
            raise UsageError(f"{cause}; --set weights=random starts without")
        log.warning("%s: training starts from RANDOM weights", cause)
        return "random weights, for want of ImageNet's"
    return f"ImageNet ({origin})"
