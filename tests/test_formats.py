"""Every format that people bring: the frames are the ones on display at t = k / fps.

Each file shows a frame counter, so the frame that comes out is known by looking at it.
"""

import struct
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from unmask.video.reader import Frame, Video

CELLS = 10  # bits of the frame counter
HEIGHT, WIDTH = 64, 32 * CELLS

Picture = NDArray[np.uint8]


def counted(number: int) -> Picture:
    """A picture that shows its number as black and white squares."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for bit in range(CELLS):
        if number >> bit & 1:
            picture[:, 32 * bit : 32 * bit + 32] = 255
    return picture


def read_counter(rgb: Picture) -> int:
    height, width = rgb.shape[:2]
    centres = ((np.arange(CELLS) + 0.5) * width / CELLS).astype(int)
    return sum(int(rgb[height // 2, x].mean() > 127) << bit for bit, x in enumerate(centres))


def write(
    path: Path,
    codec: str,
    count: int,
    rate: Fraction,
    *,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    first: int = 0,
    muxer: dict[str, str] | None = None,
    draw: Callable[[int], Picture] = counted,
    aspect: Fraction | None = None,
) -> list[float]:
    """`count` counter pictures at `rate`; the times of their display in seconds."""
    height, width = draw(0).shape[:2]
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.options = {**(options or {})}
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for number in range(count):
            picture = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
            picture.pts, picture.time_base = number + first, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return [float(number / rate) for number in range(count)]


def sample(path: Path, fps: float | None) -> list[Frame]:
    with Video(path) as video:
        frames = list(video.frames(fps))
        assert video.warnings == []
        assert video.lost == 0
    return frames


def on_display(times: list[float], fps: float, rounding: float) -> list[int]:
    """The definition, word by word: the last frame that has appeared by t = k / fps."""
    wanted, k = [], 0
    while k / fps <= times[-1] + rounding:
        shown = max(i for i, t in enumerate(times) if t <= k / fps + rounding)
        if shown not in wanted:
            wanted.append(shown)
        k += 1
    return wanted


B_FRAMES = {"bf": "3", "x264-params": "bframes=3:b-pyramid=normal:b-adapt=0"}
X265 = {"x265-params": "bframes=4:log-level=none"}
AV1 = {"preset": "8", "crf": "10"}
VP9 = {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "10"}


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt", "options"),
    [
        ("libx264", ".mp4", "yuv420p", {}),
        ("libx264", ".mp4", "yuv420p", B_FRAMES),
        ("libx264", ".mov", "yuv420p", B_FRAMES),
        ("libx264", ".mkv", "yuv420p", B_FRAMES),
        ("libx264", ".ts", "yuv420p", B_FRAMES),
        ("libx264", ".flv", "yuv420p", {}),
        ("libx264", ".mp4", "yuv420p10le", B_FRAMES),
        ("libx264", ".mp4", "yuv444p", {}),
        ("libx264", ".mp4", "yuvj420p", {}),
        ("libx265", ".mp4", "yuv420p", X265),
        ("libx265", ".mkv", "yuv420p10le", X265),
        ("libvpx", ".webm", "yuv420p", {"deadline": "realtime"}),
        ("libvpx-vp9", ".webm", "yuv420p", VP9),
        ("libvpx-vp9", ".mkv", "yuv420p", VP9),
        ("libsvtav1", ".mp4", "yuv420p", AV1),
        ("libsvtav1", ".webm", "yuv420p10le", AV1),
        ("mpeg1video", ".mpg", "yuv420p", {"bf": "2"}),
        ("mpeg2video", ".mpg", "yuv420p", {"bf": "2"}),
        ("mpeg2video", ".ts", "yuv420p", {"bf": "2"}),
        ("mpeg4", ".mp4", "yuv420p", {"bf": "2"}),
        ("mpeg4", ".avi", "yuv420p", {}),
        ("mjpeg", ".avi", "yuvj420p", {}),
        ("prores_ks", ".mov", "yuv422p10le", {}),
        ("ffv1", ".mkv", "yuv420p", {}),
        ("gif", ".gif", "rgb8", {}),
    ],
)
@pytest.mark.parametrize("fps", [3, 7.5])
def test_every_format(
    tmp_path: Path, codec: str, suffix: str, pix_fmt: str, options: dict[str, str], fps: float
) -> None:
    path = tmp_path / f"clip{suffix}"
    times = write(path, codec, 75, Fraction(25), pix_fmt=pix_fmt, options=options)
    rounding = 0.0005 + 1e-6 if suffix in (".mkv", ".webm", ".flv") else 1e-4
    frames = sample(path, fps)
    assert [read_counter(frame.rgb) for frame in frames] == on_display(times, fps, rounding)
    assert [frame.index for frame in frames] == on_display(times, fps, rounding)
    assert [f.time for f in frames] == pytest.approx([times[f.index] for f in frames], abs=0.002)


@pytest.mark.parametrize("rate", [12, Fraction(24000, 1001), 50, Fraction(60000, 1001), 120])
@pytest.mark.parametrize("fps", [1, 3, 25])
def test_every_rate(tmp_path: Path, rate: int | Fraction, fps: float) -> None:
    path = tmp_path / "clip.mp4"
    count = round(3 * rate)
    times = write(path, "libx264", count, Fraction(rate), options=B_FRAMES)
    found = [read_counter(frame.rgb) for frame in sample(path, fps)]
    assert found == on_display(times, fps, 1e-4)


def test_what_an_edit_list_hides_is_not_seen(tmp_path: Path) -> None:
    """A cut made without encoding again: the pictures before it are in the file, but hidden."""
    path = tmp_path / "cut.mp4"
    options = {"avoid_negative_ts": "disabled"}
    write(path, "libx264", 60, Fraction(25), first=-12, muxer=options, options=B_FRAMES)
    frames = sample(path, None)
    assert [read_counter(frame.rgb) for frame in frames] == list(range(12, 60))
    assert frames[0].time == 0
    assert [read_counter(f.rgb) for f in sample(path, 5)] == list(range(12, 60, 5))


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
def test_a_stream_that_starts_late_starts_at_0(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"late{suffix}"
    write(path, "libx264", 50, Fraction(25), first=250, options=B_FRAMES)
    frames = sample(path, 5)
    assert [read_counter(frame.rgb) for frame in frames] == list(range(0, 50, 5))
    assert [frame.time for frame in frames] == pytest.approx(np.arange(10) / 5, abs=0.002)


def set_matrix(path: Path, quarter_turns: int) -> None:
    """Write a rotation, clockwise, into the track header, as a phone does (ISO 14496-12)."""
    a, b, c, d = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)][quarter_turns]
    one, w = 1 << 16, 1 << 30
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, w)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    assert data[at : at + 4] == struct.pack(">i", one)
    data[at : at + 36] = matrix
    path.write_bytes(data)


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_phone_footage_is_upright(tmp_path: Path, quarter_turns: int) -> None:
    path = tmp_path / "phone.mp4"
    # The picture that, turned clockwise, is upright.
    write(
        path, "libx264", 10, Fraction(10),
        draw=lambda k: np.ascontiguousarray(np.rot90(counted(k), quarter_turns)),
    )  # fmt: skip
    set_matrix(path, quarter_turns)
    frames = sample(path, None)
    assert frames[0].rgb.shape == (HEIGHT, WIDTH, 3)
    assert [read_counter(frame.rgb) for frame in frames] == list(range(10))


def test_anamorphic_pixels_become_square(tmp_path: Path) -> None:
    path = tmp_path / "wide.mp4"
    write(
        path, "libx264", 10, Fraction(10), aspect=Fraction(2),
        draw=lambda k: np.ascontiguousarray(counted(k)[:, ::2]),
    )  # fmt: skip
    frames = sample(path, None)
    assert frames[0].rgb.shape == (HEIGHT, WIDTH, 3)
    assert [read_counter(frame.rgb) for frame in frames] == list(range(10))


@pytest.mark.parametrize("side", [(33, 65), (1, 1), (2, 500)])
def test_odd_sizes(tmp_path: Path, side: tuple[int, int]) -> None:
    path = tmp_path / "odd.mkv"
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (5, *side, 3), dtype=np.uint8)
    write(path, "ffv1", 5, Fraction(5), pix_fmt="bgr0", draw=lambda k: pictures[k])
    assert all(
        np.array_equal(frame.rgb, picture)
        for frame, picture in zip(sample(path, None), pictures, strict=True)
    )


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv420p10le", "yuv422p10le"])
def test_colours_are_right_in_every_range_and_depth(tmp_path: Path, pix_fmt: str) -> None:
    path = tmp_path / "ramp.mkv"
    ramp = np.repeat(np.linspace(0, 255, 320)[None, :, None], 64, 0).repeat(3, 2).astype(np.uint8)
    colours = np.zeros_like(ramp)
    colours[:, :160], colours[:, 160:] = (200, 60, 30), (20, 90, 220)
    for picture in (ramp, colours):
        write(
            path, "libx264", 5, Fraction(5), pix_fmt=pix_fmt, options={"crf": "1"},
            draw=partial(lambda picture, _: picture, picture),
        )  # fmt: skip
        found = sample(path, None)[2].rgb.astype(int)
        off = np.abs(found - picture)
        off[:, 155:165] = 0  # the edge, where chroma is shared
        assert off.max() <= 6
        assert off.mean() <= 2
