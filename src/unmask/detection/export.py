"""A model -> an ONNX file or a program of torch.export, checked before it is kept."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.atomic import replacing
from unmask.backends import onnx_session
from unmask.data import pt_file
from unmask.data.preprocessor import VideoPreprocessor
from unmask.data.pt_file import ProcessedVideo
from unmask.data.windows import make_windows
from unmask.detection.selftest import draw_faces
from unmask.errors import ModelError, UsageError
from unmask.face_spec import FaceSpec
from unmask.models import Bundle
from unmask.models.graph import read_graph, save_graph, save_program, write_graph

PARITY = 1e-4  # of a probability
_MOST = 200  # windows that are looked at
_DRAWN = 12  # faces


@dataclass(frozen=True, eq=False)
class _Windows:
    """Windows of one length: faces (B, T, S, S, 3) uint8, mask (B, T)."""

    faces: NDArray[np.uint8]
    mask: NDArray[np.bool_]

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        for faces, mask in zip(self.faces, self.mask, strict=True):
            yield {"faces": faces[None], "mask": mask[None]}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        windows: on which it was compared with the weights.
        lost: the largest change of a window's probability there.
    """

    windows: int
    lost: float


def export(
    bundle: Bundle, path: str | Path, faces: Sequence[str | Path] = (), int8: bool = False
) -> Exported:
    """Write a model for other runtimes than torch's Python.

    Args:
        bundle: the model.
        path: the file; `.onnx`, or `.pt2` for torch.export.
        faces: videos or `.pt` files whose windows the file is compared on, and with `int8`
            calibrated on; without, faces are drawn.
        int8: let convolutions compute in 8-bit integers (static quantisation, ONNX only).

    Raises:
        UsageError: another suffix, or `int8` without faces or for torch.export.
        ModelError: a probability is off by more than 1e-4 (without `int8`); nothing is kept then.
        FileError: a file cannot be used or written.
    """
    path = Path(path)
    if path.suffix not in (".onnx", ".pt2") or (int8 and path.suffix != ".onnx"):
        raise UsageError(f"{path}: a model is exported to .onnx (with --int8, too) or to .pt2")
    if int8 and not faces:
        raise UsageError("--int8 needs --faces of your own to choose the ranges by")
    windows = _windows(bundle.spec, faces)
    with replacing(path) as temporary:
        if path.suffix == ".pt2":
            save_program(bundle, temporary)
            lost = _lost(bundle, windows, _run_program(temporary, windows))
        else:
            save_graph(bundle, temporary)
            if int8:
                _quantise(temporary, windows)
            lost = _lost(bundle, windows, _run_graph(temporary, windows))
            about, proto = read_graph(temporary)
            write_graph(proto, replace(about, lost=lost, int8=int8), temporary)
        if not (int8 or lost <= PARITY):  # nor not a number
            raise ModelError(path, f"not kept: a probability is {lost:.2g} off, over {PARITY:g}")
    return Exported(len(windows.mask), lost)


def _windows(spec: FaceSpec, sources: Sequence[str | Path]) -> _Windows:
    faces, masks = [], []
    for crops in _crops(spec, sources):
        for window in make_windows(len(crops), spec.sequence_length, spec.overlap):
            row = np.zeros((spec.sequence_length, *crops.shape[1:]), np.uint8)
            row[: window.stop - window.start] = crops[window.start : window.stop]
            faces.append(row)
            masks.append(window.mask)
        if len(faces) >= _MOST:
            break
    if not faces:
        raise UsageError(f"no face in {', '.join(map(str, sources))}")
    return _Windows(np.stack(faces[:_MOST]), np.stack(masks[:_MOST]))


def _crops(spec: FaceSpec, sources: Sequence[str | Path]) -> Iterator[NDArray[np.uint8]]:
    if not sources:
        yield draw_faces(_DRAWN, spec.image_size)
    preprocessor = VideoPreprocessor.from_spec(spec)
    for source in sources:
        for track in _read(Path(source), preprocessor).tracks:
            yield track.crops


def _read(source: Path, preprocessor: VideoPreprocessor) -> ProcessedVideo:
    if source.suffix != pt_file.SUFFIX:
        return preprocessor.process_video(source)
    video = pt_file.read(source)
    if wrong := video.spec.differences(preprocessor.spec):
        raise UsageError(f"{source} does not fit the model: made with {', '.join(wrong)}")
    return video


def _lost(bundle: Bundle, windows: _Windows, found: list[float]) -> float:
    probability = bundle.decision.probability
    with torch.inference_mode():
        expected = [
            float(bundle.net(torch.from_numpy(w["faces"]).permute(0, 1, 4, 2, 3),
                             torch.from_numpy(w["mask"])).window)
            for w in windows
        ]  # fmt: skip
    off = probability(np.array(expected)) - probability(np.array(found))
    return float(np.abs(off).max())


def _run_graph(path: Path, windows: _Windows) -> list[float]:
    session = onnx_session(path.read_bytes(), threads=0)
    return [float(session.run(["window"], window)[0][0]) for window in windows]


def _run_program(path: Path, windows: _Windows) -> list[float]:
    with path.open("rb") as file:
        net = torch.export.load(file).module()
    with torch.inference_mode():
        return [
            float(net(torch.from_numpy(window["faces"]), torch.from_numpy(window["mask"]))[0])
            for window in windows
        ]


def _quantise(path: Path, windows: _Windows) -> None:
    """Replace an ONNX file by one whose convolutions compute in 8-bit integers."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._windows = iter(windows)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self._windows, None)

    about, _ = read_graph(path)
    with tempfile.TemporaryDirectory() as folder:
        ready, small = Path(folder) / "ready.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(path, ready, skip_symbolic_shape=True)
        quantize_static(
            ready, small, Reader(), QuantFormat.QDQ, per_channel=True,
            op_types_to_quantize=["Conv"],
        )  # fmt: skip
        write_graph(onnx.load(small), about, path)
