"""Frames -> a file: the way back, for fakes and for tests."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

Codec = Literal["libx264", "libx265"]
# x264's macroblock tree is not deterministic on every CPU (seen with AVX-512).
_OPTIONS: dict[Codec, dict[str, str]] = {
    "libx264": {"preset": "veryfast", "mbtree": "0"},
    "libx265": {"preset": "veryfast", "x265-params": "log-level=none"},
}


def encode(
    path: str | Path,
    frames: Iterator[NDArray[np.uint8]],
    fps: Fraction,
    crf: int,
    codec: Codec = "libx264",
) -> int:
    """Write (H, W, 3) uint8 RGB frames of one size as H.264 (yuv420p) at constant rate `fps`.

    Odd sizes lose their last row or column, which 4:2:0 cannot hold. Returns the number of
    frames written. `crf` is the quality, 0 to 51; higher is worse. The codec "libx265" writes
    H.265.
    """
    count = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, av.VideoStream)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), **_OPTIONS[codec]}
        for rgb in frames:
            height, width = (side - side % 2 for side in rgb.shape[:2])
            if count == 0:
                stream.width, stream.height = width, height
            even = np.ascontiguousarray(rgb[:height, :width])
            picture = av.VideoFrame.from_ndarray(even, format="rgb24")
            container.mux(stream.encode(picture))
            count += 1
        if count:
            container.mux(stream.encode(None))
    return count
