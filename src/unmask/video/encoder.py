"""Frames -> a file: the way back, for fakes and for tests."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal, Self

import av
import numpy as np
from numpy.typing import NDArray

Codec = Literal["libx264", "libx265", "ffv1"]
# x264's macroblock tree is not deterministic on every CPU (seen with AVX-512).
_OPTIONS: dict[Codec, dict[str, str]] = {
    "libx264": {"preset": "veryfast", "mbtree": "0"},
    "libx265": {"preset": "veryfast", "x265-params": "log-level=none"},
    "ffv1": {"level": "3"},
}


class Encoder:
    """Writes frames of one size to a file at a constant rate; a context manager.

    Args:
        path: of the file.
        fps: frames a second.
        codec: "libx264" H.264 and "libx265" H.265 of (H, W, 3) uint8 RGB frames as yuv420p; odd
            sizes lose their last row or column, which 4:2:0 cannot hold. "ffv1" (H, W) uint8
            grey frames without loss.
        crf: quality of the lossy ones, 0 to 51; higher is worse.
        container: the format of the file; None is what the suffix of `path` says.

    Attributes:
        count: frames written.
    """

    def __init__(
        self,
        path: str | Path,
        fps: Fraction,
        codec: Codec,
        crf: int = 0,
        container: str | None = None,
    ) -> None:
        self.count = 0
        self._container = av.open(str(path), "w", format=container)
        stream = self._container.add_stream(codec, rate=fps)
        assert isinstance(stream, av.VideoStream)
        self._grey = codec == "ffv1"
        stream.pix_fmt = "gray" if self._grey else "yuv420p"
        quality = {} if self._grey else {"crf": str(crf)}
        stream.options = {**quality, **_OPTIONS[codec]}
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.count:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Write the next frame."""
        height, width = picture.shape[:2]
        if not self._grey:
            height, width = height - height % 2, width - width % 2
        if self.count == 0:
            self._stream.width, self._stream.height = width, height
        even = np.ascontiguousarray(picture[:height, :width])
        frame = av.VideoFrame.from_ndarray(even, format="gray" if self._grey else "rgb24")
        self._container.mux(self._stream.encode(frame))
        self.count += 1


def encode(
    path: str | Path,
    frames: Iterator[NDArray[np.uint8]],
    fps: Fraction,
    crf: int,
    codec: Codec = "libx264",
    container: str | None = None,
) -> int:
    """Write all frames (see Encoder); returns their number."""
    with Encoder(path, fps, codec, crf, container) as encoder:
        for rgb in frames:
            encoder.add(rgb)
        return encoder.count
