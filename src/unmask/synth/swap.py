"""Faces and parts of faces from elsewhere: another person's, or the same person's other moment.

The classical face swap: warp the donor by landmarks, match its colours (Reinhard, Ashikhmin, Gooch
and Shirley 2001, "Color Transfer between Images"), and blend, feathered or by the gradients
(Perez, Gangnet and Blake 2003, "Poisson Image Editing").
"""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from unmask.synth.manipulation import Manipulation, Scene
from unmask.synth.masks import Mask
from unmask.synth.patch import Landmarks, Patch, Pixels, Points, warp


@dataclass(frozen=True, eq=False)
class _Paste(Manipulation):
    """Donors warped into place.

    Attributes:
        donors: faces to take, in order; which one changes with time.
        rate: donors a second; 0 keeps the first.
        mask: what is replaced.
        colours: how far the donor's colours become those of the face, 0 to 1.
        poisson: blended by gradients instead of feathered.
    """

    donors: tuple[Patch, ...]
    rate: float
    mask: Mask
    colours: float
    poisson: bool

    def alter(self, patch: Patch, time: float) -> tuple[Pixels, Pixels]:
        """See Manipulation; the donor of this time in the place of the face."""
        number = int(time * self.rate)
        donor = self.donors[_to_and_fro(number, len(self.donors))]
        size = patch.rgb.shape[:2]
        moved = warp(donor.rgb, alignment(donor.landmarks, patch.landmarks), size)
        weight = self.mask.render(patch)
        inside = weight > 0.5 * self.mask.ratio
        if inside.any():
            moved = coloured(moved, patch.rgb, inside, self.colours)
        if self.poisson:
            moved = _poisson(moved, patch.rgb, inside)
        return moved, weight


@dataclass(frozen=True, eq=False)
class FaceSwap(_Paste):
    """Another person's face, moving as it did in their own recording."""

    method = "face swap"
    needs = "other"

    @classmethod
    def draw(cls, rng: np.random.Generator, scene: Scene) -> Self:
        """Random knobs."""
        mask = Mask.draw(rng, "face", "inner")
        return cls(
            tuple(scene.other), float(rng.choice([0.0, 6.0])), mask,
            float(rng.uniform(0.6, 1.0)), bool(rng.random() < 0.3),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class RegionReplacement(_Paste):
    """Mouth or eyes of the same person at another moment: other words, another look."""

    method = "region replacement"
    needs = "own"

    @classmethod
    def draw(cls, rng: np.random.Generator, scene: Scene) -> Self:
        """Random knobs."""
        mask = Mask.draw(rng, "mouth", "mouth", "eyes")
        start = int(rng.integers(1, max(2, len(scene.own))))  # from 0 on they would be themselves
        donors = tuple(scene.own[start:]) + tuple(scene.own[:start])
        return cls(donors, 6.0, mask, float(rng.uniform(0, 1.0)), bool(rng.random() < 0.3))


def alignment(source: Landmarks, target: Landmarks) -> Points:
    """(2, 3) similarity that brings five landmarks nearest to five others.

    Umeyama 1991, "Least-squares estimation of transformation parameters".
    """
    a, b = source.astype(np.float64), target.astype(np.float64)
    ca, cb = a.mean(axis=0), b.mean(axis=0)
    one, other = (a - ca) @ (1, 1j), (b - cb) @ (1, 1j)  # points as complex numbers
    turn = np.vdot(one, other) / max(np.vdot(one, one).real, 1e-9)
    matrix = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([matrix, cb - matrix @ ca])


def _to_and_fro(number: int, count: int) -> int:
    """0, 1, ... count - 1, count - 2, ... 1, 0, 1, ...: no jump where the donors end."""
    period = max(1, 2 * count - 2)
    place = number % period
    return place if place < count else period - place


def coloured(pixels: Pixels, like: Pixels, inside: np.ndarray, share: float) -> Pixels:
    """Mean and spread of each channel inside brought to those of `like`, by a share."""
    a, b = pixels[inside], like[inside]
    gain = (b.std(axis=0) + 1) / (a.std(axis=0) + 1)
    moved = (pixels - a.mean(axis=0)) * np.clip(gain, 0.5, 2) + b.mean(axis=0)
    return np.asarray(pixels + share * (moved - pixels), dtype=np.float32)


def _poisson(pixels: Pixels, onto: Pixels, inside: np.ndarray) -> Pixels:
    """Gradients of `pixels` inside, colours of `onto` at the edge."""
    mask = inside.astype(np.uint8) * 255
    mask[[0, -1]] = 0  # OpenCV's own border
    mask[:, [0, -1]] = 0
    x, y, width, height = cv2.boundingRect(mask)
    if width < 4 or height < 4:
        return pixels
    ours, theirs = (np.clip(p, 0, 255).astype(np.uint8) for p in (pixels, onto))
    centre = (x + width // 2, y + height // 2)
    joined = cv2.seamlessClone(ours, theirs, mask, centre, cv2.NORMAL_CLONE)
    return np.asarray(joined, dtype=np.float32)
