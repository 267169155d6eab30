"""A model as one ONNX file: the whole network, and in its metadata what else a bundle has.

    faces (batch, time, S, S, 3) uint8 RGB, mask (batch, time) bool, True where a face is
    -> window (batch,), the logits; frames (batch, time), with a frame head; maps (batch, time, h,
    w), with a map head; features (batch, time, F)

Normalisation is in the graph. A logit z has the probability sigmoid((z + offset) / temperature).
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from unmask import documents
from unmask.atomic import replacing
from unmask.documents import STRICT
from unmask.errors import ModelError
from unmask.models.backbones import folded
from unmask.models.bundle import Bundle, BundleConfig
from unmask.models.calibration import Calibration
from unmask.models.network import DeepfakeNet
from unmask.models.temporal import GRU

_KEY = "unmask"
_ENCODED, _JUDGED = ("features", "maps"), ("window", "frames")
OUTPUTS = (*_ENCODED, *_JUDGED)


@dataclass(frozen=True)
class About:
    """What the metadata of the file says, as JSON under the key "unmask".

    Attributes:
        config: of the bundle.
        calibration: of the bundle, or None.
        card: of the bundle, or None.
        sha256: of the weights that the network was made with.
        lost: the largest change of a window's probability against those weights, where it was
            checked; None before.
        int8: whether convolutions compute in 8-bit integers.
    """

    config: BundleConfig
    calibration: Calibration | None
    card: str | None
    sha256: str
    lost: float | None = None
    int8: bool = False

    __pydantic_config__ = STRICT

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """What the file of a bundle says."""
        return cls(bundle.config, bundle.calibration, bundle.card, bundle.sha256)


class Exportable(nn.Module):
    """The network with plain tensors in and out, its batch norms folded."""

    def __init__(self, net: DeepfakeNet, cell: "type[_TorchCell | _OnnxCell]") -> None:
        super().__init__()
        self.net = deepcopy(net).eval()
        self.net.cnn = folded(net.cnn).to(memory_format=torch.contiguous_format)
        if isinstance(self.net.temporal, GRU):
            self.net.temporal = _PlainGRU(self.net.temporal, cell)  # type: ignore[assignment]

    @property
    def outputs(self) -> list[str]:
        """Names of what `forward` returns."""
        config = self.net.config
        heads = {"frames": config.frame_head, "maps": config.map_head}
        return ["window", *(name for name, there in heads.items() if there), "features"]

    def forward(self, faces: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """See the module."""
        batch, time = faces.shape[:2]
        features, maps = self.net.encode_with_maps(faces.flatten(0, 1).permute(0, 3, 1, 2))
        features = features.unflatten(0, (batch, time))
        window, frames, _ = self.net.judge(features * mask[..., None], mask)
        found = {
            "window": window,
            "frames": frames,
            "maps": None if maps is None else maps.unflatten(0, (batch, time)),
            "features": features,
        }
        return tuple(part for name in self.outputs if (part := found[name]) is not None)

    def example(self, length: int, size: int) -> tuple[Tensor, Tensor]:
        """Arguments for tracing."""
        faces = torch.zeros(3, length, size, size, 3, dtype=torch.uint8)
        return faces, torch.ones(3, length, dtype=torch.bool)


class _PlainGRU(nn.Module):
    """The GRU without packed sequences, which no exporter takes: backwards in time is a GRU over
    frames whose order is turned round within the mask.
    """

    def __init__(self, packed: GRU, cell: Callable[[list[Tensor]], nn.Module]) -> None:
        super().__init__()
        self.out_features = packed.out_features
        self.layers = nn.ModuleList(
            nn.ModuleList(map(cell, _weights(packed, layer)))
            for layer in range(packed.gru.num_layers)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, F) -> (B, T, D), as GRU where the mask is True."""
        steps = torch.arange(mask.shape[1], device=x.device)
        turned = (mask.sum(dim=1, keepdim=True) - 1 - steps).clamp(min=0)
        for row in self.layers:
            assert isinstance(row, nn.ModuleList)
            states = [row[0](x)]
            for backwards in row[1:]:
                states.append(_reordered(backwards(_reordered(x, turned)), turned))
            x = torch.cat(states, dim=2)
        return x


class _TorchCell(nn.Module):
    """One direction of one layer: (B, T, F) -> (B, T, H)."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        _, features = weights[0].shape
        self.gru = nn.GRU(features, weights[1].shape[1], batch_first=True)
        self.gru.load_state_dict(dict(zip(self.gru.state_dict(), weights, strict=True)))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        states: Tensor = self.gru(x)[0]
        return states


class _OnnxCell(nn.Module):
    """The same as a node of ONNX; torch's exporter fixes the length of the window otherwise."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        self._hidden = weights[1].shape[1]
        # torch has the gates in the order reset, update, new; ONNX has update first.
        gates = [tensor.chunk(3) for tensor in weights]
        inputs, states, *biases = (torch.cat([z, r, n])[None] for r, z, n in gates)
        self._weights = [inputs, states, torch.cat(biases, dim=1)]

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        states = torch.onnx.ops.symbolic(
            "GRU", [x.transpose(0, 1), *self._weights],
            {"hidden_size": self._hidden, "linear_before_reset": 1},
            dtype=x.dtype, shape=(x.shape[1], 1, x.shape[0], self._hidden),
        )  # fmt: skip
        return states[:, 0].transpose(0, 1)


def _weights(packed: GRU, layer: int) -> list[list[Tensor]]:
    """Of each direction of a layer: input weights, state weights, and the biases of both."""
    names = ("weight_ih_l", "weight_hh_l", "bias_ih_l", "bias_hh_l")
    return [
        [getattr(packed.gru, f"{name}{layer}{direction}").detach() for name in names]
        for direction in ("", "_reverse")[: 1 + packed.gru.bidirectional]
    ]


def _reordered(x: Tensor, order: Tensor) -> Tensor:
    """(B, T, F) by (B, T) frame numbers."""
    return x.gather(1, order[..., None].expand(-1, -1, x.shape[2]))


def save_graph(bundle: Bundle, path: str | Path) -> None:
    """Write a model as an ONNX file, atomically. Needs unmask[onnx].

    Raises:
        ModelError: the bundle is an ONNX file itself.
        FileError: it cannot be written.
    """
    net = Exportable(bundle.net, _OnnxCell).eval()
    with _traceable():
        exported = torch.onnx.export(
            net, net.example(5, bundle.spec.image_size), dynamo=True, verbose=False,
            input_names=["faces", "mask"], output_names=net.outputs,
            dynamic_shapes=_free("batch", "time"),
        )  # fmt: skip
    assert exported is not None
    write_graph(exported.model_proto, About.of(bundle), path)


def save_program(bundle: Bundle, path: str | Path) -> None:
    """Write a model as a program of torch.export, atomically; its "unmask.json" is an About.

    Its windows are of the model's own length: torch unrolls a GRU while it traces.

    Raises:
        ModelError: the bundle is an ONNX file.
        FileError: it cannot be written.
    """
    net = Exportable(bundle.net, _TorchCell).eval()
    with _traceable():
        program = torch.export.export(
            net,
            net.example(bundle.spec.sequence_length, bundle.spec.image_size),
            dynamic_shapes=_free("batch"),
        )
    with replacing(path) as temporary, temporary.open("wb") as file:
        about = documents.to_json(About.of(bundle), None)
        torch.export.save(program, file, extra_files={f"{_KEY}.json": about})


def _free(*axes: str) -> dict[str, dict[int, Any]]:
    """Of the inputs, the first axes, which may have any length."""
    sizes = [torch.export.Dim(name, min=1) for name in axes]
    return {name: dict(enumerate(sizes)) for name in ("faces", "mask")}


@contextmanager
def _traceable() -> Iterator[None]:
    """Without the transformer's fused kernel, which exporters do not know, and their warnings."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def write_graph(proto: Any, about: About, path: str | Path) -> None:
    """Write an onnx.ModelProto with its metadata, atomically.

    Raises:
        FileError: it cannot be written.
    """
    import onnx

    onnx.helper.set_model_props(proto, {_KEY: documents.to_json(about, None)})
    with replacing(path) as temporary:
        onnx.save(proto, temporary)


def read_graph(path: str | Path) -> tuple[About, Any]:
    """An ONNX file -> what it says of itself, and its onnx.ModelProto.

    Raises:
        ModelError: it cannot be read, or `unmask export` did not make it.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        raise ModelError(path, "an ONNX file needs: pip install 'unmask[onnx]'") from None
    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception as error:  # a damaged file fails in many ways
        raise ModelError(path, "not an ONNX file that can be read (damaged?)") from error
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in proto.graph.initializer):
        raise ModelError(path, "has weights in other files; not loaded")
    text = {entry.key: entry.value for entry in proto.metadata_props}.get(_KEY)
    if text is None:
        raise ModelError(path, "an ONNX file that `unmask export` did not make")
    return documents.parse(About, text, path, ModelError), proto


@dataclass(frozen=True)
class Halves:
    """An ONNX file cut in two, each a serialised ONNX model.

    Attributes:
        encoder: faces -> features and maps.
        judge: features and mask -> window and frames.
    """

    encoder: bytes
    judge: bytes

    @classmethod
    def read(cls, path: str | Path, sha256: str) -> Self:
        """Cut a file that was made of the weights with this checksum.

        Raises:
            ModelError: it was not; or see read_graph.
        """
        about, proto = read_graph(path)
        if about.sha256 != sha256:
            raise ModelError(path, "is of other weights: `unmask export` makes it anew")
        from onnx.utils import Extractor

        there = {output.name for output in proto.graph.output}

        def cut(inputs: list[str], outputs: tuple[str, ...], shaped: str) -> bytes:
            # Batch and time are those of both inputs, and the exporter reads them where it likes:
            # a half has to do with its own.
            for node in proto.graph.node:
                if node.op_type == "Shape":
                    both = ("faces", "mask")
                    node.input[:] = [shaped if name in both else name for name in node.input]
            half = Extractor(proto).extract_model(inputs, [n for n in outputs if n in there])
            return bytes(half.SerializeToString())

        try:
            encoder = cut(["faces"], _ENCODED, "faces")
            judge = cut(["features", "mask"], _JUDGED, "mask")
        except Exception as error:  # as above
            raise ModelError(path, "not a graph of unmask's") from error
        return cls(encoder, judge)


def load_graph(path: str | Path) -> Bundle:
    """A bundle of an ONNX file, which can predict and no more.

    Raises:
        ModelError: see read_graph.
    """
    about, _ = read_graph(path)
    return Bundle(about.config, None, about.calibration, about.card, about.sha256, Path(path))
