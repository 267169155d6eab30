"""Can a browser play it? If not, a small copy that it can."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.atomic import replacing
from unmask.video.encoder import encode
from unmask.video.reader import Frame, Limits, Video, VideoInfo

# What Chromium, Firefox and Safari of the last years all play; FFmpeg's names.
_PLAYED = {
    ".mp4": {"h264", "vp9", "av1", "libdav1d"},
    ".m4v": {"h264"},
    ".mov": {"h264"},
    ".webm": {"vp8", "vp9", "av1", "libdav1d", "libvpx", "libvpx-vp9"},
}
_FORMATS = ("yuv420p", "yuvj420p")
_LINES = 480  # shorter side of the copy at most
_FPS = 30.0
_CRF = 26


def is_playable(path: str | Path, info: VideoInfo) -> bool:
    """Whether all common browsers play a video of this container and codec."""
    codecs = _PLAYED.get(Path(path).suffix.lower(), set())
    return info.codec in codecs and info.pixel_format in _FORMATS


def write_copy(source: str | Path, target: str | Path, limits: Limits = Limits()) -> None:  # noqa: B008
    """Write a small H.264 copy of a video, without sound, upright, at a constant rate.

    Raises:
        VideoError: the source cannot be read.
        FileError: the copy cannot be written.
    """
    with Video(source, limits) as video, replacing(target) as temporary:
        fps = min(video.info.fps or 25.0, _FPS)
        rate = Fraction(fps).limit_denominator(1001)
        pictures = _steady(video.frames(float(rate)), float(rate))
        encode(temporary, pictures, rate, _CRF, container="mp4")


def _steady(frames: Iterator[Frame], fps: float) -> Iterator[NDArray[np.uint8]]:
    """Small pictures at t = k / fps; one that stays on display is repeated."""
    before: NDArray[np.uint8] | None = None
    written = 0
    for frame in frames:
        while before is not None and written < round(frame.time * fps):
            yield before
            written += 1
        before = _small(frame.rgb)
    if before is not None:
        yield before


def _small(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scale = min(1.0, _LINES / min(rgb.shape[:2]))
    size = (max(2, round(rgb.shape[1] * scale)), max(2, round(rgb.shape[0] * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
