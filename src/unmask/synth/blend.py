"""Self-blending: a face over an altered copy of itself.

After Shiohara and Yamasaki 2022, "Detecting Deepfakes with Self-Blended Images" (CVPR): the
copy is shifted in colour, sharpness and place, and blended in under a soft mask, so that what
gives it away is the blending and not a person. Here the mask follows the landmarks over time.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# Centre (x, y) and radii (x, y) of the masks in face units: the origin lies between eyes and
# mouth, y points to the mouth, and 1 is the mean of eye distance and eye-to-mouth distance.
_REGIONS = {
    "face": ((0.0, 0.05), (1.05, 1.3)),
    "inner": ((0.0, 0.0), (0.8, 1.0)),
    "mouth": ((0.0, 0.6), (0.75, 0.6)),
    "eyes": ((0.0, -0.5), (1.0, 0.5)),
}
_RIPPLES = 4  # harmonics of the mask's outline


@dataclass(frozen=True, eq=False)
class SelfBlend:
    """One manipulation, the same for all frames of a segment but for the face's own movement.

    Attributes:
        region: "face", "inner", "mouth" or "eyes".
        outline: (2, 4) amplitude and phase of the ripples of the mask's edge.
        softness: blur of the mask's edge in face units.
        ratio: weight of the altered copy, 0 to 1.
        gain, offset: (3,) of the copy's RGB, on pixels from 0 to 255.
        sharpness: above 0 the copy is sharpened by this weight; below 0 it loses resolution.
        shift: (2,) move of the copy in face units.
        scale: of the copy.
        sway: how far mask and copy drift with time, in face units, and how fast, in radians/s.
    """

    region: str
    outline: NDArray[np.float64]
    softness: float
    ratio: float
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]
    sharpness: float
    shift: NDArray[np.float64]
    scale: float
    sway: tuple[float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "SelfBlend":
        """Random knobs."""
        amplitude = rng.uniform(0, 0.12, _RIPPLES) / np.arange(1, _RIPPLES + 1)
        return cls(
            region=str(rng.choice(list(_REGIONS), p=[0.4, 0.3, 0.2, 0.1])),
            outline=np.stack([amplitude, rng.uniform(0, 2 * np.pi, _RIPPLES)]),
            softness=float(rng.uniform(0.05, 0.3)),
            ratio=float(rng.choice([0.5, 0.75, 1.0, 1.0, 1.0])),
            gain=1 + rng.uniform(-0.1, 0.1) + rng.uniform(-0.06, 0.06, 3),
            offset=rng.uniform(-8, 8) + rng.uniform(-5, 5, 3),
            sharpness=float(rng.choice([-1, 1]) * rng.uniform(0.3, 1.0)),
            shift=rng.uniform(-0.05, 0.05, 2),
            scale=float(rng.uniform(0.96, 1.04)),
            sway=(float(rng.uniform(0, 0.03)), float(rng.uniform(1, 6))),
        )

    def apply(
        self, rgb: NDArray[np.uint8], landmarks: NDArray[np.float32], time: float
    ) -> NDArray[np.uint8]:
        """Blend into one frame.

        Args:
            rgb: (H, W, 3) uint8; left as it is.
            landmarks: (5, 2) of the face, as in unmask.faces.Face.
            time: seconds, for the drift.

        Returns:
            A new (H, W, 3) uint8 frame.
        """
        eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
        down = mouth - eyes
        unit = float(np.linalg.norm(down) + np.linalg.norm(landmarks[1] - landmarks[0])) / 2
        if unit < 4:  # a face of a few pixels has nothing to blend
            return rgb.copy()
        angle = float(np.arctan2(-down[0], down[1]))  # of the head, 0 upright
        x0, y0, x1, y1 = _bounds(rgb.shape, (eyes + mouth) / 2, 2.2 * unit)
        if x1 - x0 < 8 or y1 - y0 < 8:
            return rgb.copy()
        patch = rgb[y0:y1, x0:x1].astype(np.float32)
        centre = (eyes + mouth) / 2 - (x0, y0)
        drift = self.sway[0] * np.array([np.sin(self.sway[1] * time), np.cos(self.sway[1] * time)])
        mask = self._mask(patch.shape[:2], centre + drift * unit, unit, angle) * self.ratio
        copy = self._copy(patch, centre, (self.shift + drift) * unit, unit)
        out = rgb.copy()
        out[y0:y1, x0:x1] = np.clip(patch + (copy - patch) * mask[..., None] + 0.5, 0, 255)
        return out

    def _mask(
        self, shape: tuple[int, ...], centre: NDArray[np.float64], unit: float, angle: float
    ) -> NDArray[np.float32]:
        """(H, W) 0 to 1: a rippled ellipse, rotated with the head, its edge blurred."""
        (cx, cy), (rx, ry) = _REGIONS[self.region]
        theta = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        waves = np.arange(1, _RIPPLES + 1)[:, None] * theta + self.outline[1][:, None]
        radius = 1 + (self.outline[0][:, None] * np.cos(waves)).sum(axis=0)
        points = np.stack([cx + rx * radius * np.cos(theta), cy + ry * radius * np.sin(theta)])
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        polygon = (turn @ points).T * unit + centre
        mask = np.zeros(shape[:2], np.float32)
        cv2.fillPoly(mask, [np.round(polygon).astype(np.int32)], 1.0)
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), self.softness * unit), dtype=np.float32)

    def _copy(
        self,
        patch: NDArray[np.float32],
        centre: NDArray[np.float64],
        move: NDArray[np.float64],
        unit: float,
    ) -> NDArray[np.float32]:
        """The altered copy of the patch."""
        height, width = patch.shape[:2]
        if self.sharpness > 0:
            soft = cv2.GaussianBlur(patch, (0, 0), 0.03 * unit + 0.6)
            copy = patch + self.sharpness * (patch - soft)
        else:
            small = 1 + 2 * -self.sharpness
            size = (max(4, round(width / small)), max(4, round(height / small)))
            less = cv2.resize(patch, size, interpolation=cv2.INTER_AREA)
            copy = cv2.resize(less, (width, height), interpolation=cv2.INTER_CUBIC)
        affine = np.array([[self.scale, 0.0], [0.0, self.scale]])
        place = centre + move - affine @ centre
        warped = cv2.warpAffine(
            copy,
            np.column_stack([affine, place]),
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
        coloured = warped * self.gain.astype(np.float32) + self.offset.astype(np.float32)
        return np.asarray(coloured, dtype=np.float32)


def _bounds(
    shape: tuple[int, ...], centre: NDArray[np.float32], radius: float
) -> tuple[int, int, int, int]:
    low = np.maximum(centre - radius, 0).astype(int)
    high = np.minimum(centre + radius, (shape[1], shape[0])).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
