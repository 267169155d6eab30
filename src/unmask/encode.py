"""Frames -> a file: the way back, for fakes and for tests."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


def encode(path: str | Path, frames: Iterator[NDArray[np.uint8]], fps: Fraction, crf: int) -> int:
    """Write (H, W, 3) uint8 RGB frames of one size as H.264 (yuv420p) at constant rate `fps`.

    Odd sizes lose their last row or column, which 4:2:0 cannot hold. Returns the number of
    frames written. `crf` is x264's quality, 0 to 51; higher is worse.
    """
    count = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.pix_fmt = "yuv420p"
        # x264's macroblock tree is not deterministic on every CPU (seen with AVX-512).
        stream.options = {"crf": str(crf), "preset": "veryfast", "mbtree": "0"}
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
