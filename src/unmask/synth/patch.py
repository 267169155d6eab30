"""The part of a picture around a face."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Pixels = NDArray[np.float32]
Points = NDArray[np.float64]
Landmarks = NDArray[np.float32]

_SMALLEST = 4  # pixels of a face unit: below there is nothing to manipulate
REACH = 2.2  # of a patch from the middle of the face, in face units


@dataclass(frozen=True, eq=False)
class FacePlace:
    """Where a face is. Face units: the origin lies between eyes and mouth, y points to the mouth,
    and 1 is the mean of eye distance and eye-to-mouth distance.

    Attributes:
        centre: (2,) x, y in pixels.
        unit: pixels.
        angle: of the head in radians, 0 upright.
    """

    centre: Points
    unit: float
    angle: float

    @classmethod
    def of(cls, landmarks: Landmarks) -> Self:
        """From (5, 2) landmarks: eyes, nose, corners of the mouth."""
        points = landmarks.astype(np.float64)
        eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
        down = mouth - eyes
        unit = float(np.linalg.norm(down) + np.linalg.norm(points[1] - points[0])) / 2
        return cls((eyes + mouth) / 2, unit, float(np.arctan2(-down[0], down[1])))

    def pixels(self, points: Points) -> Points:
        """(N, 2) face units -> (N, 2) pixels."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        return np.asarray(points @ turn.T * self.unit + self.centre)


@dataclass(frozen=True, eq=False)
class Patch:
    """A face with its surroundings.

    Attributes:
        rgb: (h, w, 3) float32, 0 to 255.
        landmarks: (5, 2) float32 in pixels of the patch.
        corner: (x, y) of the patch in its picture.
    """

    rgb: Pixels
    landmarks: Landmarks
    corner: tuple[int, int]

    @property
    def place(self) -> FacePlace:
        """Where the face is in the patch."""
        return FacePlace.of(self.landmarks)

    @classmethod
    def cut(cls, rgb: Image, landmarks: Landmarks, reach: float = REACH) -> Self | None:
        """The patch around a face; None where hardly anything of it is in the picture.

        Args:
            rgb: (H, W, 3) uint8.
            landmarks: (5, 2) in its pixels; not a number where there is no face.
            reach: from the middle of the face to the patch's sides, in face units.
        """
        if not np.isfinite(landmarks).all():
            return None
        place, size = FacePlace.of(landmarks), (rgb.shape[1], rgb.shape[0])
        for radius in (min(reach, REACH) * place.unit, min(reach * place.unit, max(size) * 4.0)):
            low = np.maximum(place.centre - radius, 0).astype(int)
            high = np.minimum(place.centre + radius, size).astype(int)
            if place.unit < _SMALLEST or (high - low < 8).any():
                return None
        (x0, y0), (x1, y1) = low.tolist(), high.tolist()
        own = (landmarks - low).astype(np.float32)
        return cls(rgb[y0:y1, x0:x1].astype(np.float32), own, (x0, y0))


def warp(pixels: Pixels, matrix: Points, size: tuple[int, int]) -> Pixels:
    """Pixels moved by a (2, 3) affine matrix into a picture of (height, width)."""
    moved = cv2.warpAffine(
        pixels,
        matrix,
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.asarray(moved, dtype=np.float32)


def stretched(pixels: Pixels, grid: Points) -> Pixels:
    """Pixels moved by a smooth field: (k, k, 2) displacements in pixels, cubic in between."""
    height, width = pixels.shape[:2]
    field = cv2.resize(grid.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.indices((height, width), dtype=np.float32)
    moved = cv2.remap(
        pixels, columns + field[..., 0], rows + field[..., 1], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    return np.asarray(moved, dtype=np.float32)


def through_size(rgb: Pixels, scale: float, up: int = cv2.INTER_CUBIC) -> Pixels:
    """The picture made smaller by averaging and as large as before by interpolation `up`."""
    height, width = rgb.shape[:2]
    size = (max(4, round(width * scale)), max(4, round(height * scale)))
    less = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(less, (width, height), interpolation=up), dtype=np.float32)


def sharpened(rgb: Pixels, weight: float, sigma: float) -> Pixels:
    """An unsharp mask: `weight` times what a Gaussian of `sigma` pixels takes away is added."""
    if not weight:
        return rgb
    soft = cv2.GaussianBlur(rgb, (0, 0), sigma)
    return np.asarray(rgb + weight * (rgb - soft), dtype=np.float32)
