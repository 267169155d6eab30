"""Which videos show the same footage? Told by their faces, whatever their names say.

A face becomes a grey picture of 16 x 16, less its mean, of length 1; two faces are near-duplicates
if the product of these (their normalised cross-correlation) is above 0.95. Encoding again at crf
38, JPEG at quality 10 and scaling to three eighths leave it above; docs/corpora.md has the figures.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask import engine, store
from unmask.corpora import VideoRecord
from unmask.engine import Outcome
from unmask.preprocess import VideoPreprocessor

_SAME = 0.95
_SIDE = 16
_FACES = 8  # of a video, evenly spread
_BLOCK = 4096  # faces that are compared at once

Fingerprints = NDArray[np.float32]


def fingerprint(path: Path) -> Fingerprints:
    """(n, 256) float32, a row a face, of up to 8 faces of a `.pt` file or a video.

    Raises:
        VideoError, StoreError: the file cannot be used.
    """
    if path.suffix == store.SUFFIX:
        video = store.read(path)
    else:
        video = VideoPreprocessor(target_fps=1, image_size=64).process_video(path)
    return describe([crop for track in video.tracks for crop in track.crops])


def describe(crops: Sequence[NDArray[np.uint8]]) -> Fingerprints:
    """(n, 256) float32, a row a face, of up to 8 of the faces, each (S, S, 3) uint8 RGB."""
    chosen = np.unique(np.round(np.linspace(0, len(crops) - 1, min(_FACES, len(crops)))))
    rows = [_descriptor(crops[int(k)]) for k in chosen]
    return np.stack(rows) if rows else np.zeros((0, _SIDE**2), np.float32)


def _descriptor(rgb: NDArray[np.uint8]) -> Fingerprints:
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    centred = (small - small.mean()).ravel()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-6), np.float32)


def find_footage(
    records: Sequence[VideoRecord],
    workers: int = 1,
    on_progress: Callable[[int, int], None] = lambda finished, total: None,
) -> tuple[list[VideoRecord], list[Outcome[Path, Fingerprints]]]:
    """Give every video the name of the footage that it shares with others.

    Args:
        records: `.pt` files, which is quick, or videos, in which faces are searched for first.
        workers: processes.
        on_progress: called with (finished, total) videos.

    Returns:
        The same videos, with `footage` set where they share some; and what could not be read.
    """
    paths = [record.path for record in records]
    found: dict[Path, Fingerprints] = {}
    failed = []
    for finished, outcome in enumerate(engine.run(fingerprint, paths, workers), 1):
        if outcome.result is None:
            failed.append(outcome)
        else:
            found[outcome.item] = outcome.result
        on_progress(finished, len(paths))
    empty = np.zeros((0, _SIDE**2), np.float32)
    groups = same_footage([found.get(path, empty) for path in paths])
    names = {group: f"footage of {paths[group].stem}" for group in set(groups)}
    shared = {group for group in groups if groups.count(group) > 1}
    return [
        replace(record, footage=names[group]) if group in shared else record
        for record, group in zip(records, groups, strict=True)
    ], failed


def same_footage(fingerprints: Sequence[Fingerprints]) -> list[int]:
    """For every video the number of the first that it hangs together with by near-duplicates."""
    owner = np.repeat(np.arange(len(fingerprints)), [len(rows) for rows in fingerprints])
    first = np.arange(len(fingerprints))
    if not len(owner):
        return [int(k) for k in first]
    rows = np.concatenate(list(fingerprints))
    for begin in range(0, len(rows), _BLOCK):
        block = rows[begin : begin + _BLOCK]
        one, other = np.nonzero(block @ rows[begin:].T > _SAME)
        _join(first, owner[begin + one], owner[begin + other])
    return [_root(first, k) for k in range(len(first))]


def _join(first: NDArray[np.int64], ones: Iterable[int], others: Iterable[int]) -> None:
    for one, other in {(int(a), int(b)) for a, b in zip(ones, others, strict=True) if a != b}:
        a, b = _root(first, one), _root(first, other)
        first[max(a, b)] = min(a, b)


def _root(first: NDArray[np.int64], k: int) -> int:
    while first[k] != k:
        first[k] = first[first[k]]
        k = int(first[k])
    return k
