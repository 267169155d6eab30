import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.stream import Disposition
from test_formats import CELLS, HEIGHT, counted, read_counter

from unmask.errors import UsageError, VideoError
from unmask.video.decoder import Decoder
from unmask.video.encoder import encode
from unmask.video.reader import Limits, Video, find_videos, on_hardware


def write_times(path: Path, times: list[float]) -> None:
    """A counter picture at each time, in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 32 * CELLS, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            picture = av.VideoFrame.from_ndarray(counted(number), format="rgb24")
            picture.pts, picture.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def sample(path: Path, fps: float | None) -> list[tuple[int, int, float]]:
    with Video(path) as video:
        return [(f.index, read_counter(f.rgb), f.time) for f in video.frames(fps)]


@pytest.mark.parametrize("rate", [12, 24, 25, 30, 60, Fraction(30000, 1001)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_constant_rate_gives_the_frame_on_display(
    tmp_path: Path, rate: int | Fraction, suffix: str
) -> None:
    path = tmp_path / f"clip{suffix}"
    count = round(4 * rate)
    encode(path, (counted(k) for k in range(count)), Fraction(rate), crf=10)
    times = [float(k / rate) for k in range(count)]
    rounding = 1e-6
    if suffix == ".mkv":  # keeps whole milliseconds, so half of one is no difference
        times, rounding = [round(t, 3) for t in times], 0.0005 + 1e-6
    wanted, k = [], 0
    while k / 3 <= times[-1] + rounding:
        wanted.append(max(i for i, t in enumerate(times) if t <= k / 3 + rounding))
        k += 1
    found = sample(path, 3)
    assert [number for _, number, _ in found] == wanted
    assert [index for index, _, _ in found] == wanted
    assert [t for *_, t in found] == pytest.approx([times[i] for i in wanted], abs=0.002)


def test_variable_rate_follows_the_clock_and_not_the_count(tmp_path: Path) -> None:
    path = tmp_path / "vfr.mkv"
    times = [0, 0.1, 0.2, 0.3, 0.4, 2.0, 2.05, 2.1, 2.5, 3.0]
    write_times(path, times)
    found = sample(path, 2)
    # on display at 0, 0.5 (still 4, until 2.0), 2.0, 2.5, 3.0; each once
    assert [number for _, number, _ in found] == [0, 4, 5, 8, 9]
    assert [t for *_, t in found] == pytest.approx([0, 0.4, 2.0, 2.5, 3.0], abs=0.002)


def test_time_counts_from_the_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    write_times(path, [5 + k / 10 for k in range(20)])
    assert [t for *_, t in sample(path, 1)] == pytest.approx([0, 1], abs=0.002)


def test_without_a_rate_every_frame_comes(clip: Path) -> None:
    with Video(clip) as video:
        assert video.info.width == video.info.height == 160
        assert [f.index for f in video.frames()] == list(range(30))


def test_faster_than_the_video_yields_each_frame_once(clip: Path) -> None:
    with Video(clip) as video:
        assert [f.index for f in video.frames(100)] == list(range(30))


@pytest.mark.parametrize("fps", [0, -1, float("nan"), 1e9])
def test_impossible_rates_are_refused(clip: Path, fps: float) -> None:
    with Video(clip) as video, pytest.raises(UsageError):
        next(video.frames(fps))


def audio_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])


def without_frames(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        container.start_encoding()


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.mkdir(), "is a folder"),
        (lambda p: p.write_text("not a video\n" * 99), "not a video"),
        (lambda p: p.write_bytes(bytes(range(256)) * 99), "not a video"),
        (audio_only, "no video stream"),
        (without_frames, "not a video|no video stream|no frame"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path: Path, make: object, cause: str) -> None:
    path = tmp_path / "bad.mp4"
    make(path)  # type: ignore[operator]
    with pytest.raises(VideoError, match=cause) as caught, Video(path) as video:
        list(video.frames(3))
    assert str(path) in str(caught.value)


def write_streams(path: Path, *streams: tuple[str, int, int, Disposition]) -> None:
    """Grey streams of (codec, side, pictures, disposition), 10 pictures a second."""
    with av.open(str(path), "w") as container:
        opened = []
        for codec, side, _, disposition in streams:
            stream = container.add_stream(codec, rate=10)
            assert isinstance(stream, av.VideoStream)
            stream.width = stream.height = side
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition
            opened.append(stream)
        for stream, (_, side, count, _) in zip(opened, streams, strict=True):
            for number in range(count):
                grey = np.full((side, side, 3), 40 + 5 * number, np.uint8)
                picture = av.VideoFrame.from_ndarray(grey, format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))


def put_metadata_first(path: Path) -> None:
    """Of an mp4: what is in `udta`, cover art for one, then becomes the first stream."""

    def boxes(data: bytes) -> list[bytes]:
        found = []
        while data:
            size = int.from_bytes(data[:4], "big")
            found.append(data[:size])
            data = data[size:]
        return found

    whole = boxes(path.read_bytes())
    at = next(k for k, box in enumerate(whole) if box[4:8] == b"moov")
    inside = sorted(boxes(whole[at][8:]), key=lambda box: box[4:8] != b"udta")
    whole[at] = whole[at][:8] + b"".join(inside)
    path.write_bytes(b"".join(whole))


COVER, MOVING = ("mjpeg", 128, 1), ("libx264", 64, 30)


def test_cover_art_is_never_the_video(tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    write_streams(path, (*COVER, Disposition.attached_pic), (*MOVING, Disposition.default))
    put_metadata_first(path)
    with av.open(str(path)) as container:  # as it is meant to be
        first, second = container.streams.video
        assert (first.disposition, second.frames) == (Disposition.attached_pic, 30)
    with Video(path) as video:
        assert (video.info.width, video.info.codec) == (64, "h264")
        assert len(list(video.frames(5))) == 15
    still = tmp_path / "still.mkv"  # a picture that does not say that it is cover art
    write_streams(still, (*COVER, Disposition(0)), (*MOVING, Disposition(0)))
    with Video(still) as video:
        assert len(list(video.frames(5))) == 15


def test_cover_art_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    audio_only(path)
    with av.open(str(path)) as song, av.open(str(tmp_path / "covered.mp4"), "w") as covered:
        cover = covered.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 128
        cover.pix_fmt, cover.disposition = "yuvj420p", Disposition.attached_pic
        copy = covered.add_stream_from_template(song.streams.audio[0])
        picture = av.VideoFrame.from_ndarray(np.zeros((128, 128, 3), np.uint8), format="rgb24")
        covered.mux([*cover.encode(picture), *cover.encode(None)])
        for packet in song.demux():
            packet.stream = copy
            covered.mux(packet)
    with pytest.raises(VideoError, match="no video stream, only a cover"):
        Video(tmp_path / "covered.mp4")


@pytest.mark.parametrize("wanted", [0, 1])
def test_of_two_videos_that_which_ffmpeg_chooses(tmp_path: Path, wanted: int) -> None:
    """The default one; the other is larger, or comes first."""
    kinds = [Disposition(0), Disposition(0)]
    kinds[wanted] = Disposition.default
    path = tmp_path / "two.mkv"
    write_streams(path, ("libx264", 64, 30, kinds[0]), ("libx264", 96, 30, kinds[1]))
    with av.open(str(path)) as container:
        best = container.streams.best("video")
        assert best is not None
        assert best.index == wanted
    with Video(path) as video:
        assert video.info.width == (64, 96)[wanted]
        assert {frame.rgb.shape[0] for frame in video.frames(5)} == {(64, 96)[wanted]}


def test_a_truncated_file_without_index_is_an_error(clip: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.mp4"
    short.write_bytes(clip.read_bytes()[:-2000])  # the index is at the end of an mp4
    with pytest.raises(VideoError, match=r"short\.mp4"):
        Video(short)


def test_a_cut_stream_gives_what_is_there_and_a_warning(tmp_path: Path) -> None:
    whole = tmp_path / "whole.mkv"
    noise = np.random.default_rng(0).integers(0, 256, (100, 64, 64, 3), dtype=np.uint8)
    encode(whole, iter(noise), Fraction(10), crf=20)
    data = whole.read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) // 2])
    with Video(cut) as video:
        frames = list(video.frames())
    assert 20 < len(frames) < 80
    assert any("cut short" in warning for warning in video.warnings)


def damaged(path: Path, whole: Path, start: float, end: float) -> Path:
    """The same file with a stretch of noise, from and to a share of its length."""
    data = bytearray(whole.read_bytes())
    a, b = (int(share * len(data)) for share in (start, end))
    data[a:b] = np.random.default_rng(0).bytes(b - a)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_damage_in_the_middle_costs_only_the_middle(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (200, 64, 64, 3), dtype=np.uint8)
    with av.open(str(whole), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width = stream.height = 64
        stream.pix_fmt, stream.options = "yuv420p", {"g": "10", "preset": "veryfast"}
        for rgb in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))
    path = damaged(tmp_path / f"damaged{suffix}", whole, 0.4, 0.6)
    with Video(whole) as video:
        sound = {frame.index: frame.rgb for frame in video.frames(5)}
    with Video(path) as video:
        frames = list(video.frames(5))
    assert len(sound) == 50
    assert 5 <= video.lost <= 20
    assert len(frames) + video.lost >= 48
    assert any("lost to damage" in warning for warning in video.warnings)
    assert len([frame for frame in frames if frame.time < 3.7]) >= 18
    # The picture at the edge may be half there; all others are as they were.
    strange = [f for f in frames if not any(np.array_equal(f.rgb, r) for r in sound.values())]
    assert len(strange) <= 1
    assert frames[-1].time == pytest.approx(9.8, abs=0.01)


def gif_bomb(side: int) -> bytes:
    """A GIF of a few bytes that asks for a canvas of side x side."""
    screen = struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6)
    image = b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + screen + image + b";"


def mjpeg_bomb(path: Path, side: int) -> bytes:
    """An AVI whose JPEG pictures claim to be side x side."""
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=5)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        for _ in range(5):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    at = -1
    while (at := data.find(b"\xff\xc0", at + 1)) >= 0:
        data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


@pytest.mark.parametrize("kind", ["gif", "avi"])
def test_a_picture_bomb_is_refused_before_memory_is_taken(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(gif_bomb(30000) if kind == "gif" else mjpeg_bomb(path, 30000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(VideoError), Video(path) as video:
        list(video.frames(3))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_a_gif_of_honest_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "small.gif"
    path.write_bytes(gif_bomb(100))
    with Video(path) as video:
        assert [frame.rgb.shape for frame in video.frames()] == [(100, 100, 3)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_more_pictures_than_the_limit_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"many{suffix}"
    encode(path, (np.zeros((16, 16, 3), np.uint8) for _ in range(3000)), Fraction(1000), crf=40)
    with (
        pytest.raises(VideoError, match="more than 2000 pictures"),
        Video(path, Limits(frames=2000)) as video,
    ):
        list(video.frames(1))
    with Video(path, Limits(frames=3000)) as video:
        assert len(list(video.frames(1))) == 3


def lie_about_duration(path: Path, seconds: float) -> None:
    """Another duration in the header of a Matroska file."""
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", 1000 * seconds)
    path.write_bytes(data)


def test_a_header_that_lies_about_its_length(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    encode(path, (np.zeros((16, 16, 3), np.uint8) for _ in range(30)), Fraction(10), crf=40)
    lie_about_duration(path, 100_000)
    with pytest.raises(VideoError, match="longer than 14400 s"):
        Video(path)
    lie_about_duration(path, 60)
    with Video(path) as video:
        frames = list(video.frames(10))
    assert len(frames) == 30
    assert video.lost == pytest.approx(570, abs=2)
    assert any("cut short" in warning for warning in video.warnings)


def test_pictures_over_the_limit_of_time_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.mkv"
    write_times(path, [0, 1, 2, 3, 50, 51])
    with pytest.raises(VideoError, match="longer than 10 s"):
        Video(path, Limits(duration=10))
    with Video(path) as video:
        video.limits = Limits(duration=10)  # as if the header had not said so
        with pytest.raises(VideoError, match="longer than 10 s"):
            list(video.frames(1))


def test_a_video_that_takes_too_long_is_given_up(clip: Path) -> None:
    with Video(clip, Limits(timeout=0.2)) as video:
        frames = video.frames()
        next(frames)
        time.sleep(0.2)
        with pytest.raises(VideoError, match=r"takes longer than 0\.2 s"):
            list(frames)


def test_pictures_over_the_limit_are_refused(clip: Path) -> None:
    with pytest.raises(VideoError, match="160x160 is over the limit"):
        Video(clip, Limits(pixels=100))


@pytest.fixture
def listener() -> Iterator[tuple[int, list[object]]]:
    """A port on loopback, and who has knocked."""
    knocked: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection, peer = server.accept()
                    connection.close()
                    knocked.append(peer)
                except TimeoutError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], knocked
        stop.set()
        thread.join()


@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".ffconcat", ".sdp", ".mkv"])
@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile {file}\n",
        "ffconcat version 1.0\nfile {url}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{file}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    ],
)
def test_a_file_that_points_elsewhere_is_refused(
    clip: Path, tmp_path: Path, listener: tuple[int, list[object]], text: str, suffix: str
) -> None:
    port, knocked = listener
    trap = tmp_path / f"trap{suffix}"
    trap.write_text(text.format(file=clip, url=f"http://127.0.0.1:{port}/clip.mp4"))
    with pytest.raises(VideoError, match="not a video"), Video(trap) as video:
        list(video.frames())
    assert not knocked


def test_videos_are_found_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for name in ("a.mp4", "b/c.MKV", "b/.x.mp4", ".d/e.mp4", "f.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.name for p in find_videos(tmp_path)] == ["a.mp4", "c.MKV"]


@pytest.mark.parametrize(("aspect", "width"), [(Fraction(2), 128), (Fraction(700), 64)])
def test_a_pixel_aspect_beyond_reason_is_damage(
    tmp_path: Path, aspect: Fraction, width: int
) -> None:
    """One flipped bit made pictures of 150,000 pixels, and 2 GiB, of it."""
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        sar = f"sar={aspect.numerator}/{aspect.denominator}"
        stream = container.add_stream("libx264", rate=5, options={"x264-params": sar})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with Video(path) as video:
        assert {frame.rgb.shape for frame in video.frames()} == {(48, width, 3)}


def test_a_packet_of_a_stream_that_is_not_there_is_damage(clip: Path) -> None:
    """In a damaged transport stream PyAV looks for one, and raises an IndexError."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]

        class Torn:
            def demux(self, wanted: av.VideoStream) -> Iterator[object]:
                yield from islice(container.demux(wanted), 5)
                raise IndexError("list index out of range")

        decoder = Decoder(cast(InputContainer, Torn()), stream, lambda size: None)
        seen = [picture for picture, _ in decoder.pictures()]
    assert decoder.damaged == 1
    assert None in seen
    assert any(seen)


def test_the_cpu_decodes_what_hardware_does_not(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    encode(path, (counted(k) for k in range(40)), Fraction(10), crf=10)
    with Video(path, hwaccel="cuda") as video:
        found = [(f.index, read_counter(f.rgb), f.time) for f in video.frames(3)]
    assert found == sample(path, 3)
    with pytest.raises(VideoError, match="not a video"):
        Video(Path(__file__), hwaccel="cuda")


def test_hardware_is_asked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.mp4"
    encode(path, map(counted, range(4)), Fraction(10), crf=10)
    asked, opened = [], av.open

    def fake(*args: object, hwaccel: object = None, **others: object) -> InputContainer:
        asked.append(hwaccel is not None)
        return opened(*args, **others)  # type: ignore[no-any-return, call-overload]

    monkeypatch.setattr(av, "open", fake)
    with Video(path, hwaccel="cuda") as video:
        assert len(list(video.frames())) == 4
    assert asked == [True]


def test_unknown_hardware_is_an_error() -> None:
    with pytest.raises(UsageError, match="no decoder 'abacus'"):
        on_hardware("abacus")
