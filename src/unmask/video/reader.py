"""A file -> timed frames, in one sequential pass (PyAV).

A video is hostile until proven otherwise. FFmpeg may read the one file that was named, through a
file object that this module opened: playlists, concat scripts and network protocols are not on
the list of formats, so a file that points elsewhere is an error and not a request.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import av
import numpy as np
from av.codec import Codec
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from unmask.errors import UsageError, VideoError
from unmask.video.decoder import Decoder

log = logging.getLogger("unmask")
VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts"),
        *("m2ts", "mts", "wmv", "flv", "3gp", "ogv", "gif"),
    )
)
_ASPECT = 16  # of a pixel, at most
# Demuxers that read one self-contained file. No hls, concat, sdp, dash, image2 or device.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,gif,mxf,h264,hevc"
)


@dataclass(frozen=True)
class Limits:
    """What a video may cost before it is refused; it may be made to do harm.

    Attributes:
        pixels: of one picture; the default is 8K.
        frames: pictures in the stream; the default is four hours at 60 a second.
        duration: seconds of video.
        timeout: seconds of work, from opening the file on; None for no limit.
    """

    pixels: int = 8192 * 4320
    frames: int = 4 * 3600 * 60
    duration: float = 4 * 3600
    timeout: float | None = 3600

    @property
    def patience(self) -> float | None:
        """Seconds after which others give a video up: the reader does before, and says more."""
        return None if self.timeout is None else self.timeout + 60


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
    """What the container says of itself; None where it does not say.

    Attributes:
        width, height: of the coded picture, in pixels.
        fps: frames a second, on average.
        duration: seconds.
        codec, container: FFmpeg's names.
        bit_rate: bits a second of the video stream, or else of the whole file.
        pixel_format: FFmpeg's name, e.g. "yuv420p".
    """

    width: int
    height: int
    fps: float | None
    duration: float | None
    codec: str
    container: str
    bit_rate: float | None = None
    pixel_format: str | None = None


@dataclass(frozen=True)
class _Shown:
    """A picture that is on display from `start` to `end`, in seconds; None where it is lost."""

    index: int
    start: float
    end: float
    picture: av.VideoFrame | None


class Video:
    """An open video file; use it as a context manager.

    Args:
        path: of the file.
        limits: what it may cost.
        alter: what becomes of the frames before anybody sees them.
        hwaccel: hardware that decodes, by FFmpeg's name (see on_hardware); the CPU takes over
            where it cannot.

    Attributes:
        info: what the container says.
        warnings: what went wrong while decoding without ending it; filled by `frames`.
        lost: samples that could not be decoded; filled by `frames(fps)`.

    Raises:
        VideoError: missing, empty, not a video, no video stream, or over the limits.
    """

    def __init__(
        self,
        path: str | Path,
        limits: Limits = Limits(),
        alter: Callable[[Iterator[Frame]], Iterator[Frame]] = iter,
        hwaccel: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.limits = limits
        self._alter = alter
        self.warnings: list[str] = []
        self.lost = 0
        self._deadline = time.monotonic() + (limits.timeout or math.inf)
        self._file = _open_file(self.path)
        try:
            self._container = self._open_container(hwaccel)
        except (FFmpegError, OSError, ValueError) as error:
            self._file.close()
            raise VideoError(path, "not a video that can be read (damaged, or no video)") from error
        try:
            self._stream = self._choose_stream()
            context = self._stream.codec_context
            if context is None:
                raise VideoError(path, "its video is in a format that is not known")
            context.thread_type = "AUTO"
            context.thread_count = max(1, min(4, (os.cpu_count() or 1) // 2))  # each holds pictures
            context.options = {"max_pixels": str(limits.pixels)}
            rate = self._stream.average_rate
            self.info = VideoInfo(
                width=context.width,
                height=context.height,
                fps=float(rate) if rate else None,
                duration=self._duration(),
                codec=context.name,
                container=self._container.format.name,
                bit_rate=self._bit_rate(),
                pixel_format=context.pix_fmt,
            )
            self._check_size(context.width, context.height)
            self._check_length(self._stream.frames, self.info.duration or 0.0)
        except BaseException:
            self.close()
            raise
        self._to_rgb = VideoReformatter()
        self._origin: float | None = None  # of time, in seconds of the stream

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
            VideoError: no frame could be decoded, or the video is over the limits.
        """
        if fps is not None and not 0 < fps < 1000:
            raise UsageError(f"frames per second must lie between 0 and 1000, not {fps}")
        return self._alter(self._frames(fps))

    def _frames(self, fps: float | None) -> Iterator[Frame]:
        sample = 0  # the next one is due at sample / fps
        index = -1
        for shown in self._shown(fps):
            index = shown.index
            if fps is not None:
                due = math.ceil((shown.end - self._tolerance) * fps)
                if due <= sample:
                    continue
                if shown.picture is None:
                    self.lost += due - sample
                sample = due
            if shown.picture is not None:
                yield Frame(shown.index, shown.start, self._convert(shown.picture))
        if index < 0:
            raise VideoError(self.path, "no frame could be decoded")
        if fps is not None and self.lost:
            self.warnings.append(f"{self.lost} of {sample} samples are lost to damage")

    def _open_container(self, hwaccel: str | None) -> InputContainer:
        # The decoders that look into the streams while the file is opened have the limit too.
        options = {"format_whitelist": _FORMATS, "max_pixels": str(self.limits.pixels)}
        if hwaccel is not None:
            device = HWAccel(hwaccel, allow_software_fallback=True)
            try:
                return av.open(self._file, "r", options=options, hwaccel=device)
            except (FFmpegError, OSError, ValueError) as error:
                log.debug("%s: not opened on %s: %s", self.path, hwaccel, error)
                self._file.seek(0)
        return av.open(self._file, "r", options=options)

    def _choose_stream(self) -> av.VideoStream:
        """The stream that FFmpeg takes for the best one, but never cover art."""
        streams = self._container.streams
        moving = [s for s in streams.video if not s.disposition & Disposition.attached_pic]
        if not moving:
            cause = "has no video stream"
            raise VideoError(self.path, f"{cause}, only a cover" if streams.video else cause)
        best = streams.best("video")
        return next((stream for stream in moving if stream == best), moving[0])

    def _duration(self) -> float | None:
        stream, container = self._stream, self._container
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if not container.duration:
            return None
        # Matroska counts from 0, wherever the stream begins.
        late = container.start_time if container.format.name.startswith("matroska") else 0
        return (container.duration - (late or 0)) / av.time_base

    def _bit_rate(self) -> float | None:
        if self._stream.bit_rate:
            return float(self._stream.bit_rate)
        seconds = self._duration()
        return self.path.stat().st_size * 8 / seconds if seconds else None

    @property
    def _tolerance(self) -> float:
        """Rounding of pts in seconds: half a tick, up to that of Matroska's milliseconds."""
        base = self._stream.time_base or Fraction(1, 1000)
        return min(float(base) / 2, 5e-4) + 1e-6

    def _shown(self, fps: float | None) -> Iterator[_Shown]:
        """What is on display, from when to when, without gaps and without overlaps.

        Before damage a picture has its usual length; what follows, up to the next sound one, is
        lost. The last picture ends as it appears.
        """
        step = 1 / (self.info.fps or 25.0)
        before: tuple[int, float, av.VideoFrame] | None = None
        for index, start, picture, damaged in self._timed(fps, step):
            if before is not None:
                end = min(start, before[1] + step) if damaged else start
                yield _Shown(before[0], before[1], end, before[2])
                if end < start:
                    yield _Shown(before[0], end, start, None)
            elif start > 0:
                yield _Shown(-1, 0.0, start, None)
            before = (index, start, picture)
        if before is None:
            return
        index, last, picture = before
        yield _Shown(index, last, last + 2 * self._tolerance, picture)
        declared = self.info.duration or 0.0
        if last < 0.8 * declared - 1:
            self.warnings.append(f"ends at {last:.1f} s of {declared:.1f} s declared: cut short?")
            yield _Shown(index, last + step, declared - step, None)

    def _timed(
        self, fps: float | None, step: float
    ) -> Iterator[tuple[int, float, av.VideoFrame, bool]]:
        """(index, seconds since the start, picture, damage before it), times increasing strictly.

        A damaged picture is left out; the next one says that there was damage.
        """
        self._origin = None
        last, index, damaged = -1.0, -1, False
        decoder = Decoder(self._container, self._stream, self._check_packet)
        for picture, position in decoder.pictures(partial(self._may_show, fps) if fps else None):
            if picture is None:
                damaged = True
                continue
            if picture.pts is None or picture.time_base is None:
                start = last + step if last >= 0 else 0.0  # raw streams carry no times
            else:
                seconds = float(picture.pts * picture.time_base)
                self._origin = seconds if self._origin is None else self._origin
                start = seconds - self._origin
            self._check_length(0, start)
            if start <= last:  # broken or repeated timestamps
                continue
            last = start
            if picture.is_corrupt:
                damaged = True
                continue
            index = max(index + 1, position)
            yield index, start, picture, damaged
            damaged = False
        if decoder.damaged:
            self.warnings.append(f"damaged in {decoder.damaged} places")

    def _check_packet(self, number: int) -> None:
        self._check_length(number, 0.0)
        if time.monotonic() > self._deadline:
            raise VideoError(self.path, f"takes longer than {self.limits.timeout:g} s")

    def _may_show(self, fps: float, start: float, end: float) -> bool:
        """Whether a sample may fall between two times of the stream; in doubt it may."""
        if self._origin is None:
            return True
        slack = 2 * self._tolerance
        start, end = start - self._origin - slack, end - self._origin + slack
        return math.ceil(start * fps) <= end * fps

    def _convert(self, picture: av.VideoFrame) -> NDArray[np.uint8]:
        self._check_size(picture.width, picture.height)
        aspect = self._stream.sample_aspect_ratio
        width = picture.width
        if aspect and 1 / _ASPECT <= aspect <= _ASPECT:  # beyond that it is damage
            width = max(1, min(round(width * aspect), self.limits.pixels // picture.height))
        turned = round(picture.rotation / 90) % 4
        rgb = self._to_rgb.reformat(picture, format="rgb24", width=width).to_ndarray()
        return np.ascontiguousarray(np.rot90(rgb, turned), dtype=np.uint8)

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.limits.pixels:
            raise VideoError(
                self.path,
                f"a picture of {width}x{height} is over the limit of {self.limits.pixels} pixels",
            )

    def _check_length(self, frames: int, seconds: float) -> None:
        if frames > self.limits.frames:
            raise VideoError(self.path, f"has more than {self.limits.frames} pictures")
        if seconds > self.limits.duration:
            raise VideoError(self.path, f"is longer than {self.limits.duration:g} s")


def on_hardware(name: str) -> "partial[Video]":
    """`Video`, decoded by hardware: "cuda", "vaapi", "videotoolbox", or what else FFmpeg knows.

    Raises:
        UsageError: this machine, or the FFmpeg of PyAV, has no such decoder.
    """
    try:
        if name not in hwdevices_available():  # HWAccel would take any other
            raise NotImplementedError
        HWAccel(name).create(Codec("h264", "r"))
    except (FFmpegError, NotImplementedError, OSError) as error:
        raise UsageError(f"no decoder {name!r} on this machine: leave --hwaccel out") from error
    return partial(Video, hwaccel=name)


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


def find_videos(folder: str | Path, recursive: bool = True) -> list[Path]:
    """All files in or, if `recursive`, below `folder` whose suffix is a video's, sorted.

    Hidden ones are left out.
    """
    root = Path(folder)
    return sorted(
        path
        for path in root.glob("**/*" if recursive else "*")
        if path.suffix.lower() in VIDEO_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and (path.is_file() or path.is_symlink())  # a dangling link is a failure to report
    )
