"""What computes a network: torch, ONNX Runtime or OpenVINO, behind one interface.

A network has two halves: faces -> features, each face on its own, and windows of features ->
logits. Prediction runs the first once a face, however many windows share it.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.backends import Backend, compile_openvino, lacks, onnx_session, read_openvino
from unmask.device import autocast, fast_precision
from unmask.errors import ModelError, UsageError
from unmask.models.backbones import folded
from unmask.models.bundle import Bundle
from unmask.models.graph import OUTPUTS, Halves
from unmask.models.network import DeepfakeNet

_FASTEST: tuple[Backend, ...] = ("openvino", "onnx", "torch")  # docs/benchmarks.md has the figures
Floats = NDArray[np.float32]
Faces = NDArray[np.uint8]


class Encoded(NamedTuple):
    """Of faces: features (N, F), and maps (N, h, w) of logits where there is a map head."""

    features: Floats
    maps: Floats | None


class Judged(NamedTuple):
    """Of windows: logits (B,), and of their frames (B, T) where there is a frame head."""

    window: Floats
    frames: Floats | None


class Runtime(Protocol):
    """A network that can be run by several threads at once.

    Attributes:
        name: of the backend.
    """

    name: str

    @property
    def precisions(self) -> tuple[str, ...]:
        """In which it can encode, the fastest first; the last is "float32"."""

    def encode(self, faces: Faces, precision: str) -> Encoded:
        """Encode faces (N, S, S, 3) uint8 RGB, N > 0, each on its own."""

    def judge(self, features: Floats, mask: NDArray[np.bool_]) -> Judged:
        """Judge windows (B, T, F) under a mask (B, T), True where a face is."""


def open_runtime(bundle: Bundle, backend: Backend, device: torch.device, threads: int) -> Runtime:
    """The network of a bundle, ready to run.

    Args:
        bundle: the model.
        backend: who computes; "auto" is the fastest that is installed and has a file of the model
            (see unmask.models.graph), on a GPU torch.
        device: for torch; the others run on the CPU in any case.
        threads: that will call it at once.

    Raises:
        UsageError: the backend is not installed, or cannot run this model.
        ModelError: the model's ONNX file cannot be used.
    """
    if backend == "auto":
        preferred = _FASTEST if device.type == "cpu" or bundle.network is None else ()
        backend = next((one for one in preferred if _lacks(bundle, one) is None), "torch")
    if why := _lacks(bundle, backend):
        raise UsageError(why)
    if backend == "torch":
        return TorchRuntime(bundle.net, device)
    assert bundle.graph is not None
    halves = Halves.read(bundle.graph, bundle.sha256)
    try:
        return OnnxRuntime(halves) if backend == "onnx" else OpenVinoRuntime(halves, threads)
    except Exception as error:  # each library has its own
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(bundle.graph, f"cannot run in {backend}: {said}") from error


def _lacks(bundle: Bundle, backend: Backend) -> str | None:
    """Why a backend cannot run a model; None if it can."""
    if backend == "torch":
        if bundle.network is None:
            return f"{bundle.name} is an ONNX file: install unmask[onnx] or unmask[openvino]"
        return None
    if why := lacks(backend):
        return why
    if bundle.graph is None:
        return (
            f"{bundle.name} has no ONNX file of its weights, which the backend {backend} needs: "
            f"`unmask export` makes it"
        )
    return None


def _precisions(device: torch.device) -> tuple[str, ...]:
    """What a device is fast in, then "float32"."""
    return tuple(dict.fromkeys((fast_precision(device), "float32")))


class TorchRuntime:
    """The network itself, its batch norms folded into the convolutions."""

    name = "torch"

    def __init__(self, net: DeepfakeNet, device: torch.device) -> None:
        self._net, self._device = deepcopy(net), device
        self._net.cnn = folded(net.cnn)
        self._net.to(device).eval()
        self.precisions = _precisions(device)

    @torch.inference_mode()
    def encode(self, faces: Faces, precision: str) -> Encoded:
        """See Runtime."""
        pixels = torch.from_numpy(faces).permute(0, 3, 1, 2).to(self._device)
        with autocast(self._device, precision):
            features, maps = self._net.encode_with_maps(pixels)
        return Encoded(features.float().cpu().numpy(), None if maps is None else maps.cpu().numpy())

    @torch.inference_mode()
    def judge(self, features: Floats, mask: NDArray[np.bool_]) -> Judged:
        """See Runtime."""
        parts = (torch.from_numpy(part).to(self._device) for part in (features, mask))
        window, frames, _ = self._net.judge(*parts)
        return Judged(window.cpu().numpy(), None if frames is None else frames.cpu().numpy())


class _GraphRuntime:
    """The halves of an ONNX file, compiled by somebody else's library."""

    name: str
    precisions: tuple[str, ...]

    def __init__(self, halves: Halves) -> None:
        self._encoders = {p: self._compile(halves.encoder, p, fixed=True) for p in self.precisions}
        self._judge = self._compile(halves.judge, "float32", fixed=False)

    def _compile(self, model: bytes, precision: str, fixed: bool) -> Callable[..., dict[str, Any]]:
        """A function of inputs by name to outputs by name; `fixed`: of one face."""
        raise NotImplementedError

    def encode(self, faces: Faces, precision: str) -> Encoded:
        """See Runtime. One face at a time stays in the cache: measured faster than batches."""
        run = self._encoders[precision]
        rows = [run(faces=face[None, None]) for face in faces]
        maps = [row["maps"][0, 0] for row in rows if "maps" in row]
        features = np.concatenate([row["features"][0] for row in rows])
        return Encoded(features, np.stack(maps) if maps else None)

    def judge(self, features: Floats, mask: NDArray[np.bool_]) -> Judged:
        """See Runtime."""
        found = self._judge(features=features, mask=mask)
        return Judged(found["window"], found.get("frames"))


class OnnxRuntime(_GraphRuntime):
    """ONNX Runtime on the CPU, in the precision of the file."""

    name = "onnx"
    precisions: tuple[str, ...] = ("float32",)

    def _compile(self, model: bytes, precision: str, fixed: bool) -> Callable[..., dict[str, Any]]:
        session = onnx_session(model)
        names = [output.name for output in session.get_outputs()]
        return lambda **inputs: dict(zip(names, session.run(names, inputs), strict=True))


class OpenVinoRuntime(_GraphRuntime):
    """OpenVINO on the CPU; bfloat16 where the CPU multiplies in it."""

    name = "openvino"

    def __init__(self, halves: Halves, threads: int) -> None:
        self.precisions = _precisions(torch.device("cpu"))
        self._threads = threads
        super().__init__(halves)

    def _compile(self, model: bytes, precision: str, fixed: bool) -> Callable[..., dict[str, Any]]:
        graph = read_openvino(model)
        shape = [1, 1, *(size.get_length() for size in list(graph.inputs[0].partial_shape)[2:])]
        if fixed:
            graph.reshape(shape)
        run = compile_openvino(graph, precision, self._threads)
        names = [next(n for n in OUTPUTS if n in out.names) for out in graph.outputs]
        if fixed:
            run({"faces": np.zeros(shape, np.uint8)})
        return lambda **inputs: dict(zip(names, run(inputs), strict=True))
