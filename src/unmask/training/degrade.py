"""Faces as any camera, editor, platform and face size might have left them: augment=strong.

A pair goes through one degradation, so that nothing about the footage tells its halves apart. All
of it happens at the resolution of the stored faces, before they are made as large as training
takes them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.synth.filters import (
    UPSAMPLING,
    Filter,
    Recolouring,
    blurred,
    compressed,
    draw_denoiser,
)
from unmask.synth.patch import Pixels, sharpened, through_size
from unmask.video.codecs import through_h264

Faces = NDArray[np.uint8]
Step = Callable[[Sequence[Pixels]], Sequence[Pixels]]  # pictures of a window -> the same, altered
_SMALLEST = 0.61  # of a stored face's side that is cropped
_PLAIN = 0.2  # of the windows are hardly degraded
_PRESETS = ("ultrafast", "veryfast")


@dataclass(frozen=True)
class Degradation:
    """What happens to a window, in this order.

    Attributes:
        crop: (x, y, side) of the part that is kept, as shares of the picture's side.
        steps: what becomes of its pictures.
        size: side of the result in pixels; 0 is the stored face's.
        mirror: left becomes right.
    """

    crop: tuple[float, float, float]
    steps: tuple[Step, ...]
    size: int
    mirror: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, size: int = 0, stored: int = 0) -> "Degradation":
        """Random, the same for every window drawn from an equal generator.

        Args:
            rng: decides on everything.
            size: side of the result; 0 is the stored face's.
            stored: side of the stored face; a third of the crops is cut out of it unscaled.
        """
        side = rng.uniform(_SMALLEST, 1)
        if size and rng.random() < 0.35:
            side = min(1.0, size / max(1, stored))
        x, y = rng.uniform(0, 1 - side, 2)
        return cls((float(x), float(y), float(side)), _draw_steps(rng), size, rng.random() < 0.5)

    def apply(self, faces: Faces) -> Faces:
        """(T, 3, S, S) uint8 RGB -> (T, 3, size, size); the given array is left as it is."""
        if not len(faces):
            return faces
        pictures: Sequence[Pixels] = [
            np.ascontiguousarray(self._part(face.transpose(1, 2, 0)), np.float32) for face in faces
        ]
        for step in self.steps:
            pictures = step(pictures)
        shown = [np.clip(picture + 0.5, 0, 255).astype(np.uint8) for picture in pictures]
        sized = np.stack([self._sized(picture, faces.shape[-1]) for picture in shown])
        return np.ascontiguousarray(sized.transpose(0, 3, 1, 2))

    def apply_to_masks(self, masks: Faces) -> Faces:
        """(T, S, S) uint8 -> (T, size, size): what lies where, without what happens to pixels."""
        sized = [self._sized(self._part(mask), masks.shape[-1]) for mask in masks]
        return np.stack(sized) if sized else masks

    def _part(self, picture: Faces) -> Faces:
        size = picture.shape[0]
        x, y, side = self.crop
        kept = max(8, round(side * size))
        left, top = (min(round(share * size), size - kept) for share in (x, y))
        return picture[top : top + kept, left : left + kept]

    def _sized(self, picture: Faces, stored: int) -> Faces:
        size = self.size or stored
        if picture.shape[0] != size:
            way = cv2.INTER_AREA if picture.shape[0] > size else cv2.INTER_LINEAR
            sized = cv2.resize(np.ascontiguousarray(picture), (size, size), interpolation=way)
            picture = np.asarray(sized, np.uint8)
        return picture[:, ::-1] if self.mirror else picture


def _each(change: Filter) -> Step:
    return lambda pictures: [change(picture) for picture in pictures]


def _draw_steps(rng: np.random.Generator) -> tuple[Step, ...]:
    if rng.random() < _PLAIN:
        steps = [_each(Recolouring.draw(rng))] if rng.random() < 0.5 else []
        return (*steps, _draw_jpeg(rng, 80)) if rng.random() < 0.6 else tuple(steps)
    likely = (
        (_draw_overlay, 0.06),
        (lambda r: _each(Recolouring.draw(r, 1.5)), 0.5),
        (_draw_gamma, 0.2),
        (_draw_small, 0.38),
        (_draw_scaling, 0.25),
        (_draw_blur, 0.2),
        (_draw_sharpening, 0.22),
        (lambda r: _each(draw_denoiser(r)), 0.12),
        (_draw_noise, 0.28),
    )
    steps = [draw(rng) for draw, share in likely if rng.random() < share]
    if rng.random() < 0.5:
        steps = [steps[k] for k in rng.permutation(len(steps))]
    codec = rng.random()
    if codec < 0.55:
        steps += [_draw_jpeg(rng, 30) for _ in range(int(rng.choice([1, 1, 2, 3])))]
    elif codec < 0.75:
        steps.append(_draw_h264(rng))
    if rng.random() < 0.15:
        steps.append(_draw_scaling(rng))
    if rng.random() < 0.12:
        steps.append(_draw_jpeg(rng, 40))
    return tuple(steps)


def _draw_jpeg(rng: np.random.Generator, worst: int) -> Step:
    """One JPEG, its blocks anywhere."""
    quality, (down, right) = int(rng.integers(worst, 97)), rng.integers(0, 8, 2).tolist()

    def change(rgb: Pixels) -> Pixels:
        moved = compressed(np.roll(rgb, (down, right), (0, 1)), quality)
        return np.roll(moved, (-down, -right), (0, 1))

    return _each(change)


def _draw_h264(rng: np.random.Generator) -> Step:
    """A moved copy of the first picture comes before it, so that it is predicted, too."""
    crf, lead = int(rng.integers(18, 39)), tuple(rng.integers(-3, 4, 2).tolist())

    def step(pictures: Sequence[Pixels]) -> Sequence[Pixels]:
        frames = [np.clip(picture, 0, 255).astype(np.uint8) for picture in pictures]
        coded = through_h264([np.roll(frames[0], lead, (0, 1)), *frames], crf)
        return [picture.astype(np.float32) for picture in coded[1:]]

    return step


def _draw_small(rng: np.random.Generator) -> Step:
    """A small face in its footage: coded at its own size, then enlarged."""
    scale, up = rng.uniform(0.22, 0.85), int(rng.choice(UPSAMPLING[:3], p=(0.35, 0.55, 0.1)))
    crisp = float(rng.choice([0, 0, rng.uniform(0.2, 1)]))
    code = _draw_h264(rng) if rng.random() < 0.45 else _draw_jpeg(rng, 35)

    def step(pictures: Sequence[Pixels]) -> Sequence[Pixels]:
        side = pictures[0].shape[0]
        small = max(16, round(side * scale))
        less = (cv2.resize(p, (small, small), interpolation=cv2.INTER_AREA) for p in pictures)
        coded = code([sharpened(np.asarray(p, np.float32), crisp, 1.0) for p in less])
        large = (cv2.resize(p, (side, side), interpolation=up) for p in coded)
        return [np.asarray(p, np.float32) for p in large]

    return step


def _draw_scaling(rng: np.random.Generator) -> Step:
    scale, up = float(rng.uniform(0.3, 1.0)), int(rng.choice(UPSAMPLING, p=(0.4, 0.4, 0.15, 0.05)))
    return _each(lambda rgb: through_size(rgb, scale, up))


def _draw_blur(rng: np.random.Generator) -> Step:
    """Out of focus, or moved while the shutter was open."""
    sigma, length, angle = rng.uniform(0.3, 1.6), int(rng.integers(3, 8)), rng.uniform(0, np.pi)
    if rng.random() < 0.75:
        return _each(lambda rgb: blurred(rgb, float(sigma)))
    ends = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    middle = (length - 1) / 2
    line = np.zeros((length, length), np.float32)
    start, end = (np.round(middle + sign * ends).astype(int).tolist() for sign in (-1, 1))
    cv2.line(line, start, end, 1.0)
    kernel = line / line.sum()
    return _each(lambda rgb: np.asarray(cv2.filter2D(rgb, -1, kernel), np.float32))


def _draw_sharpening(rng: np.random.Generator) -> Step:
    weight, sigma = float(rng.uniform(0.2, 1.2)), float(rng.uniform(0.6, 2))
    return _each(lambda rgb: sharpened(rgb, weight, sigma))


def _draw_gamma(rng: np.random.Generator) -> Step:
    gamma = float(np.exp(rng.normal(0, 0.2)))
    return _each(lambda rgb: np.asarray(255 * (np.clip(rgb, 0, 255) / 255) ** gamma, np.float32))


def _draw_noise(rng: np.random.Generator) -> Step:
    """The camera's: new in every picture, the same in both halves of a pair."""
    deviation, seed = rng.uniform(1, 9), int(rng.integers(2**31))
    grey, coarse = rng.random() < 0.3, rng.uniform(0.5, 1.2) if rng.random() < 0.3 else 0.0

    def step(pictures: Sequence[Pixels]) -> Sequence[Pixels]:
        own = np.random.default_rng(seed)
        out = []
        for rgb in pictures:
            grain = own.normal(0, deviation, rgb.shape).astype(np.float32)
            if grey:
                grain = np.repeat(grain[..., :1], 3, axis=2)
            out.append(rgb + (1.5 * blurred(grain, float(coarse)) if coarse else grain))
        return out

    return step


def _draw_overlay(rng: np.random.Generator) -> Step:
    """Letters or a bar over a part of the picture."""
    colour = tuple(float(level) for level in rng.choice([0, 40, 128, 255, 255], 3))
    x, y, bar = rng.uniform(-0.2, 0.9), rng.uniform(0, 1), rng.uniform(0.03, 0.15)
    letters = "".join(rng.choice(list("ABCDEFGHIKLMNORSTUaeinorst0123 "), int(rng.integers(3, 14))))
    scale, text = float(rng.uniform(0.3, 1.2)), rng.random() < 0.6

    def change(rgb: Pixels) -> Pixels:
        out, side = np.clip(rgb, 0, 255).astype(np.uint8), rgb.shape[0]
        left, top = int(x * side), int(y * side)
        if text:
            cv2.putText(out, letters, (left, top), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1)
        else:
            cv2.rectangle(out, (0, top), (side, top + int(bar * side)), colour, -1)
        return out.astype(np.float32)

    return _each(change)
