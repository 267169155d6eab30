"""A `.pt` file -> face tracks, checked: a file from outside is hostile."""

import pickle
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Le

from unmask.data import shards
from unmask.data.pt_file.document import parse_document
from unmask.data.pt_file.model import FORMAT, KEPT, ProcessedVideo, expect
from unmask.data.pt_file.packed import load_packed
from unmask.documents import check
from unmask.errors import StoreError
from unmask.face_spec import FaceSpec
from unmask.faces import FaceTrack

_SPEC = [field.name for field in fields(FaceSpec)]


@dataclass(frozen=True)
class _Facts:
    """What a file says of its video beside the tensors, see ProcessedVideo."""

    video: str
    sampled: Annotated[int, Ge(0), Le(10**9)]
    duration: Annotated[float, Ge(0), Le(10**9)]
    warnings: tuple[str, ...] = ()
    resolution: Annotated[int, Ge(0), Le(10**6)] | None = None


def read(path: str | Path) -> ProcessedVideo:
    """Read a `.pt` file, or one in a shard (see unmask.data.shards).

    Faces stay on disk, mapped into memory, until they are used; from an address the whole file is
    fetched, but not its shard.

    Raises:
        StoreError: missing, not a file of tensors, unsafe to load, or of the wrong form.
        CorpusError: the index of a shard cannot be used.
    """
    path = Path(path)
    member = None if path.is_file() else shards.find(path)
    data = None if member is None else member.read()
    try:
        if data is not None:
            content = load_packed(data)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise StoreError(path, "no such file") from None
    except pickle.UnpicklingError:
        raise StoreError(path, "holds more than tensors and plain values; not loaded") from None
    except Exception as error:  # a damaged archive fails in many ways
        raise StoreError(path, f"not a .pt file that can be read ({_line(error)})") from error
    if not isinstance(content, dict):
        raise StoreError(path, f"holds a {type(content).__name__}, not preprocessed faces")
    try:
        return _parse(content) if "faces" in content else parse_document(path, content)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        cause = f"key {error} is missing" if isinstance(error, KeyError) else _line(error)
        raise StoreError(path, f"not preprocessed faces: {cause}") from error


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _parse(content: dict[str, Any]) -> ProcessedVideo:
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']!r}; this version reads {FORMAT}")
    faces, times = content["faces"], content["times"]
    boxes, ids = content["boxes"], content["track_ids"]
    # Files of before the setting were made exactly.
    settings = {"exact": True} | {k: v for k, v in content.items() if k in _SPEC}
    spec = check(FaceSpec, settings | {"faces": content[KEPT]})
    facts = check(_Facts, content)
    count, size = len(times), spec.image_size
    expect("faces", faces, (count, 3, size, size), torch.uint8)
    expect("times", times, (count,), torch.float64)
    expect("boxes", boxes, (count, 4), torch.float32)
    expect("track_ids", ids, (count,), torch.int64)
    landmarks = content.get("landmarks")  # older files have none
    if landmarks is not None:
        expect("landmarks", landmarks, (count, 5, 2), torch.float32)
    if not times.isfinite().all():
        raise ValueError("times must be seconds")
    tracks = []
    for number in ids.unique().tolist():
        where = (ids == number).nonzero()[:, 0]
        rows = slice(int(where[0]), int(where[-1]) + 1)
        if rows.stop - rows.start != len(where) or (times[rows].diff() <= 0).any():
            raise ValueError("the faces of a track must be together and in order of time")
        crops = faces[rows].permute(0, 2, 3, 1).numpy()
        points = None if landmarks is None else landmarks[rows].numpy()
        if points is not None and np.isnan(points).all():
            points = None
        track = FaceTrack(int(number), times[rows].numpy(), boxes[rows].numpy(), crops, points)
        tracks.append(track)
    return ProcessedVideo(
        facts.video,
        tuple(tracks),
        facts.sampled,
        spec,
        facts.duration,
        facts.warnings,
        facts.resolution,
    )
