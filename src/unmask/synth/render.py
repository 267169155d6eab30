"""What generators leave: too few pixels, too smooth a skin, no noise, too few frames.

Low-resolution generators and their upsampling: Marra, Gragnaniello, Verdoliva and Poggi 2019 ("Do
GANs Leave Artificial Fingerprints?") and Odena, Dumoulin and Olah 2016 ("Deconvolution and
Checkerboard Artifacts"); faces that are cleaner than the camera: Frank et al. 2020.
"""

from dataclasses import dataclass, field, replace
from typing import Self

import cv2
import numpy as np

from unmask.synth.manipulation import Manipulation, Redrawer, Scene
from unmask.synth.masks import Mask
from unmask.synth.patch import Patch, Pixels, sharpened, through_size, warp
from unmask.synth.swap import alignment, coloured

_UPSAMPLING = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}


@dataclass(frozen=True, eq=False)
class Generator(Manipulation):
    """A face as a generator of few pixels redraws it.

    Attributes:
        mask: what is redrawn.
        pixels: of the generator's picture, over the whole patch of 4.4 face units.
        upsampling: how it becomes large again: "nearest", "bilinear", "cubic", "lanczos".
        smoothing: of the skin, a bilateral filter's strength in grey levels; 0 none.
        sharpening: weight of an unsharp mask afterwards.
        checkerboard: amplitude in grey levels of the pattern that transposed convolutions leave.
    """

    method = "generator"

    mask: Mask
    pixels: int
    upsampling: str
    smoothing: float
    sharpening: float
    checkerboard: float

    @classmethod
    def draw(cls, rng: np.random.Generator, scene: Scene = Scene()) -> Self:  # noqa: B008
        """Random knobs; pixels alone would leave no trace in a face that has not more of them."""
        smoothing, sharpening = rng.uniform(5, 25), rng.uniform(0.2, 1.2)
        checkerboard = rng.uniform(0.5, 3)
        left = rng.choice([[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]])
        return cls(
            mask=Mask.draw(rng, "face", "face", "inner", "mouth", "head"),
            pixels=int(rng.choice([64, 96, 128, 192, 256])),
            upsampling=str(rng.choice(list(_UPSAMPLING))),
            smoothing=float(smoothing * left[0]),
            sharpening=float(sharpening * left[1]),
            checkerboard=float(checkerboard * left[2]),
        )

    def alter(self, patch: Patch, time: float) -> tuple[Pixels, Pixels]:
        """See Manipulation; the redrawn patch."""
        scale = min(1.0, self.pixels / max(patch.rgb.shape[:2]))
        pixels = through_size(patch.rgb, scale, _UPSAMPLING[self.upsampling])
        if self.smoothing:
            pixels = np.asarray(cv2.bilateralFilter(pixels, 7, self.smoothing, 3), np.float32)
        if self.checkerboard:
            rows, columns = np.indices(pixels.shape[:2])
            period = max(1, round(1 / scale))
            board = ((rows // period + columns // period) % 2 * 2 - 1) * self.checkerboard
            pixels = np.asarray(pixels + board[..., None], np.float32)
        return sharpened(pixels, self.sharpening, 0.6 + 0.5 / scale), self.mask.render(patch)


@dataclass(frozen=True, eq=False)
class Redrawn(Manipulation):
    """A face as a network draws it, in place of what the camera saw.

    The first face swaps were autoencoders with a decoder for each person; lip-sync and talking
    heads of today come out of the decoder of a variational autoencoder.

    Attributes:
        mask: what is redrawn; the whole head is what talking heads are.
        redrawer: the network.
        person: whose decoder, where it has several.
        colours: how far the colours of the face are kept, 0 to 1.
        sharpening: weight of an unsharp mask afterwards.
    """

    method = "redrawn"
    needs = "redrawers"

    mask: Mask
    redrawer: Redrawer
    person: int
    colours: float
    sharpening: float

    @classmethod
    def draw(cls, rng: np.random.Generator, scene: Scene) -> Self:
        """Random knobs."""
        return cls(
            mask=replace(Mask.draw(rng, "face", "inner", "mouth", "head", "head"), ratio=1.0),
            redrawer=scene.redrawers[int(rng.integers(len(scene.redrawers)))],
            person=int(rng.integers(1000)),
            colours=float(rng.choice([0, 1, rng.uniform(0, 1)])),
            sharpening=float(rng.choice([0, 0, rng.uniform(0.2, 1.0)])),
        )

    def alter(self, patch: Patch, time: float) -> tuple[Pixels, Pixels]:
        """See Manipulation; the patch as the network draws it."""
        pixels, weight = self.redrawer.redraw(patch.rgb, self.person), self.mask.render(patch)
        inside = weight > 0.5
        if inside.any():
            pixels = coloured(pixels, patch.rgb, inside, self.colours)
        return sharpened(pixels, self.sharpening, 1.0), weight


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
