"""Fakes on the fly: a window of stored faces -> the same window, real and manipulated."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unmask.data.windows import Window
from unmask.faces import FaceTrack
from unmask.synth.families import FAMILIES, possible_families
from unmask.synth.filters import Filter, Recolouring, draw_edit, equally_sharp
from unmask.synth.manipulation import Redrawer, Scene
from unmask.synth.patch import Image, Landmarks, Patch, Pixels, stretched
from unmask.synth.swap import coloured

_WHOLE = 0.7  # of the windows are manipulated throughout, the others in a part
_DONORS = 30  # faces that a manipulation may take
_EDITED = 0.25  # of the recordings have been edited before they were manipulated


class Forged(NamedTuple):
    """A window twice.

    Attributes:
        real: (n, 3, S, S) uint8 RGB: as it is, or as editing might have left it.
        fake: likewise, manipulated.
        masks: (n, S, S) uint8: how much of each pixel of the fake was replaced, 0 to 255.
    """

    real: Image
    fake: Image
    masks: Image


@dataclass(frozen=True, eq=False)
class Forger:
    """Makes fakes of windows, and gives real and fake the same quality where a fake might differ.

    A detector that learns from fakes which are cleaner, sharper or otherwise encoded than its
    reals learns that, and nothing about manipulation.

    Attributes:
        families: names of FAMILIES to choose from; one that is named twice is twice as likely.
        redrawers: networks for the family that needs them.
    """

    families: Sequence[str]
    redrawers: Sequence[Redrawer] = ()

    @property
    def needs(self) -> set[str]:
        """The parts of a Scene that one of the families needs."""
        return {FAMILIES[name].needs for name in self.families}

    def forge(
        self, track: FaceTrack, window: Window, other: FaceTrack | None, rng: np.random.Generator
    ) -> Forged:
        """Manipulate a window of a track, whole or in a part.

        Args:
            track: of a real video, with landmarks.
            window: which of its faces.
            other: faces of another person, for swaps.
            rng: decides on everything.

        Raises:
            UsageError: none of the families can be made of these faces.
        """
        count = window.stop - window.start
        donors = min(_DONORS, 2 * count + 6)
        own = _patches(track, donors) if "own" in self.needs else ()
        lent: Sequence[Patch] = ()
        if "other" in self.needs and other is not None:
            lent = _patches(other, donors, like=_landmarks(track, window.start))
        scene = Scene(own, lent, self.redrawers)
        has = [name for name in ("own", "other", "redrawers") if getattr(scene, name)]
        families = possible_families(self.families, has)
        manipulation = families[int(rng.integers(len(families)))].draw(rng, scene)
        real = track.crops[window.start : window.stop]
        if rng.random() < _EDITED:
            real = _applied(draw_edit(rng), real)
        fake, masks = real.copy(), np.zeros(real.shape[:3], np.uint8)
        for number in range(*_part(count, rng)):
            landmarks = _landmarks(track, window.start + number)
            time = float(track.times[window.start + number])
            fake[number], masks[number] = manipulation.apply(fake[number], landmarks, time)
        if manipulation.mask.region == "picture" and masks.all():
            if rng.random() < 0.45:
                real = _applied(draw_edit(rng), real)
            if rng.random() < 0.55:
                real, fake = _equally_sharp(real, fake, rng)
        return Forged(_planes(real), _planes(fake), masks)

    def borrow(self, real: Image, fake: Image, rng: np.random.Generator) -> Forged:
        """A generated window beside a real one of another person, with the same sharpness.

        There are few such fakes: nothing of them but their trace may be learnt, so they are
        mirrored, bent and recoloured, and in a third of the cases only a part of them is set
        into the real.

        Args:
            real: (n, S, S, 3) uint8 RGB.
            fake: likewise, generated throughout.
            rng: decides on everything.
        """
        pictures = [rgb.astype(np.float32) for rgb in fake]
        if rng.random() < 0.5:
            pictures = [np.ascontiguousarray(rgb[:, ::-1]) for rgb in pictures]
        if rng.random() < 0.4:
            bend = rng.normal(0, rng.uniform(0.5, 5), (5, 5, 2))
            pictures = [stretched(rgb, bend) for rgb in pictures]
        if rng.random() < 0.6:
            recolour = Recolouring.draw(rng)
            pictures = [recolour(rgb) for rgb in pictures]
        real, fake = _equally_sharp(real, _bytes(pictures), rng)
        masks = np.full(real.shape[:3], 255, np.uint8)
        if rng.random() < 0.35:
            weight = _area(real.shape[1], rng)
            if rng.random() < 0.5 and (weight > 0.5).any():
                fake = _bytes(
                    coloured(f.astype(np.float32), r.astype(np.float32), weight > 0.5, 1.0)
                    for f, r in zip(fake, real, strict=True)
                )
            mixed = real + (fake.astype(np.float32) - real) * weight[..., None]
            fake = _bytes(mixed)
            masks[:] = np.clip(255 * weight + 0.5, 0, 255).astype(np.uint8)
        return Forged(_planes(real), _planes(fake), masks)


def _part(count: int, rng: np.random.Generator) -> tuple[int, int]:
    """(start, stop) of the frames that are manipulated."""
    if rng.random() <= _WHOLE or count < 4:
        return 0, count
    length = int(rng.integers(2, count))
    first = int(rng.integers(count - length + 1))
    return first, first + length


def _area(size: int, rng: np.random.Generator) -> Pixels:
    """(size, size) 0 to 1: one side of a line, or an ellipse, with an uneven and soft edge."""
    rows, columns = np.indices((size, size), dtype=np.float32)
    x, y = (columns / size - rng.uniform(0.3, 0.7)), (rows / size - rng.uniform(0.3, 0.7))
    angle = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.5:
        inside = x * np.cos(angle) + y * np.sin(angle)
    else:
        inside = rng.uniform(0.25, 0.5) - np.hypot(x, y * rng.uniform(0.7, 1.3))
    inside = stretched(inside.astype(np.float32), rng.normal(0, size / 24, (5, 5, 2)))
    soft = np.clip(inside * size / rng.uniform(4, 40) + 0.5, 0, 1)
    return np.asarray(soft, np.float32)


def _applied(change: Filter, pictures: Image) -> Image:
    return _bytes(change(rgb.astype(np.float32)) for rgb in pictures)


def _equally_sharp(real: Image, fake: Image, rng: np.random.Generator) -> tuple[Image, Image]:
    one, other = equally_sharp([*real.astype(np.float32)], [*fake.astype(np.float32)], rng)
    return _bytes(one), _bytes(other)


def _bytes(pictures: Iterable[Pixels]) -> Image:
    return np.stack([np.clip(rgb + 0.5, 0, 255).astype(np.uint8) for rgb in pictures])


def _planes(pictures: Image) -> Image:
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))


def _landmarks(track: FaceTrack, number: int) -> Landmarks:
    if track.landmarks is None:
        return np.full((5, 2), np.nan, np.float32)
    return np.asarray(track.landmarks[number], np.float32)


def _patches(track: FaceTrack, count: int, like: Landmarks | None = None) -> list[Patch]:
    """Faces spread over the track, in order; with `like`, the ones that look the same way."""
    numbers = np.unique(np.linspace(0, len(track) - 1, min(_DONORS, len(track))).round())
    chosen = numbers.astype(int)
    if like is not None and track.landmarks is not None and len(chosen) > count:
        apart = [np.abs(_pose(track.landmarks[k]) - _pose(like)).sum() for k in chosen]
        nearest = int(np.argmin(np.nan_to_num(apart, nan=np.inf)))
        first = min(max(0, nearest - count // 2), len(chosen) - count)
        chosen = chosen[first : first + count]
    elif len(chosen) > count:
        chosen = chosen[np.linspace(0, len(chosen) - 1, count).round().astype(int)]
    patches = (Patch.cut(track.crops[k], _landmarks(track, k)) for k in chosen)
    return [patch for patch in patches if patch is not None]


def _pose(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """(5, 2) landmarks without place and size: what is left is where the head looks."""
    points = np.asarray(landmarks, np.float64)
    return np.asarray((points - points.mean(axis=0)) / (points.std() + 1e-6))
