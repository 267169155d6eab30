"""What cameras, editors and platforms do to a picture: no manipulation, but it looks like one.

A filter is drawn once and applied to every picture of a window, so that nothing flickers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from unmask.synth.patch import Pixels, sharpened, through_size
from unmask.video.codecs import through_jpeg

Filter = Callable[[Pixels], Pixels]  # (h, w, 3) float32 RGB, 0 to 255 -> the same, altered
UPSAMPLING = (cv2.INTER_CUBIC, cv2.INTER_LINEAR, cv2.INTER_LANCZOS4, cv2.INTER_NEAREST)
_INNER = slice(1, -1)  # the border of a Laplacian is not the picture's


def compressed(rgb: Pixels, quality: int) -> Pixels:
    """The picture as JPEG of this quality, 1 to 100, gives it back."""
    return through_jpeg(np.clip(rgb, 0, 255).astype(np.uint8), quality).astype(np.float32)


def bilateral(rgb: Pixels, strength: float, reach: float) -> Pixels:
    """Smooth areas, sharp edges; `strength` in grey levels, `reach` in pixels."""
    return np.asarray(cv2.bilateralFilter(rgb, 5, strength, reach), np.float32)


def blurred(rgb: Pixels, sigma: float) -> Pixels:
    """A Gaussian of `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma), np.float32)


def draw_denoiser(rng: np.random.Generator) -> Filter:
    """An ordinary filter against noise."""
    strength, reach = float(rng.uniform(8, 45)), float(rng.uniform(1.5, 3))
    sigma, share = float(rng.uniform(0.5, 1.6)), np.float32(rng.uniform(0.3, 0.9))
    filters: list[Filter] = [
        lambda rgb: bilateral(rgb, strength, reach),
        lambda rgb: cv2.medianBlur(np.clip(rgb, 0, 255).astype(np.uint8), 3).astype(np.float32),
        lambda rgb: blurred(rgb, sigma),
        lambda rgb: rgb + share * (through_size(rgb, 0.5) - rgb),
    ]
    return filters[int(rng.choice(4, p=(0.4, 0.2, 0.2, 0.2)))]


def draw_texture(rng: np.random.Generator) -> Filter:
    """One change of sharpness, noise or compression."""
    scale, up = float(rng.uniform(0.25, 0.7)), int(rng.choice(UPSAMPLING))
    weight, sigma = float(rng.uniform(0.3, 1.2)), float(rng.uniform(0.6, 2))
    noise, seed = float(rng.uniform(2, 8)), int(rng.integers(2**31))
    quality = int(rng.integers(25, 80))

    def noisy(rgb: Pixels) -> Pixels:
        grain = np.random.default_rng(seed).normal(0, noise, rgb.shape)
        return rgb + grain.astype(np.float32)

    filters: list[Filter] = [
        lambda rgb: through_size(rgb, scale, up),
        lambda rgb: sharpened(rgb, weight, sigma),
        lambda rgb: blurred(rgb, sigma),
        lambda rgb: bilateral(rgb, 20 * sigma, 2),
        noisy,
        lambda rgb: compressed(rgb, quality),
    ]
    return filters[int(rng.choice(6, p=(0.4, 0.18, 0.12, 0.1, 0.1, 0.1)))]


def draw_edit(rng: np.random.Generator) -> Filter:
    """One to three steps of what a picture may have been through."""
    steps = [_draw_step(rng) for _ in range(int(rng.integers(1, 4)))]

    def edit(rgb: Pixels) -> Pixels:
        for step in steps:
            rgb = step(rgb)
        return rgb

    return edit


def _draw_step(rng: np.random.Generator) -> Filter:
    weight, sigma = float(rng.uniform(0.2, 1.2)), float(rng.uniform(0.6, 2))
    scale, up = float(rng.uniform(0.35, 0.9)), int(rng.choice(UPSAMPLING[:3]))
    quality = int(rng.integers(50, 95))
    steps: list[Filter] = [
        draw_denoiser(rng),
        lambda rgb: sharpened(rgb, weight, sigma),
        lambda rgb: through_size(rgb, scale, up),
        lambda rgb: compressed(rgb, quality),
    ]
    return steps[int(rng.choice(4, p=(0.4, 0.25, 0.2, 0.15)))]


@dataclass(frozen=True)
class Recolouring:
    """Brightness, contrast, white balance and saturation; each value as it is drawn."""

    gain: tuple[float, float, float]
    offset: tuple[float, float, float]
    saturation: float

    @classmethod
    def draw(cls, rng: np.random.Generator, strength: float = 1.0) -> "Recolouring":
        """Random, the further from none the larger `strength`."""
        gain = 1 + strength * (rng.uniform(-0.12, 0.12) + rng.uniform(-0.08, 0.08, 3))
        offset = strength * (rng.uniform(-10, 10) + rng.uniform(-8, 8, 3))
        saturation = 1 + strength * float(rng.choice([0, rng.uniform(-0.3, 0.3)]))
        return cls(tuple(gain.tolist()), tuple(offset.tolist()), saturation)

    def __call__(self, rgb: Pixels) -> Pixels:
        """A Filter."""
        grey = (rgb @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]  # ITU-R BT.601
        rgb = grey + np.float32(self.saturation) * (rgb - grey)
        return np.asarray(rgb * np.array(self.gain) + np.array(self.offset), np.float32)


def equally_sharp(
    real: Sequence[Pixels], fake: Sequence[Pixels], rng: np.random.Generator
) -> tuple[Sequence[Pixels], Sequence[Pixels]]:
    """Both with about the same detail, the sharper one made duller: being sharp tells nothing.

    The goal is drawn around the other's detail, so that either may end up the sharper one.
    """
    detail = [_detail(real[len(real) // 2]), _detail(fake[len(fake) // 2])]
    goal = math.exp(rng.normal(0, 0.35))  # of fake / real
    dull_fake = detail[1] > goal * detail[0]
    sharper = fake if dull_fake else real
    wanted = goal * detail[0] if dull_fake else detail[1] / goal
    dulled = _dulled(sharper, wanted, blur=bool(rng.random() < 0.5))
    return (real, dulled) if dull_fake else (dulled, fake)


def _detail(rgb: Pixels) -> float:
    """Mean absolute Laplacian of the brightness, in grey levels, without the picture's edges."""
    edge = max(1, rgb.shape[0] // 7)
    inner = rgb.mean(axis=2)[edge:-edge, edge:-edge]
    return float(np.abs(cv2.Laplacian(inner, cv2.CV_32F)[_INNER, _INNER]).mean()) + 0.05


def _dulled(pictures: Sequence[Pixels], wanted: float, blur: bool) -> list[Pixels]:
    """Blurred, or shrunk and enlarged, until as much detail is left; found by bisection."""
    middle = pictures[len(pictures) // 2]
    # Strength 0 leaves all but nothing away, 1 nearly everything.
    weakest, strongest = 0.0, 1.0

    def dull(rgb: Pixels, strength: float) -> Pixels:
        if blur:
            return blurred(rgb, 0.15 * 20**strength)
        return through_size(rgb, 0.15**strength)

    for _ in range(5):
        strength = (weakest + strongest) / 2
        if _detail(dull(middle, strength)) > wanted:
            weakest = strength
        else:
            strongest = strength
    return [dull(rgb, weakest) for rgb in pictures]
