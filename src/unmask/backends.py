"""Who can compute a network: torch, ONNX Runtime or OpenVINO, the last two on the CPU."""

import importlib.util
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, get_args

Backend = Literal["auto", "torch", "onnx", "openvino"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
_PACKAGES = {"openvino": ("openvino", "onnx"), "onnx": ("onnxruntime", "onnx")}


def lacks(backend: Backend) -> str | None:
    """Why a backend cannot be used on this machine; None if it can."""
    if all(importlib.util.find_spec(name) for name in _PACKAGES.get(backend, ())):
        return None
    return f"the backend {backend} is not installed: pip install 'unmask[{backend}]'"


def onnx_session(model: bytes, threads: int = 1) -> Any:
    """An onnxruntime.InferenceSession on one core, which whoever calls brings; 0 takes all."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@cache
def _openvino_core() -> Any:
    """OpenVINO's plugins, for as long as the process lives: a fork after they were unloaded crashes
    in what they have left behind.
    """
    import openvino

    return openvino.Core()


def read_openvino(model: bytes) -> Any:
    """An openvino.Model of an ONNX file."""
    return _openvino_core().read_model(model)


def compile_openvino(model: Any, precision: str, threads: int) -> Callable[[Any], list[Any]]:
    """A function of an openvino.Model's inputs, by name or in order, to its outputs in order.

    What OpenVINO sets up at the first call hangs if two threads begin it at once: call it before.

    Args:
        model: see read_openvino.
        precision: "float32" or "bfloat16".
        threads: that will call it at once.
    """
    compiled = _openvino_core().compile_model(
        model, "CPU",
        {
            "INFERENCE_PRECISION_HINT": {"bfloat16": "bf16", "float32": "f32"}[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
        },
    )  # fmt: skip
    mine = threading.local()  # a request serves one thread at a time

    def run(inputs: Any) -> list[Any]:
        if not hasattr(mine, "request"):
            mine.request = compiled.create_infer_request()
        return [value.copy() for value in mine.request.infer(inputs, share_inputs=True).values()]

    return run
