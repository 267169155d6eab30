"""Faces of a window -> the same faces as another website would have left them.

One draw holds for all frames of a window, so that nothing flickers that did not. The codec comes
last, as on the web, and works on whole windows in a worker's process; that is why all of this
runs there and not on a GPU.
"""

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.video.codecs import through_h264, through_jpeg

Faces = NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation:
    """What happens to a window, in this order.

    Attributes:
        crop: (x, y, side) of the part that is kept, as shares of the picture's side.
        mirror: left becomes right.
        gain, offset: (3,) of RGB, on values from 0 to 255.
        saturation: 1 leaves it, 0 is grey.
        shrink: the picture is scaled to this share of its side and back.
        blur: deviation of a Gaussian, in px; 0 is none.
        noise: deviation of Gaussian noise, of 255, new in every frame; 0 is none.
        codec: "h264", "jpeg" or none.
        quality: crf of H.264 (0 to 51, higher is worse), or JPEG's quality (1 to 100).
        seed: of the noise.
    """

    crop: tuple[float, float, float] = (0.0, 0.0, 1.0)
    mirror: bool = False
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: float = 0.0
    saturation: float = 1.0
    shrink: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    codec: Literal["h264", "jpeg"] | None = None
    quality: int = 0
    seed: int = 0

    @classmethod
    def draw(cls, kind: str, rng: np.random.Generator) -> "Augmentation":
        """Draw one of a kind: "none", "flip", "web" or "strong" (see TrainConfig.augment)."""
        if kind == "none":
            return cls()
        mirror = bool(rng.random() < 0.5)
        if kind == "flip":
            return cls(mirror=mirror)
        side = float(rng.uniform(0.85, 1))
        x, y = rng.uniform(0, 1 - side, 2)
        gain = rng.uniform(0.8, 1.2) + rng.uniform(-0.05, 0.05, 3)
        codec, quality = None, 0
        if rng.random() < 0.7:
            h264 = rng.random() < 0.6
            codec = "h264" if h264 else "jpeg"
            quality = int(rng.integers(18, 41) if h264 else rng.integers(30, 96))
        return cls(
            crop=(float(x), float(y), side),
            mirror=mirror,
            gain=(float(gain[0]), float(gain[1]), float(gain[2])),
            offset=float(rng.uniform(-20, 20)),
            saturation=float(rng.uniform(0.7, 1.3)),
            shrink=float(rng.uniform(0.35, 1)) if rng.random() < 0.4 else 1.0,
            blur=float(rng.uniform(0.3, 1.5)) if rng.random() < 0.2 else 0.0,
            noise=float(rng.uniform(1, 10)) if rng.random() < 0.2 else 0.0,
            codec=codec,  # type: ignore[arg-type]
            quality=quality,
            seed=int(rng.integers(2**32)),
        )

    def apply(self, faces: Faces) -> Faces:
        """(T, 3, S, S) uint8 RGB -> the same, altered; the given array is left as it is."""
        if self == Augmentation() or not len(faces):
            return faces
        rng = np.random.default_rng(self.seed)
        pictures = [self._picture(np.ascontiguousarray(f.transpose(1, 2, 0)), rng) for f in faces]
        if self.codec == "jpeg":
            pictures = [through_jpeg(picture, self.quality) for picture in pictures]
        elif self.codec == "h264":
            pictures = through_h264(pictures, self.quality)
        return np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2))

    def apply_to_masks(self, masks: Faces) -> Faces:
        """(T, S, S) uint8 -> the same, cropped and mirrored as the faces are."""
        if self.crop[2] == 1 and not self.mirror:
            return masks
        moved = replace(Augmentation(), crop=self.crop, mirror=self.mirror)
        return moved.apply(masks[:, None].repeat(3, axis=1))[:, 0]

    def _picture(self, rgb: Faces, rng: np.random.Generator) -> Faces:
        size = rgb.shape[0]
        x, y, side = self.crop
        if side < 1:
            left, top, kept = (round(share * size) for share in (x, y, side))
            part = rgb[top : top + kept, left : left + kept]
            rgb = np.asarray(cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR))
        if self.mirror:
            rgb = rgb[:, ::-1]
        if (self.gain, self.offset, self.saturation) != ((1.0, 1.0, 1.0), 0.0, 1.0):
            grey = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
            mix = self.saturation * np.eye(3, dtype=np.float32) + (1 - self.saturation) * grey
            mix = np.diag(self.gain).astype(np.float32) @ mix
            colour = np.column_stack([mix, np.full(3, self.offset, np.float32)])
            rgb = np.asarray(cv2.transform(rgb, colour), np.uint8)
        if self.shrink < 1:
            small = max(8, round(self.shrink * size))
            rgb = np.asarray(cv2.resize(rgb, (small, small), interpolation=cv2.INTER_AREA))
            rgb = np.asarray(cv2.resize(rgb, (size, size), interpolation=cv2.INTER_LINEAR))
        if self.blur:
            rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), self.blur))
        if self.noise:
            grain = rng.normal(0, self.noise, rgb.shape).astype(np.float32)
            rgb = np.clip(rgb + grain, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(rgb, dtype=np.uint8)
