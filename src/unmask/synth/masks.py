"""Shapes of what is replaced in a face.

Variety of masks is what self-blending gains most by (Shiohara and Yamasaki 2022, section 4).
"""

import math
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from unmask.synth.patch import REACH, Patch, Pixels, Points

# Centre (x, y) and radii (x, y) in face units.
REGIONS = {
    "face": ((0.0, 0.05), (1.05, 1.3)),
    "inner": ((0.0, 0.0), (0.8, 1.0)),
    "mouth": ((0.0, 0.6), (0.75, 0.6)),
    "eyes": ((0.0, -0.5), (1.0, 0.5)),
    "nose": ((0.0, 0.1), (0.5, 0.6)),
    "left": ((-0.45, 0.05), (0.6, 1.2)),
    "right": ((0.45, 0.05), (0.6, 1.2)),
    "jaw": ((0.0, 0.75), (1.0, 0.7)),
    "head": ((0.0, -0.2), (3.0, 3.0)),
    "picture": ((0.0, 0.0), (math.inf, math.inf)),
}
# How often where a family leaves it open; the whole head is nothing to blend.
_LIKELY = {"face": 0.35, "inner": 0.25, "mouth": 0.15, "eyes": 0.1, "nose": 0.05}
_LIKELY |= {"left": 0.05, "right": 0.05}
_REACH = {"head": 3.4, "picture": math.inf}  # others: Patch.cut's
_RIPPLES = 4  # harmonics of the outline
_GRID = 5  # of the elastic deformation, over the face and its surroundings


@dataclass(frozen=True, eq=False)
class Mask:
    """A region with an outline of its own, which moves with the face.

    Attributes:
        region: a name of REGIONS.
        power: of the superellipse: 2 is round, more is squarer, less more pointed.
        ripples: (2, 4) amplitude and phase of the outline's waves.
        elastic: (5, 5, 2) displacement in face units, smooth in between.
        softness: blur of the edge in face units.
        ratio: of the replacement inside, 0 to 1.
    """

    region: str
    power: float
    ripples: Points
    elastic: Points
    softness: float
    ratio: float

    @property
    def reach(self) -> float:
        """Of a patch that holds it, in face units."""
        return _REACH.get(self.region, REACH)

    @classmethod
    def draw(cls, rng: np.random.Generator, *regions: str) -> Self:
        """Random knobs; of the regions one, each as likely as it is often given."""
        amplitude = rng.uniform(0, 0.12, _RIPPLES) / np.arange(1, _RIPPLES + 1)
        return cls(
            region=str(
                rng.choice(regions or list(_LIKELY), p=None if regions else list(_LIKELY.values()))
            ),
            power=float(rng.choice([1.5, 2.0, 2.0, 3.0, 5.0])),
            ripples=np.stack([amplitude, rng.uniform(0, 2 * np.pi, _RIPPLES)]),
            elastic=rng.normal(0, rng.uniform(0, 0.08), (_GRID, _GRID, 2)),
            softness=float(rng.uniform(0.03, 0.3)),
            ratio=float(rng.choice([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])),
        )

    def render(self, patch: Patch, drift: Points | None = None) -> Pixels:
        """(h, w) 0 to 1, moved by `drift` in face units."""
        if self.region == "picture":
            return np.full(patch.rgb.shape[:2], self.ratio, np.float32)
        place = patch.place
        (cx, cy), (rx, ry) = REGIONS[self.region]
        theta = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        waves = np.arange(1, _RIPPLES + 1)[:, None] * theta + self.ripples[1][:, None]
        radius = 1 + (self.ripples[0][:, None] * np.cos(waves)).sum(axis=0)
        across, along = np.cos(theta), np.sin(theta)
        radius /= (np.abs(across) ** self.power + np.abs(along) ** self.power) ** (1 / self.power)
        points = np.stack([cx + rx * radius * across, cy + ry * radius * along], axis=1)
        points += self._stretch(points) + (0 if drift is None else drift)
        outline = np.round(place.pixels(points)).astype(np.int32)
        mask = np.zeros(patch.rgb.shape[:2], np.float32)
        cv2.fillPoly(mask, [outline], 1.0)
        soft = cv2.GaussianBlur(mask, (0, 0), max(self.softness * place.unit, 0.3))
        return np.asarray(soft * self.ratio, dtype=np.float32)

    def _stretch(self, points: Points) -> Points:
        """Displacement of (N, 2) points, between the grid's knots linearly; face units."""
        place = ((points / 2 + 1) / 2 * (_GRID - 1)).clip(0, _GRID - 1).astype(np.float32)
        x, y = np.ascontiguousarray(place[:, :1]), np.ascontiguousarray(place[:, 1:])
        knots = self.elastic.astype(np.float32)
        return np.asarray(cv2.remap(knots, x, y, cv2.INTER_LINEAR)[:, 0], dtype=np.float64)
