"""The design document's own form of a `.pt` file: float windows that overlap."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor

from unmask.data.pt_file.model import ProcessedVideo, expect
from unmask.documents import check
from unmask.face_spec import FaceSpec
from unmask.faces import FaceTrack

_Seconds = Annotated[float, Ge(0), Le(10**9)]


@dataclass(frozen=True)
class _Stamps:
    """Start and end of every window."""

    timestamps: list[tuple[_Seconds, _Seconds]]


def parse_document(path: Path, content: dict[str, Any]) -> ProcessedVideo:
    """The design document's own form: float windows that overlap, each face several times."""
    windows, stamps = content["windows"], check(_Stamps, content).timestamps
    if not isinstance(windows, Tensor) or len(stamps) != len(windows):
        raise ValueError("windows must be a tensor with one pair of timestamps a window")
    given = {key: content[key] for key in ("target_fps", "image_size", "sequence_length")}
    spec = check(FaceSpec, given | {"exact": True})
    if windows.numel() == 0:
        return ProcessedVideo(path.stem, (), 0, spec, 0.0)
    held, size = min(windows.shape[1], spec.sequence_length), spec.image_size
    expect("windows", windows, (len(windows), held, 3, size, size), windows.dtype)
    faces = _to_uint8(windows)
    times = [np.linspace(start, end, held) for start, end in stamps]
    # Join the windows where the end of one is the beginning of the next.
    parts, clock = [faces[0]], [times[0]]
    for before, after, seconds in zip(faces, faces[1:], times[1:], strict=False):
        shared = next(k for k in range(len(after), -1, -1) if _same_end(before, after, k))
        parts.append(after[shared:])
        clock.append(seconds[shared:])
    all_times = np.maximum.accumulate(np.concatenate(clock))
    all_times = all_times + np.arange(len(all_times)) * 1e-9  # strictly increasing
    crops = torch.cat(parts).permute(0, 2, 3, 1).contiguous().numpy()
    track = FaceTrack(0, all_times, np.zeros((len(crops), 4), np.float32), crops)
    return ProcessedVideo(path.stem, (track,), len(crops), spec, float(all_times[-1]))


def _same_end(before: Tensor, after: Tensor, k: int) -> bool:
    return k == 0 or torch.equal(before[-k:], after[:k])


def _to_uint8(windows: Tensor) -> Tensor:
    """Undo MTCNN's (x - 127.5) / 128, or a scale of 0 to 1; uint8 stays."""
    if windows.dtype == torch.uint8:
        return windows
    low, high = windows.aminmax()
    if low < 0:
        windows = windows * 128 + 127.5
    elif high <= 1:
        windows = windows * 255
    return windows.round().clamp(0, 255).to(torch.uint8)
