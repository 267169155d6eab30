"""Faces and parts of faces from elsewhere: another person's, or the same person's other moment.

The classical face swap: warp the donor by landmarks, match its colours (Reinhard, Ashikhmin, Gooch
and Shirley 2001, "Color Transfer between Images"), and blend: feathered, by the gradients (Perez,
Gangnet and Blake 2003, "Poisson Image Editing"), or band by band (Burt and Adelson 1983, "A
Multiresolution Spline With Application to Image Mosaics").
"""

from dataclasses import dataclass
from typing import Literal, Self, get_args

import cv2
import numpy as np

from unmask.synth.filters import Filter, blurred, draw_texture
from unmask.synth.manipulation import Manipulation, Scene, draw_redrawing
from unmask.synth.masks import Mask
from unmask.synth.patch import Landmarks, Patch, Pixels, Points, warp

Blending = Literal["feathered", "poisson", "pyramid"]
_BLENDINGS: tuple[Blending, ...] = get_args(Blending)
_LEVELS = 4  # of the pyramid


@dataclass(frozen=True, eq=False)
class _Paste(Manipulation):
    """Donors warped into place.

    Attributes:
        donors: faces to take, in order; which one changes with time.
        rate: donors a second; 0 keeps the first.
        mask: what is replaced.
        affine: bent to the landmarks by an affine map, not only by a similarity.
        changes: what becomes of a donor's picture before it is warped.
        colours: how far the donor's colours become those of the face, 0 to 1.
        shading: (share, sigma): so much of the face's own blur of sigma face units is kept.
        blending: how its edge is hidden.
    """

    donors: tuple[Patch, ...]
    rate: float
    mask: Mask
    affine: bool
    changes: tuple[Filter, ...]
    colours: float
    shading: tuple[float, float]
    blending: Blending

    def alter(self, patch: Patch, time: float) -> tuple[Pixels, Pixels]:
        """See Manipulation; the donor of this time in the place of the face."""
        number = int(time * self.rate)
        donor = self.donors[_to_and_fro(number, len(self.donors))]
        pixels = donor.rgb
        for change in self.changes:
            pixels = change(pixels)
        matrix = alignment(donor.landmarks, patch.landmarks)
        if self.affine:
            matrix = _affine(donor.landmarks, patch.landmarks, matrix)
        moved = warp(pixels, matrix, patch.rgb.shape[:2])
        weight = self.mask.render(patch)
        inside = weight > 0.5 * self.mask.ratio
        if inside.any():
            moved = coloured(moved, patch.rgb, inside, self.colours)
        share, sigma = self.shading
        if share:
            off = blurred(patch.rgb - moved, sigma * patch.place.unit)
            moved = np.asarray(moved + share * off, np.float32)
        if self.blending == "poisson":
            moved = _poisson(moved, patch.rgb, inside)
        if self.blending == "pyramid":  # which reaches beyond the mask's soft edge
            return _pyramid(moved, patch.rgb, weight), np.minimum(4 * weight, 1)
        return moved, weight


@dataclass(frozen=True, eq=False)
class FaceSwap(_Paste):
    """Another person's face, moving as it did in their own recording."""

    method = "face swap"
    needs = "other"

    @classmethod
    def draw(cls, rng: np.random.Generator, scene: Scene) -> Self:
        """Random knobs; one donor in four is redrawn by a network, if there is one."""
        redrawn = [draw_redrawing(rng, scene)] if scene.redrawers and rng.random() < 0.25 else []
        textured = [draw_texture(rng)] if rng.random() < 0.5 else []
        return cls(
            donors=tuple(scene.other),
            rate=float(rng.choice([0.0, 6.0])),
            mask=Mask.draw(rng, "face", "face", "inner"),
            affine=bool(rng.random() < 0.35),
            changes=(*redrawn, *textured),
            colours=float(rng.uniform(0.5, 1.0)),
            shading=(float(rng.choice([0, 0, 0, rng.uniform(0.4, 1)])), rng.uniform(0.15, 0.5)),
            blending=_BLENDINGS[int(rng.choice(3, p=(0.7, 0.15, 0.15)))],
        )


@dataclass(frozen=True, eq=False)
class RegionReplacement(_Paste):
    """Mouth or eyes of the same person at another moment: other words, another look."""

    method = "region replacement"
    needs = "own"

    @classmethod
    def draw(cls, rng: np.random.Generator, scene: Scene) -> Self:
        """Random knobs."""
        start = int(rng.integers(1, max(2, len(scene.own))))  # from 0 on they would be themselves
        redrawn = [draw_redrawing(rng, scene)] if scene.redrawers and rng.random() < 0.4 else []
        textured = [draw_texture(rng)] if rng.random() < 0.5 else []
        return cls(
            donors=tuple(scene.own[start:]) + tuple(scene.own[:start]),
            rate=6.0,
            mask=Mask.draw(rng, "mouth", "mouth", "jaw", "eyes"),
            affine=False,
            changes=(*redrawn, *textured),
            colours=float(rng.uniform(0, 1.0)),
            shading=(0.0, 1.0),
            blending=_BLENDINGS[int(rng.choice(3, p=(0.6, 0.25, 0.15)))],
        )


def alignment(source: Landmarks, target: Landmarks) -> Points:
    """(2, 3) similarity that brings five landmarks nearest to five others.

    Umeyama 1991, "Least-squares estimation of transformation parameters".
    """
    a, b = source.astype(np.float64), target.astype(np.float64)
    ca, cb = a.mean(axis=0), b.mean(axis=0)
    one, other = (a - ca) @ (1, 1j), (b - cb) @ (1, 1j)  # points as complex numbers
    turn = np.vdot(one, other) / max(float(np.vdot(one, one).real), 1e-9)
    matrix = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([matrix, cb - matrix @ ca])


def _affine(source: Landmarks, target: Landmarks, similarity: Points) -> Points:
    """(2, 3) affine map of five landmarks to others; the similarity where it would bend much."""
    matrix, _ = cv2.estimateAffine2D(source, target, method=cv2.LMEDS)
    if matrix is None or not np.isfinite(matrix).all():
        return similarity
    scale = float(np.hypot(*similarity[:, 0]))
    far = np.abs(matrix - similarity)[:, :2].max() > 0.4 * scale
    return similarity if far else np.asarray(matrix, np.float64)


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


def _pyramid(pixels: Pixels, onto: Pixels, weight: Pixels) -> Pixels:
    """Each band of frequencies under a mask as soft as the band is coarse."""
    inside = weight[..., None].repeat(3, axis=2)
    blended: list[Pixels] = []
    for _ in range(_LEVELS):
        size = pixels.shape[1::-1]
        less = [np.asarray(cv2.pyrDown(part), np.float32) for part in (pixels, onto, inside)]
        fine, other = (
            part - cv2.pyrUp(small, dstsize=size)
            for part, small in zip((pixels, onto), less, strict=False)
        )
        blended.append(np.asarray(other + (fine - other) * inside, np.float32))
        pixels, onto, inside = less
    out = np.asarray(onto + (pixels - onto) * inside, np.float32)
    for band in blended[::-1]:
        out = np.asarray(band + cv2.pyrUp(out, dstsize=band.shape[1::-1]), np.float32)
    return out


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
