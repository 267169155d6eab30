"""A model on disk: everything that prediction needs to know, beside the weights.

A bundle is a folder of `config.json` and `model.safetensors` (or `best_model.pth`, as training
leaves it), with `calibration.json`, `card.md` and `model.onnx` if there are any; or it is an ONNX
file of `unmask export`, which has all that inside. A bare `.pth` takes the
configuration from its checkpoint, from a `config.json` beside it, or else is taken for the design
document's own model.
"""

import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unmask import documents
from unmask.atomic import save_safetensors, write_text
from unmask.documents import STRICT
from unmask.errors import ModelError, UsageError
from unmask.face_spec import FaceSpec
from unmask.models.calibration import CALIBRATION, Calibration
from unmask.models.decision import Decision
from unmask.models.network import DeepfakeNet, ModelConfig

CONFIG, WEIGHTS, BEST = "config.json", "model.safetensors", "best_model.pth"
CARD, GRAPH = "card.md", "model.onnx"


@dataclass(frozen=True)
class Provenance:
    """How a model came to be.

    Attributes:
        started_from: the weights before training.
        settings: of the training, by name.
    """

    started_from: str = "unknown weights"
    settings: dict[str, str | int | float | bool] = field(default_factory=dict)

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class BundleConfig:
    """`config.json`, and "config" in a checkpoint.

    Attributes:
        name: for reports.
        model: the architecture.
        face_spec: how the faces that it takes are made.
        decision: how its scores become a verdict, before calibration.
        training: how it came to be.
        format: of the file.
    """

    name: str
    model: ModelConfig = field(default_factory=ModelConfig)
    face_spec: FaceSpec = field(default_factory=FaceSpec)
    decision: Decision = field(default_factory=Decision)
    training: Provenance = field(default_factory=Provenance)
    format: Literal[2] = 2

    __pydantic_config__ = STRICT

    def save(self, folder: str | Path) -> None:
        """Write `config.json`."""
        write_text(Path(folder) / CONFIG, documents.to_json(self))


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model that can predict.

    Attributes:
        config: what it is.
        network: in evaluation mode, on the CPU, or what builds it; None if all there is is an ONNX
            file.
        calibration: fitted on other videos than it learned from; None without.
        card: what is to be known of it, Markdown.
        sha256: of the weights file, hexadecimal.
        graph: ONNX file of these weights; None without (see unmask.models.graph).
    """

    config: BundleConfig
    network: DeepfakeNet | Callable[[], DeepfakeNet] | None
    calibration: Calibration | None = None
    card: str | None = None
    sha256: str = ""
    graph: Path | None = None

    @cached_property
    def net(self) -> DeepfakeNet:
        """The network.

        Raises:
            ModelError: all there is is an ONNX file, or the weights are of another architecture.
        """
        if self.network is None:
            raise ModelError(self.graph or self.name, "an ONNX file predicts; use the weights")
        return self.network if isinstance(self.network, DeepfakeNet) else self.network()

    @property
    def name(self) -> str:
        """For reports."""
        return self.config.name

    @property
    def spec(self) -> FaceSpec:
        """How the faces that it takes are made."""
        return self.config.face_spec

    @property
    def decision(self) -> Decision:
        """How its scores become a verdict, calibrated if it is."""
        decision = self.config.decision
        return self.calibration.applied(decision) if self.calibration else decision


def save_bundle(folder: str | Path, bundle: Bundle, half: bool = False) -> None:
    """Write a bundle: `config.json`, `model.safetensors`, and what else it has.

    Args:
        folder: for the files.
        bundle: the model.
        half: write the weights as float16, which takes half the room and moves scores by little.
    """
    folder = Path(folder)
    state = {key: value.contiguous() for key, value in bundle.net.state_dict().items()}
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    for name in (CALIBRATION, CARD, GRAPH):  # of what was there before
        (folder / name).unlink(missing_ok=True)
    save_safetensors(folder / WEIGHTS, state)
    if bundle.calibration is not None:
        bundle.calibration.save(folder)
    if bundle.card is not None:
        write_text(folder / CARD, bundle.card)
    bundle.config.save(folder)


def load_bundle(path: str | Path) -> Bundle:
    """Load a bundle folder, a `.safetensors`, a `.pth` or an `.onnx` file.

    Raises:
        ModelError: missing, damaged, unsafe to load, or weights of another architecture; with an
            ONNX file beside them the last is found out when the network is used.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        from unmask.models.graph import load_graph  # late: it is made of bundles

        return load_graph(path)
    weights = _weights_file(path)
    state, inside = _read_weights(weights)
    beside = weights.with_name(CONFIG)
    if inside is not None:
        config, source = inside, weights
    elif beside.is_file():
        config, source = documents.read_json(BundleConfig, beside, ModelError), beside
    else:
        config, source = BundleConfig(path.stem), weights
    # Other weights in the folder have not been calibrated.
    calibration = Calibration.load(weights.parent) if weights.name == WEIGHTS else None
    card = weights.with_name(CARD)
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else None
    graph = weights.with_name(GRAPH) if weights.with_name(GRAPH).is_file() else None
    build = partial(_build, config.model, source, state, weights)
    # With a graph others will compute it, most likely, and timm takes longer to import than they
    # take for a clip.
    network = build if graph else build()
    return Bundle(config, network, calibration, text, sha256_of(weights), graph)


def _build(
    model: ModelConfig, source: Path, state: dict[str, Tensor], weights: Path
) -> DeepfakeNet:
    """The network that `source` describes, with a state from `weights`."""
    try:
        net = DeepfakeNet(model)
    except UsageError as error:
        raise ModelError(source, str(error)) from error
    _check_same(weights, net.state_dict(), state)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:  # sparse tensors, say
        raise ModelError(weights, "its weights are not plain tensors of numbers") from error
    return net.eval()


def _weights_file(path: Path) -> Path:
    if path.is_dir():
        weights = next((path / n for n in (WEIGHTS, BEST) if (path / n).is_file()), None)
        if weights is None:
            raise ModelError(path, f"holds no model: looked for {WEIGHTS} and {BEST}")
        return weights
    if not path.is_file():
        raise ModelError(path, "no such file or folder")
    return path


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


def parse_config(content: object, source: Path) -> BundleConfig:
    """The configuration that a checkpoint carries.

    Raises:
        ModelError: it is none.
    """
    try:
        text = json.dumps(content)
    except (TypeError, ValueError) as error:
        raise ModelError(source, "its configuration is not one of a model") from error
    return documents.parse(BundleConfig, text, source, ModelError)


def _read_weights(path: Path) -> tuple[dict[str, Tensor], BundleConfig | None]:
    """Weights, and the configuration if the file holds one."""
    if path.suffix == ".safetensors":
        try:
            return load_file(path), None
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(path, "not a safetensors file that can be read") from error
    content = read_checkpoint(path)
    config = None
    if isinstance(content, dict) and "model_state_dict" in content:
        inside = content.get("config")
        config = None if inside is None else parse_config(inside, path)
        content = content["model_state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
    ):
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


def sha256_of(path: Path) -> str:
    """A file's SHA-256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
