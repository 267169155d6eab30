"""What every manipulation of a face has in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, Self

import numpy as np

from unmask.synth.filters import Filter
from unmask.synth.masks import Mask
from unmask.synth.patch import Image, Landmarks, Patch, Pixels


class Redrawer(Protocol):
    """A network that draws faces anew (see unmask.synth.autoencoder)."""

    def redraw(self, rgb: Pixels, seed: int) -> Pixels:
        """(h, w, 3) float32 RGB, 0 to 255 -> the same as the network draws it.

        Args:
            rgb: of any size.
            seed: of what may change from fake to fake, but not within one.
        """
        ...


class Altered(NamedTuple):
    """A picture after a manipulation, and what the manipulation touched.

    Attributes:
        rgb: (H, W, 3) uint8.
        mask: (H, W) uint8, 0 untouched to 255 replaced.
    """

    rgb: Image
    mask: Image


@dataclass(frozen=True, eq=False)
class Scene:
    """What there is to take for a fake, beside the picture itself.

    Attributes:
        own: faces of the same recording, in order and evenly in time.
        other: faces of another person, likewise.
        redrawers: networks that draw faces.
    """

    own: Sequence[Patch] = ()
    other: Sequence[Patch] = ()
    redrawers: Sequence[Redrawer] = ()


def draw_redrawing(rng: np.random.Generator, scene: Scene) -> Filter:
    """One of a scene's networks, with knobs of its own."""
    redrawer = scene.redrawers[int(rng.integers(len(scene.redrawers)))]
    seed = int(rng.integers(2**31))
    return lambda rgb: redrawer.redraw(rgb, seed)


class Manipulation(ABC):
    """What is done to a face throughout a segment: a family is a class, a fake an object of it.

    Attributes:
        method: the family's name in a table of videos.
        needs: the part of a Scene without which none can be drawn, if there is one; or "frames":
            pictures that follow each other closely.
        mask: where it is done.
    """

    method: ClassVar[str]
    needs: ClassVar[str] = ""
    mask: Mask

    @classmethod
    @abstractmethod
    def draw(cls, rng: np.random.Generator, scene: Scene) -> Self:
        """Random knobs, for a scene that has what the family needs."""

    @abstractmethod
    def alter(self, patch: Patch, time: float) -> tuple[Pixels, Pixels]:
        """What takes the place of the patch, (h, w, 3) 0 to 255, and how much of it, (h, w) 0 to 1.

        Args:
            patch: the face; left as it is.
            time: seconds.
        """

    def apply(self, rgb: Image, landmarks: Landmarks, time: float) -> Altered:
        """Manipulate one picture; the pictures of a segment come in order of time.

        Args:
            rgb: (H, W, 3) uint8; left as it is.
            landmarks: (5, 2) of the face, as in unmask.faces.Face.
            time: seconds.
        """
        out, mask = rgb.copy(), np.zeros(rgb.shape[:2], np.uint8)
        patch = Patch.cut(rgb, landmarks, self.mask.reach)
        if patch is not None:
            pixels, weight = self.alter(patch, time)
            (x, y), (height, width) = patch.corner, weight.shape
            share = np.clip(weight * 255 + 0.5, 0, 255).astype(np.uint8)
            mixed = patch.rgb + (pixels - patch.rgb) * (share[..., None] / np.float32(255))
            out[y : y + height, x : x + width] = np.clip(mixed + 0.5, 0, 255)
            mask[y : y + height, x : x + width] = share
        return Altered(out, mask)
