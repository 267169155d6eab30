"""What generators leave: too few pixels, too smooth a skin, a fixed way to enlarge, too few frames.

Low-resolution generators and their upsampling: Marra, Gragnaniello, Verdoliva and Poggi 2019 ("Do
GANs Leave Artificial Fingerprints?") and Odena, Dumoulin and Olah 2016 ("Deconvolution and
Checkerboard Artifacts"); faces that are cleaner than the camera: Frank et al. 2020.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, Self

import cv2
import numpy as np

from unmask.synth.filters import UPSAMPLING, Filter, bilateral, blurred
from unmask.synth.manipulation import Manipulation, Scene, draw_redrawing
from unmask.synth.masks import Mask
from unmask.synth.patch import Patch, Pixels, sharpened, stretched, through_size, warp
from unmask.synth.swap import alignment, coloured


@dataclass(frozen=True)
class Remains:
    """What is left of the real picture in one that is drawn anew; it stays a fake.

    Attributes:
        band: what of the difference is taken back: "all", or what a Gaussian of `sigma` pixels
            leaves ("low") or takes away ("high").
        share: how much of it, 0 to 1.
        sigma: in pixels.
    """

    band: Literal["all", "low", "high"] = "all"
    share: float = 0.0
    sigma: float = 1.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Random; nothing in two of three."""
        all_, low, high = rng.uniform(0.1, 0.6), rng.uniform(1.5, 8), rng.uniform(1.5, 4)
        kinds = (
            cls(),
            cls("all", float(all_)),
            cls("low", 1.0, float(low)),
            cls("high", float(all_), float(high)),
        )
        return kinds[int(rng.choice(4, p=(0.65, 0.12, 0.13, 0.1)))]

    def mixed(self, fake: Pixels, real: Pixels) -> Pixels:
        """The fake with what is left of the real; both (h, w, 3)."""
        if not self.share:
            return fake
        off = real - fake
        if self.band != "all":
            low = blurred(off, self.sigma)
            off = low if self.band == "low" else off - low
        return np.asarray(fake + np.float32(self.share) * off, np.float32)


@dataclass(frozen=True, eq=False)
class _Render(Manipulation):
    """A part, the head or the whole picture, drawn anew.

    Attributes:
        mask: what is drawn anew.
        render: what draws it.
        remains: what is left of what the camera saw.
        colours: how far the colours of the face are kept, 0 to 1.
        sharpening: weight and width in pixels of an unsharp mask afterwards.
        elastic: (5, 5, 2) bends the drawing, in face units; all 0 does not.
    """

    mask: Mask
    render: Filter
    remains: Remains
    colours: float
    sharpening: tuple[float, float]
    elastic: np.ndarray

    @classmethod
    def _draw(cls, rng: np.random.Generator, render: Filter, *regions: str) -> Self:
        """Random knobs."""
        return cls(
            mask=replace(Mask.draw(rng, *regions), ratio=1.0),
            render=render,
            remains=Remains.draw(rng),
            colours=float(rng.choice([0, 1, rng.uniform(0, 1)])),
            sharpening=(float(rng.choice([0, rng.uniform(0.2, 1.3)])), float(rng.uniform(0.7, 2))),
            elastic=rng.normal(0, 0.04 * (rng.random() < 0.25), (5, 5, 2)),
        )

    def alter(self, patch: Patch, time: float) -> tuple[Pixels, Pixels]:
        """See Manipulation; the patch as it is drawn."""
        pixels, weight = patch.rgb, self.mask.render(patch)
        if self.elastic.any():
            pixels = stretched(pixels, self.elastic * patch.place.unit)
        pixels = self.render(pixels)
        inside = weight > 0.5
        if inside.any():
            pixels = coloured(pixels, patch.rgb, inside, self.colours)
        return sharpened(self.remains.mixed(pixels, patch.rgb), *self.sharpening), weight


class Generator(_Render):
    """A picture as a generator leaves it, imitated without one."""

    method = "generator"

    @classmethod
    def draw(cls, rng: np.random.Generator, scene: Scene = Scene()) -> Self:  # noqa: B008
        """Random knobs; one of three kinds of traces."""
        draw = (draw_small_generator, draw_upsampler, draw_diffusion)[int(rng.integers(3))]
        return cls._draw(rng, draw(rng), "face", "inner", "mouth", "jaw", "head", "picture")


class Redrawn(_Render):
    """A face as a network draws it, in place of what the camera saw.

    The first face swaps were autoencoders with a decoder for each person; lip-sync and talking
    heads of today come out of the decoder of a variational autoencoder.
    """

    method = "redrawn"
    needs = "redrawers"

    @classmethod
    def draw(cls, rng: np.random.Generator, scene: Scene) -> Self:
        """Random knobs; in half of them it is the whole picture, as in generated heads."""
        part = ["face", "inner", "mouth", "jaw", "eyes", "left", "head"]
        return cls._draw(rng, draw_redrawing(rng, scene), *part, *["picture"] * len(part))


def draw_small_generator(rng: np.random.Generator) -> Filter:
    """A picture of few pixels, made large; too smooth, too crisp, or with a checkerboard."""
    scale, up = float(rng.uniform(0.2, 0.9)), int(rng.choice(UPSAMPLING))
    smoothing, weight = float(rng.uniform(5, 25)), float(rng.uniform(0.2, 1.2))
    amplitude = float(rng.uniform(0.5, 3))
    smooth, crisp, checks = (
        [True, False, False], [False, True, False], [True, True, False],
        [True, False, True], [False, True, True], [True, True, True],
    )[int(rng.integers(6))]  # fmt: skip

    def render(rgb: Pixels) -> Pixels:
        pixels = through_size(rgb, scale, up)
        if smooth:
            pixels = bilateral(pixels, smoothing, 3)
        if checks:
            rows, columns = np.indices(pixels.shape[:2])
            period = max(1, round(1 / scale))
            board = np.asarray((rows // period + columns // period) % 2 * 2 - 1, np.float32)
            pixels = np.asarray(pixels + amplitude * board[..., None], np.float32)
        return sharpened(pixels, weight, 0.6 + 0.5 / scale) if crisp else pixels

    return render


def draw_upsampler(rng: np.random.Generator) -> Filter:
    """Doubled once or twice by zeros and a kernel, as transposed convolutions do."""
    doublings = 1 + int(rng.random() < 0.3)
    kernels = [_kernel(rng) for _ in range(doublings)]

    def render(rgb: Pixels) -> Pixels:
        height, width = rgb.shape[:2]
        step = 2**doublings
        pixels = cv2.resize(
            rgb, (max(4, width // step), max(4, height // step)), interpolation=cv2.INTER_AREA
        )
        for kernel in kernels:
            zeros = np.zeros((2 * pixels.shape[0], 2 * pixels.shape[1], 3), np.float32)
            zeros[::2, ::2] = pixels
            pixels = cv2.filter2D(zeros, -1, kernel, borderType=cv2.BORDER_REFLECT)
        sized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(sized, np.float32)

    return render


def _kernel(rng: np.random.Generator) -> Pixels:
    """(4, 4): an interpolation a little wrong; each of its four phases has a sum near 1."""
    smooth = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16
    nearest = np.pad(np.ones((2, 2)), 1)
    kernel = smooth if rng.random() < 0.5 else nearest
    kernel = kernel * (1 + rng.normal(0, rng.uniform(0.02, 0.25), (4, 4)))
    for row in (0, 1):
        for column in (0, 1):
            phase = kernel[row::2, column::2]
            phase *= (1 + rng.normal(0, 0.008)) / max(float(phase.sum()), 0.1)
    return kernel.astype(np.float32)


def draw_diffusion(rng: np.random.Generator) -> Filter:
    """Noise and a strong denoiser, once or twice: skin without grain, crisp edges."""
    strengths = rng.uniform(5, 30, int(rng.integers(1, 3))).tolist()
    reach, seed, coarse = float(rng.uniform(2, 3.5)), int(rng.integers(2**31)), rng.random() < 0.5

    def render(rgb: Pixels) -> Pixels:
        own = np.random.default_rng(seed)
        for strength in strengths:
            grain = own.normal(0, strength, rgb.shape).astype(np.float32)
            noisy = rgb + (2 * blurred(grain, 1) if coarse else grain)
            rgb = bilateral(np.clip(noisy, 0, 255), 2.5 * strength + 10, reach)
        return rgb

    return render


@dataclass(eq=False)
class SlowFace(Manipulation):
    """A face that is drawn anew more rarely than the picture, and moved along in between.

    Frames are to come in order of time.

    Attributes:
        mask: what is redrawn.
        rate: drawings a second.
        follows: whether the drawing is moved to where the face is; else it stays where it was.
    """

    method = "slow face"
    needs = "frames"  # at a few samples a second every one would be drawn anew: nothing altered

    mask: Mask
    rate: float
    follows: bool
    _drawn: Patch | None = field(default=None, init=False)
    _number: int = field(default=-1, init=False)

    @classmethod
    def draw(cls, rng: np.random.Generator, scene: Scene = Scene()) -> Self:  # noqa: B008
        """Random knobs."""
        mask = Mask.draw(rng, "face", "inner", "mouth", "eyes")
        return cls(mask, float(rng.uniform(3, 12)), bool(rng.random() < 0.8))

    def alter(self, patch: Patch, time: float) -> tuple[Pixels, Pixels]:
        """See Manipulation; the last drawing, in the place of the face."""
        number = int(time * self.rate)
        if self._drawn is None or number != self._number:
            self._drawn, self._number = patch, number
        if self.follows:
            matrix = alignment(self._drawn.landmarks, patch.landmarks)
        else:
            apart = np.subtract(self._drawn.corner, patch.corner)
            matrix = np.column_stack([np.eye(2), apart]).astype(np.float64)
        return warp(self._drawn.rgb, matrix, patch.rgb.shape[:2]), self.mask.render(patch)
