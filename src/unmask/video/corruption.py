"""What the world does to a video before somebody asks whether it is real: eight kinds, five levels.

For measuring how robust a detector is. Every kind acts on the whole picture, before faces are
looked for: what is measured is the whole road.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.errors import UsageError, VideoError
from unmask.video.codecs import through_jpeg
from unmask.video.encoder import Codec, encode
from unmask.video.reader import Frame, Limits, Video

Kind = Literal["jpeg", "h264", "h265", "resize", "blur", "noise", "brightness", "drop"]
KINDS: tuple[str, ...] = get_args(Kind)
LEVELS = (1, 2, 3, 4, 5)
# What the levels mean. Pixels are those of a picture of 720 lines, and scale with it.
_UNITS = {
    "jpeg": ("quality", (80, 60, 40, 25, 10)),
    "h264": ("crf", (23, 28, 33, 38, 43)),
    "h265": ("crf", (23, 28, 33, 38, 43)),
    "resize": ("scale", (0.75, 0.5, 0.375, 0.25, 0.125)),
    "blur": ("sigma", (0.5, 1, 2, 3, 5)),
    "noise": ("sigma", (5, 10, 20, 30, 45)),
    "brightness": ("times", (0.75, 0.55, 0.4, 0.28, 0.2)),
    "drop": ("share", (0.1, 0.3, 0.5, 0.7, 0.9)),
}
_LINES = 720
_MOST_FPS = 30  # of a video that is encoded again


@dataclass(frozen=True)
class Corruption:
    """One kind at one level.

    Attributes:
        kind: "jpeg" every frame; "h264", "h265" the video is encoded again; "resize" down and
            up again; "blur" Gaussian; "noise" Gaussian, per pixel and colour; "brightness"
            darker; "drop" frames are missing.
        level: 1 to 5, the higher the worse; 0 changes nothing.

    Raises:
        UsageError: no such kind or level.
    """

    kind: str
    level: int

    def __post_init__(self) -> None:
        if self.level and (self.kind not in _UNITS or self.level not in LEVELS):
            raise UsageError(
                f"no corruption {self.kind!r} of level {self.level}; there are "
                f"{', '.join(KINDS)}, each from 1 to 5"
            )

    @property
    def parameter(self) -> str:
        """What the level means, e.g. "crf 23"."""
        return f"{_UNITS[self.kind][0]} {self._value:g}" if self.level else ""

    @property
    def _value(self) -> float:
        return _UNITS[self.kind][1][self.level - 1]

    @contextmanager
    def open(self, path: Path, limits: Limits) -> Iterator[Video]:
        """The video as it is after the corruption; to be given to VideoPreprocessor.opening.

        Raises:
            VideoError: it cannot be read.
        """
        with self.file(path, limits) as file, Video(file, limits, self.frames) as video:
            yield video

    @contextmanager
    def file(self, path: Path, limits: Limits) -> Iterator[Path]:
        """The video, or a temporary one that has been encoded again.

        Raises:
            VideoError: it cannot be read.
        """
        if not self.level or self.kind not in ("h264", "h265"):
            yield path
            return
        with tempfile.TemporaryDirectory() as folder, Video(path, limits) as video:
            fps = min(video.info.fps or _MOST_FPS, _MOST_FPS)
            pictures = (frame.rgb for frame in video.frames(fps))
            first = next(pictures, None)
            if first is None:
                raise VideoError(path, "holds no frame")
            copy = Path(folder) / f"{path.stem}.mp4"
            rate = Fraction(fps).limit_denominator(1001)
            codec: Codec = "libx264" if self.kind == "h264" else "libx265"
            encode(copy, chain([first], pictures), rate, int(self._value), codec)
            yield copy

    def frames(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames as they are after the corruption; random ones are the same in every run."""
        if not self.level or self.kind in ("h264", "h265"):
            yield from frames
            return
        rng = np.random.default_rng(self.level)
        for frame in frames:
            if self.kind == "drop":
                if rng.random() >= self._value:
                    yield frame
            else:
                yield replace(frame, rgb=self._picture(frame.rgb, rng))

    def _picture(self, rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        height, width = rgb.shape[:2]
        value, pixel = self._value, min(rgb.shape[:2]) / _LINES
        if self.kind == "jpeg":
            return through_jpeg(rgb, int(value))
        if self.kind == "resize":
            small = (max(8, round(value * width)), max(8, round(value * height)))
            less = cv2.resize(rgb, small, interpolation=cv2.INTER_AREA)
            return np.asarray(cv2.resize(less, (width, height), interpolation=cv2.INTER_CUBIC))
        if self.kind == "blur":
            return np.asarray(cv2.GaussianBlur(rgb, (0, 0), max(value * pixel, 0.1)))
        if self.kind == "noise":
            grain = rng.standard_normal(rgb.shape, np.float32) * value
            return np.clip(rgb + grain, 0, 255).astype(np.uint8)
        return np.round(rgb * value).astype(np.uint8)


CLEAN = Corruption("none", 0)


def grid(text: str) -> list[Corruption]:
    """Corruptions by name: "all", or kinds separated by commas, each alone or as kind:level.

    Raises:
        UsageError: no such kind or level.
    """
    chosen = []
    for part in KINDS if text == "all" else text.split(","):
        kind, _, level = part.strip().partition(":")
        if level and not level.isdigit():
            raise UsageError(f"a corruption is a kind, or kind:level, not {part!r}")
        chosen += [Corruption(kind, n) for n in ((int(level),) if level else LEVELS)]
    return list(dict.fromkeys(chosen))
