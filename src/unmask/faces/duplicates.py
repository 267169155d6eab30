"""Which videos show the same footage? Told by their faces, whatever their names say.

A face becomes a grey picture of 16 x 16, less its mean, of length 1; two faces are near-duplicates
if the product of these (their normalised cross-correlation) is above 0.95. Encoding again at crf
38, JPEG at quality 10 and scaling to three eighths leave it above; docs/corpora.md has the figures.
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_SAME = 0.95
_SIDE = 16
WIDTH = _SIDE**2  # of a row
_FACES = 8  # of a video, evenly spread
_BLOCK = 4096  # faces that are compared at once

Fingerprints = NDArray[np.float32]


def describe(crops: Sequence[NDArray[np.uint8]]) -> Fingerprints:
    """(n, 256) float32, a row a face, of up to 8 of the faces, each (S, S, 3) uint8 RGB."""
    chosen = np.unique(np.round(np.linspace(0, len(crops) - 1, min(_FACES, len(crops)))))
    rows = [_descriptor(crops[int(k)]) for k in chosen]
    return np.stack(rows) if rows else np.zeros((0, WIDTH), np.float32)


def _descriptor(rgb: NDArray[np.uint8]) -> Fingerprints:
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    centred = (small - small.mean()).ravel()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-6), np.float32)


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
