"""Which videos show the same footage? Told by their faces, whatever their names say.

A face becomes a grey picture of 16 x 16, less its mean, of length 1; two faces are near-duplicates
if the product of these (their normalised cross-correlation) is above 0.95. Encoding again at crf
38, JPEG at quality 10 and scaling to three eighths leave it above; docs/corpora.md has the figures.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_SAME = 0.95
_SIDE = 16
WIDTH = _SIDE**2  # of a row
_FACES = 8  # of a video, evenly spread
_BLOCK = 1024  # faces; of two blocks all pairs are compared at once

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
    """For every video the number of the first that it hangs together with by near-duplicates.

    All pairs of faces are compared, a square block of them at a time: memory beside the faces
    does not grow with their number.
    """
    first = np.arange(len(fingerprints))
    if not first.size:
        return []
    owner = np.repeat(first, [len(rows) for rows in fingerprints])
    rows = np.concatenate(list(fingerprints))
    blocks = [slice(begin, begin + _BLOCK) for begin in range(0, len(rows), _BLOCK)]
    for one, other in combinations_with_replacement(blocks, 2):
        near = rows[one] @ rows[other].T > _SAME
        if near.any():
            _join(first, owner[one], owner[other], near)
    return [_root(first, k) for k in range(len(first))]


def _join(
    first: NDArray[np.int64],
    ones: NDArray[np.int64],
    others: NDArray[np.int64],
    near: NDArray[np.bool_],
) -> None:
    """Join the owners of the faces that are near each other, (n,) and (m,), by `near` (n, m)."""
    owners, local = np.unique(np.concatenate([ones, others]), return_inverse=True)
    a, b = np.nonzero(near)
    pairs = (np.ones(len(a), bool), (local[a], local[len(ones) + b]))
    graph = coo_array(pairs, shape=(len(owners), len(owners)))
    _, groups = connected_components(graph, directed=False)
    _, lowest = np.unique(groups, return_index=True)
    for owner, lead in zip(owners.tolist(), owners[lowest[groups]].tolist(), strict=True):
        if owner != lead:
            x, y = _root(first, owner), _root(first, lead)
            first[max(x, y)] = min(x, y)


def _root(first: NDArray[np.int64], k: int) -> int:
    while first[k] != k:
        first[k] = first[first[k]]
        k = int(first[k])
    return k
