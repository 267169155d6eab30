"""A file -> timed frames, in one sequential pass (PyAV).

A video is hostile until proven otherwise. FFmpeg may read the one file that was named, through a
file object that this module opened: playlists, concat scripts and network protocols are not on
the list of formats, so a file that points elsewhere is an error and not a request.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from unmask.errors import UsageError, VideoError

VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts"),
        *("m2ts", "mts", "wmv", "flv", "3gp", "ogv", "gif"),
    )
)
# Demuxers that read one self-contained file. No hls, concat, sdp, dash, image2 or device.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,gif,mxf,h264,hevc"
)
MAX_PIXELS = 8192 * 8192
_MAX_DAMAGED = 1000  # undecodable packets before giving up


@dataclass(frozen=True)
class Frame:
    """One decoded picture.

    Attributes:
        index: position in the stream in presentation order, counted from 0.
        time: presentation time in seconds, counted from the first frame.
        rgb: (H, W, 3) uint8, RGB, upright, square pixels.
    """

    index: int
    time: float
    rgb: NDArray[np.uint8]


@dataclass(frozen=True)
class VideoInfo:
    """What the container says of itself; `duration` in seconds, None where it does not say."""

    width: int
    height: int
    fps: float | None
    duration: float | None
    codec: str
    container: str


class Video:
    """An open video file; use it as a context manager.

    Attributes:
        info: what the container says.
        warnings: what went wrong while decoding without ending it; filled by `frames`.

    Raises:
        VideoError: missing, empty, not a video, no video stream, or larger than `max_pixels`.
    """

    def __init__(self, path: str | Path, *, max_pixels: int = MAX_PIXELS) -> None:
        self.path = Path(path)
        self.warnings: list[str] = []
        self._max_pixels = max_pixels
        self._file = _open_file(self.path)
        try:
            self._container = av.open(self._file, "r", options={"format_whitelist": _FORMATS})
        except (FFmpegError, OSError, ValueError) as error:
            self._file.close()
            raise VideoError(path, "not a video that can be read (damaged, or no video)") from error
        try:
            if not self._container.streams.video:
                raise VideoError(path, "has no video stream")
            self._stream = self._container.streams.video[0]
            self._stream.thread_type = "AUTO"
            context = self._stream.codec_context
            self._check_size(context.width, context.height)
            rate = self._stream.average_rate
            self.info = VideoInfo(
                width=context.width,
                height=context.height,
                fps=float(rate) if rate else None,
                duration=self._duration(),
                codec=context.name,
                container=self._container.format.name,
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._container.close()
        self._file.close()

    def frames(self, fps: float | None = None) -> Iterator[Frame]:
        """Decode once from the start, yielding the frames that are on display at t = k / fps.

        A frame is yielded once, however long it stays on display, so that times increase
        strictly and a still stretch stays a gap in time. `fps=None` yields every frame. Only
        yielded frames are converted to RGB.

        Raises:
            VideoError: no frame could be decoded, or a frame is larger than the limit.
        """
        if fps is not None and not 0 < fps < 1000:
            raise UsageError(f"frames per second must lie between 0 and 1000, not {fps}")
        previous: tuple[int, float, av.VideoFrame] | None = None
        index, last, k = -1, 0.0, 0
        for index, time, picture in self._timed():
            last = time
            if fps is None:
                yield self._convert(index, time, picture)
                continue
            # `previous` is on display until this picture's time.
            if previous is not None and k / fps < time - self._tolerance:
                yield self._convert(*previous)
                while k / fps < time - self._tolerance:
                    k += 1
            previous = (index, time, picture)
        if previous is not None and fps is not None and k / fps <= last + self._tolerance:
            yield self._convert(*previous)
        if index < 0:
            raise VideoError(self.path, "no frame could be decoded")
        declared = self.info.duration
        if declared is not None and last < 0.8 * declared - 1:
            self.warnings.append(f"ends at {last:.1f} s of {declared:.1f} s declared: cut short?")

    def _duration(self) -> float | None:
        stream, container = self._stream, self._container
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        return container.duration / av.time_base if container.duration else None

    @property
    def _tolerance(self) -> float:
        """Rounding of pts in seconds: half a tick, up to that of Matroska's milliseconds."""
        base = self._stream.time_base or Fraction(1, 1000)
        return min(float(base) / 2, 5e-4) + 1e-6

    def _timed(self) -> Iterator[tuple[int, float, av.VideoFrame]]:
        """(index, seconds since the first frame, picture), times strictly increasing."""
        origin: float | None = None
        last, index = -1.0, -1
        step = 1 / (self.info.fps or 25.0)
        for picture in self._pictures():
            if picture.pts is None or picture.time_base is None:
                time = last + step if index >= 0 else 0.0  # raw streams carry no times
            else:
                seconds = float(picture.pts * picture.time_base)
                origin = seconds if origin is None else origin
                time = seconds - origin
            if time <= last:  # broken or repeated timestamps
                continue
            index, last = index + 1, time
            yield index, time, picture

    def _pictures(self) -> Iterator[av.VideoFrame]:
        damaged = 0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                pictures = packet.decode() if packet is not None else []
            except FFmpegError:
                damaged += 1
                if damaged > _MAX_DAMAGED:
                    break
                continue
            if packet is None:
                break
            for picture in pictures:
                if isinstance(picture, av.VideoFrame):
                    yield picture
        if damaged:
            self.warnings.append(f"{damaged} damaged packets were skipped")

    def _convert(self, index: int, time: float, picture: av.VideoFrame) -> Frame:
        self._check_size(picture.width, picture.height)
        aspect = self._stream.sample_aspect_ratio
        width = picture.width
        if aspect and aspect > 0 and aspect != 1:
            width = max(1, min(round(width * aspect), self._max_pixels // picture.height))
        rgb = np.asarray(picture.to_ndarray(format="rgb24", width=width), dtype=np.uint8)
        quarter_turns = round(picture.rotation / 90) % 4
        if quarter_turns:
            rgb = np.ascontiguousarray(np.rot90(rgb, quarter_turns))
        return Frame(index, time, rgb)

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise VideoError(
                self.path,
                f"a picture of {width}x{height} is over the limit of {self._max_pixels} pixels",
            )


def _open_file(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise VideoError(path, "is a folder, not a video")
        if path.stat().st_size == 0:
            raise VideoError(path, "is empty")
        return path.open("rb")
    except FileNotFoundError:
        raise VideoError(path, "no such file") from None
    except OSError as error:
        raise VideoError(path, f"cannot be opened: {error.strerror}") from error


def find_videos(folder: str | Path) -> list[Path]:
    """All files below `folder` whose suffix is a video's, sorted; hidden ones are left out."""
    root = Path(folder)
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and (path.is_file() or path.is_symlink())  # a dangling link is a failure to report
    )


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
