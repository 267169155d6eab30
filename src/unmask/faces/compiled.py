"""The networks of MTCNN in ONNX Runtime or OpenVINO."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unmask.backends import Backend, compile_openvino, onnx_session, read_openvino
from unmask.faces.networks import Network

_OPSET = 17
Run = Callable[[NDArray[np.float32]], list[Any]]


class Compiled:
    """What a network of MTCNN says, computed by another library, in float32 on the CPU.

    Args:
        net: the network.
        backend: "onnx" or "openvino".
        threads: that will call it at once.
    """

    def __init__(self, net: Network, backend: Backend, threads: int) -> None:
        self._net = net
        self._run = _RUNNERS[backend](to_onnx(net), threads)
        # The first call is one thread's (see compile_openvino).
        self(torch.zeros(1, 3, net.side or 12, net.side or 12))

    def __call__(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """As the network: (N, 3, H, W) float32 on the CPU."""
        if not len(pixels):
            found: tuple[Tensor, ...] = self._net(pixels)
            return found
        # What lies in memory as (N, H, W, 3) is not copied.
        rows = self._run(pixels.permute(0, 2, 3, 1).contiguous().numpy())
        return tuple(torch.from_numpy(row) for row in rows)


def _in_onnx(model: bytes, threads: int) -> Run:
    session = onnx_session(model)
    return lambda pixels: session.run(None, {"pixels": pixels})


def _in_openvino(model: bytes, threads: int) -> Run:
    run = compile_openvino(read_openvino(model), "float32", threads)
    return lambda pixels: run([pixels])


_RUNNERS = {"onnx": _in_onnx, "openvino": _in_openvino}


def to_onnx(net: Network) -> bytes:
    """A network as an ONNX model: "pixels" (N, H, W, 3) float32 -> what the network says."""
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    weights: list[Any] = []

    def add(kind: str, data: str, *parameters: Tensor | None, **attributes: Any) -> str:
        name = f"{kind}{len(nodes)}"
        given = {f"{name}.{n}": p.contiguous() for n, p in enumerate(parameters) if p is not None}
        weights.extend(numpy_helper.from_array(p.numpy(), key) for key, p in given.items())
        nodes.append(helper.make_node(kind, [data, *given], [name], name, **attributes))
        return name

    def layer(module: nn.Module, data: str) -> str:
        match module:
            case nn.Conv2d():
                return add("Conv", data, module.weight, module.bias)
            case nn.Linear():
                return add("Gemm", data, module.weight, module.bias, transB=1)
            case nn.PReLU():  # a slope a channel, of maps or of vectors
                flat = data.startswith("Gemm")
                return add("PRelu", data, module.weight.view(-1, *() if flat else (1, 1)))
            case nn.Flatten():
                return add("Flatten", data)
            case nn.MaxPool2d():
                sides = {"kernel_shape": module.kernel_size, "strides": module.stride}
                return add("MaxPool", data, ceil_mode=1, **{k: [v, v] for k, v in sides.items()})
        raise TypeError(type(module).__name__)

    data = add("Transpose", "pixels", perm=[0, 3, 1, 2])
    for module in net.features:
        data = layer(module, data)
    chance = add("Softmax", layer(net.face, data), axis=1)
    outputs = [add("Gather", chance, torch.tensor(1), axis=1)]
    outputs += [layer(head, data) for head in net.heads]
    sides = (net.side, net.side) if net.side else ("h", "w")
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", *sides, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        weights,
    )
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    return bytes(model.SerializeToString())
