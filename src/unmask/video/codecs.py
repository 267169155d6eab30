"""Pictures through a codec and back, in memory: what a website does to them."""

from fractions import Fraction

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Faces = NDArray[np.uint8]


def through_jpeg(rgb: Faces, quality: int) -> Faces:
    """(H, W, 3) uint8 RGB as JPEG of this quality, 1 to 100, gives it back."""
    done, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert bgr is not None
    return np.asarray(bgr[..., ::-1], np.uint8)


def through_h264(pictures: list[Faces], crf: int) -> list[Faces]:
    """Encode and decode frames of one even size, in memory."""
    size = pictures[0].shape[0]
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width = encoder.height = size - size % 2
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 30)
    # One thread: a worker has one core. mbtree off: see unmask.encode.
    encoder.options = {"crf": str(crf), "preset": "veryfast", "mbtree": "0", "threads": "1"}
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    frames = []
    for number, rgb in enumerate(pictures):
        even = np.ascontiguousarray(rgb[: encoder.height, : encoder.width])
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        frame.pts = number
        frames.append(frame)
    packets = [packet for frame in [*frames, None] for packet in encoder.encode(frame)]
    shown = [picture for packet in [*packets, None] for picture in decoder.decode(packet)]
    out = []
    for rgb, picture in zip(pictures, shown, strict=True):
        whole = rgb.copy()  # an odd size keeps its last row and column as they are
        whole[: encoder.height, : encoder.width] = picture.to_ndarray(format="rgb24")
        out.append(whole)
    return out
