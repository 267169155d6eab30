"""Self-blending: a face over an altered copy of itself.

After Shiohara and Yamasaki 2022, "Detecting Deepfakes with Self-Blended Images" (CVPR): the
copy is shifted in colour, sharpness and place, and blended in under a soft mask, so that what
gives it away is the blending and not a person. Over a video the knobs drift smoothly, or jump
from frame to frame, as those of generators without a memory do.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from unmask.synth.filters import Filter, draw_texture
from unmask.synth.manipulation import Manipulation, Scene
from unmask.synth.masks import Mask
from unmask.synth.patch import Patch, Pixels, Points, stretched, warp


@dataclass(frozen=True, eq=False)
class SelfBlend(Manipulation):
    """One manipulation, the same for all frames of a segment but for what sway and flicker do.

    Attributes:
        mask: what is replaced.
        gain, offset: (3,) of the copy's RGB, on pixels from 0 to 255.
        texture: what becomes of the copy's sharpness, noise or compression.
        elastic: (5, 5, 2) bends the copy, in face units; all 0 does not.
        shift: (2,) move of the copy in face units.
        scale: of the copy.
        sway: how far mask and copy drift with time, in face units, and how fast, in radians/s.
        flicker: how much colour and place jump from frame to frame; 0 not at all.
        seed: of the jumps.
    """

    method = "self-blending"

    mask: Mask
    gain: Points
    offset: Points
    texture: Filter
    elastic: Points
    shift: Points
    scale: float
    sway: tuple[float, float]
    flicker: float = 0.0
    seed: int = 0

    @classmethod
    def draw(cls, rng: np.random.Generator, scene: Scene = Scene()) -> Self:  # noqa: B008
        """Random knobs; one in three flickers."""
        return cls(
            mask=Mask.draw(rng),
            gain=1 + rng.uniform(-0.1, 0.1) + rng.uniform(-0.06, 0.06, 3),
            offset=rng.uniform(-8, 8) + rng.uniform(-5, 5, 3),
            texture=draw_texture(rng),
            elastic=rng.normal(0, 0.03 * rng.integers(2), (5, 5, 2)),
            shift=rng.uniform(-0.05, 0.05, 2),
            scale=float(rng.uniform(0.96, 1.04)),
            sway=(float(rng.uniform(0, 0.03)), float(rng.uniform(1, 6))),
            flicker=float(rng.choice([0.0, 0.0, rng.uniform(0.2, 1.0)])),
            seed=int(rng.integers(2**31)),
        )

    def alter(self, patch: Patch, time: float) -> tuple[Pixels, Pixels]:
        """See Manipulation; the copy, and the mask as it lies at this time."""
        angle = self.sway[1] * time
        drift = self.sway[0] * np.array([np.sin(angle), np.cos(angle)])
        gain, offset, shift = self.gain, self.offset, self.shift
        if self.flicker:
            rng = np.random.default_rng((self.seed, round(time * 1000)))
            gain = gain * (1 + 0.04 * self.flicker * rng.normal(size=3))
            offset = offset + 4 * self.flicker * rng.normal(size=3)
            shift = shift + 0.015 * self.flicker * rng.normal(size=2)
        unit, centre = patch.place.unit, patch.place.centre
        move = (shift + drift) * unit
        affine = np.array([[self.scale, 0.0], [0.0, self.scale]])
        matrix = np.column_stack([affine, centre + move - affine @ centre])
        copy = warp(self.texture(patch.rgb), matrix, patch.rgb.shape[:2])
        if self.elastic.any():
            copy = stretched(copy, self.elastic * unit)
        coloured = copy * gain.astype(np.float32) + offset.astype(np.float32)
        return np.asarray(coloured, dtype=np.float32), self.mask.render(patch, drift)
