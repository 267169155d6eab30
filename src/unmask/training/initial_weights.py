"""The weights that training starts from."""

from unmask.errors import ModelError, UsageError
from unmask.models import DeepfakeNet, find_model, load_bundle, load_imagenet


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
        before = bundle.config.training.started_from
        return f"{bundle.name} (sha256 {bundle.sha256}), which started from {before}"
    try:
        return f"ImageNet ({load_imagenet(net.cnn, net.config.backbone)})"
    except ModelError as error:
        raise UsageError(f"{error}; --set weights=random starts without") from error
