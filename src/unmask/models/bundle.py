"""A model on disk: everything that prediction needs to know, beside the weights.

A bundle is a folder of `config.json` and `model.safetensors` (or `best_model.pth`, as training
leaves it), with `calibration.json` and `card.md` if there are any. A bare `.pth` takes the
configuration from its checkpoint, from a `config.json` beside it, or else is taken for the design
document's own model.
"""

import hashlib
import json
import pickle
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unmask.atomic import replacing, write_text
from unmask.errors import ModelError, UnmaskError
from unmask.face_spec import FaceSpec
from unmask.models.calibration import CALIBRATION, Calibration
from unmask.models.decision import Decision
from unmask.models.network import DeepfakeNet, ModelConfig

CONFIG, WEIGHTS, BEST = "config.json", "model.safetensors", "best_model.pth"
CARD = "card.md"
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model that can predict.

    Attributes:
        name: for reports.
        net: the network, in evaluation mode, on the CPU.
        spec: how the faces that it takes are made.
        decision: how its scores become a verdict.
        training: what is known of its making.
        sha256: of the weights file, hexadecimal.
        calibration: of its logits; its thresholds go before the decision's.
        card: what is to be known of it, Markdown.
    """

    name: str
    net: DeepfakeNet
    spec: FaceSpec
    decision: Decision
    training: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    calibration: Calibration | None = None
    card: str | None = None


def config_dict(
    name: str, config: ModelConfig, spec: FaceSpec, decision: Decision, training: dict[str, Any]
) -> dict[str, Any]:
    """What stands in `config.json`, and under "config" in a checkpoint."""
    return {
        "format": FORMAT,
        "name": name,
        "model": asdict(config),
        "faces": asdict(spec),
        "decision": asdict(decision),
        "training": training,
    }


def save_config(folder: str | Path, config: dict[str, Any]) -> None:
    """Write `config.json`."""
    write_text(Path(folder) / CONFIG, json.dumps(config, indent=2) + "\n")


def save_bundle(folder: str | Path, bundle: Bundle, half: bool = False) -> None:
    """Write a bundle: `config.json`, `model.safetensors`, and what else it has.

    Args:
        folder: for the files.
        bundle: the model.
        half: write the weights as float16, which takes half the room and moves scores by little.
    """
    state = {key: value.contiguous() for key, value in bundle.net.state_dict().items()}
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    for name in (CALIBRATION, CARD):  # of what was there before
        (Path(folder) / name).unlink(missing_ok=True)
    with replacing(Path(folder) / WEIGHTS) as temporary:
        save_file(state, temporary)
    if bundle.calibration is not None:
        bundle.calibration.save(folder)
    if bundle.card is not None:
        write_text(Path(folder) / CARD, bundle.card)
    config = config_dict(
        bundle.name, bundle.net.config, bundle.spec, bundle.decision, bundle.training
    )
    save_config(folder, config)


def load_bundle(path: str | Path) -> Bundle:
    """Load a bundle folder, a `.safetensors` or a `.pth` file.

    Raises:
        ModelError: missing, damaged, unsafe to load, or weights of another architecture.
    """
    path = Path(path)
    if path.is_dir():
        weights = next((path / n for n in (WEIGHTS, BEST) if (path / n).is_file()), None)
        if weights is None:
            raise ModelError(path, f"holds no model: looked for {WEIGHTS} and {BEST}")
    elif path.is_file():
        weights = path
    else:
        raise ModelError(path, "no such file or folder")
    state, inside = _read_weights(weights)
    beside = weights.with_name(CONFIG)
    if inside is not None:
        config, source = inside, weights
    elif beside.is_file():
        config, source = _read_json(beside), beside
    else:
        config, source = config_dict(path.stem, ModelConfig(), FaceSpec(), Decision(), {}), weights
    try:
        if config["format"] != FORMAT:
            raise ValueError(f"format {config['format']!r}; this version reads {FORMAT}")
        net = DeepfakeNet(ModelConfig(**config["model"]))
        spec, decision = FaceSpec(**config["faces"]), Decision(**config["decision"])
        name, training = str(config["name"]), dict(config["training"])
    except (KeyError, TypeError, ValueError, UnmaskError) as error:
        raise ModelError(source, f"not the configuration of a model: {error}") from error
    _check_same(weights, net.state_dict(), state)
    net.load_state_dict(state)
    folder = weights.parent
    # Other weights in the folder have not been calibrated.
    calibration = Calibration.load(folder) if weights.name == WEIGHTS else None
    if calibration is not None:
        decision = replace(
            decision,
            real_below=calibration.real_below,
            fake_above=calibration.fake_above,
            segment_threshold=calibration.segment_above,
        )
    card = folder / CARD
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else None
    checksum = sha256_of(weights)
    return Bundle(name, net.eval(), spec, decision, training, checksum, calibration, text)


def read_checkpoint(path: str | Path) -> Any:
    """Load a `.pth` that may only hold tensors and plain values.

    Raises:
        ModelError: missing, damaged or unsafe to load.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(path, "no such file") from None
    except pickle.UnpicklingError:
        raise ModelError(path, "holds more than tensors and plain values; not loaded") from None
    except Exception as error:  # a damaged archive fails in many ways
        raise ModelError(path, "not a checkpoint that can be read (damaged?)") from error


def _read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Weights, and the configuration if the file holds one."""
    if path.suffix == ".safetensors":
        try:
            return load_file(path), None
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(path, "not a safetensors file that can be read") from error
    content = read_checkpoint(path)
    config = None
    if isinstance(content, dict) and "model_state_dict" in content:
        config = content.get("config")
        content = content["model_state_dict"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelError(path, "holds no weights of a network")
    return content, config


def _check_same(path: Path, ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    missing = sorted(ours.keys() - theirs.keys())
    unknown = sorted(theirs.keys() - ours.keys())
    shapes = [
        f"{key} is {tuple(theirs[key].shape)}, not {tuple(ours[key].shape)}"
        for key in sorted(ours.keys() & theirs.keys())
        if ours[key].shape != theirs[key].shape
    ]
    wrong = [f"{k} is missing" for k in missing] + [f"{k} is unknown" for k in unknown] + shapes
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ModelError(
            path, f"a checkpoint of another architecture: {'; '.join(wrong[:3])}{more}"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(path, f"cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(path, "not the configuration of a model")
    return config


def sha256_of(path: Path) -> str:
    """A file's SHA-256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
