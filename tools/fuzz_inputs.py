"""The files that tools/fuzz.py breaks: one of every kind that people bring.

Of the real clips the smallest of every container, codec, profile and pixel format; the kinds that
they lack are made of one of them, as are `.pt` files and models.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from hashlib import sha256
from itertools import islice
from pathlib import Path
from shutil import copy, rmtree

import av
import numpy as np
from av.stream import Disposition

LARGE, SECONDS = 400_000, 2.0  # bytes of a clip that is cut, and to what
FRAMES, RATE = 40, 25  # of what is made
BUNDLE = "bundle"  # folder of the files of one model
_X265 = "log-level=none:pools=none:frame-threads=1"


@dataclass(frozen=True)
class Recipe:
    """A kind of file to make: its name, codec, pixel format, and options of encoder and muxer."""

    name: str
    codec: str
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    muxer: dict[str, str] = field(default_factory=dict)
    sound: str | None = None
    size: tuple[int, int] | None = None
    variable: bool = False  # frame rate
    turned: bool = False  # as a phone's
    container: str | None = None


RECIPES = (
    Recipe("b-frames.mp4", "libx264", options={"bf": "3"}, sound="aac"),
    Recipe("ten-bit.mp4", "libx264", "yuv420p10le"),
    Recipe("faststart.mp4", "libx264", muxer={"movflags": "faststart"}, sound="aac"),
    Recipe(
        "fragmented.mp4",
        "libx264",
        options={"g": "10"},
        muxer={"movflags": "frag_keyframe+empty_moov+default_base_moof"},
        sound="aac",
    ),
    Recipe("variable.mp4", "libx264", variable=True),
    Recipe("turned.mp4", "libx264", turned=True),
    Recipe("interlaced.mp4", "libx264", options={"x264-params": "tff=1"}),
    Recipe("hevc-ten-bit.mp4", "libx265", "yuv420p10le", {"x265-params": _X265}),
    Recipe("av1.mp4", "libsvtav1", options={"preset": "10", "svtav1-params": "lp=1"}),
    Recipe("h264.mov", "libx264", options={"bf": "3"}, sound="pcm_s16le"),
    Recipe("prores.mov", "prores_ks", "yuv422p10le"),
    Recipe("h263.3gp", "h263", size=(176, 144)),
    Recipe("h264.m4v", "libx264", container="mp4"),
    Recipe("hevc.mkv", "libx265", options={"x265-params": _X265}, sound="libopus"),
    Recipe("ffv1.mkv", "ffv1", size=(96, 96)),
    Recipe("variable.mkv", "libx264", variable=True),
    Recipe("vp8.webm", "libvpx", options={"deadline": "realtime"}, sound="libopus"),
    Recipe(
        "av1-ten-bit.webm",
        "libsvtav1",
        "yuv420p10le",
        options={"preset": "10", "svtav1-params": "lp=1"},
    ),
    Recipe("mjpeg.avi", "mjpeg", "yuvj420p", sound="pcm_s16le"),
    Recipe("h264.avi", "libx264", sound="libmp3lame"),
    Recipe("mpeg2.mpg", "mpeg2video", options={"bf": "2"}, sound="mp2"),
    Recipe("h264.ts", "libx264", options={"bf": "3"}, sound="aac"),
    Recipe("interlaced.ts", "mpeg2video", options={"flags": "+ilme+ildct"}, sound="mp2"),
    Recipe("h264.m2ts", "libx264", muxer={"mpegts_m2ts_mode": "1"}, sound="ac3"),
    Recipe("h264.flv", "libx264", sound="aac"),
    Recipe("flv1.flv", "flv"),
    Recipe("wmv2.wmv", "wmv2"),
    Recipe("vp8.ogv", "libvpx", options={"deadline": "realtime"}),
    Recipe("gif.gif", "gif", "rgb8", size=(160, 160)),
    Recipe("mpeg2.mxf", "mpeg2video"),
    Recipe("raw.h264", "libx264"),
)


def prepare(clips: Path, folder: Path) -> list[Path]:
    """The inputs, sorted; made if `folder` does not hold them all yet."""
    done = folder / "done.json"
    if not done.is_file():
        if folder.exists():
            rmtree(folder)
        folder.mkdir(parents=True)
        real = pick(clips)
        for number, clip in enumerate(real):
            target = folder / f"real-{number:02}{clip.suffix}"
            if clip.stat().st_size > LARGE:
                cut(clip, target)
            else:
                copy(clip, target)
        pictures = list(islice(show(real[0]), FRAMES))
        for recipe in RECIPES:
            encode(folder / recipe.name, recipe, pictures)
        make_faces(real[0], folder)
        make_models(folder)
        done.write_text(json.dumps({"real": [clip.name for clip in real]}, indent=1))
    files = (path for path in folder.rglob("*") if path.is_file() and path != done)
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def checksum(inputs: list[Path]) -> str:
    """One SHA-256 of names and contents."""
    lines = (f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in inputs)
    return sha256("".join(lines).encode()).hexdigest()


def pick(folder: Path) -> list[Path]:
    """The smallest clip of every suffix, codec, profile and pixel format, the smallest first."""
    from unmask.video.reader import find_videos

    found: dict[tuple[str | None, ...], Path] = {}
    for path in sorted(find_videos(folder), key=lambda path: path.stat().st_size):
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            kind = (path.suffix, context.name, context.profile, context.pix_fmt)
        found.setdefault(kind, path)
    return list(found.values())


def cut(source: Path, target: Path) -> None:
    """The first seconds of a clip, not encoded again."""
    with (
        av.open(str(source)) as before,
        av.open(str(target), "w", options={"fflags": "+bitexact"}) as after,
    ):
        moving = [s for s in before.streams.video if not s.disposition & Disposition.attached_pic]
        streams = [*moving[:1], *before.streams.audio[:1]]
        copies = {s.index: after.add_stream_from_template(s) for s in streams}
        for packet in before.demux(streams):
            if packet.dts is not None and packet.dts * packet.time_base < SECONDS:
                packet.stream = copies[packet.stream_index]
                after.mux(packet)


def show(clip: Path) -> Iterator[np.ndarray]:
    """The pictures of a clip."""
    from unmask.video.reader import Video

    with Video(clip) as video:
        for frame in video.frames():
            yield frame.rgb


def encode(path: Path, recipe: Recipe, pictures: list[np.ndarray]) -> None:
    """Pictures -> a file of this kind, the same every time."""
    muxer = {"fflags": "+bitexact", **recipe.muxer}
    with av.open(str(path), "w", format=recipe.container, options=muxer) as container:
        stream = container.add_stream(recipe.codec, rate=RATE)
        assert isinstance(stream, av.VideoStream)
        height, width = pictures[0].shape[:2]
        stream.width, stream.height = recipe.size or (width, height)
        stream.pix_fmt = recipe.pix_fmt
        stream.options = {"threads": "1", "flags": "+bitexact", **recipe.options}
        if recipe.codec == "libx264":
            stream.options = {**stream.options, "preset": "veryfast", "mbtree": "0"}
        sound = container.add_stream(recipe.sound, rate=48000) if recipe.sound else None
        for number, rgb in enumerate(pictures):
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            picture = picture.reformat(stream.width, stream.height, recipe.pix_fmt)
            picture.pts = number + (number // 5) ** 2 if recipe.variable else number
            picture.time_base = Fraction(1, RATE)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if isinstance(sound, av.AudioStream):
            add_tone(container, sound)
    if recipe.turned:
        turn(path)


def add_tone(container: av.container.OutputContainer, stream: av.AudioStream) -> None:
    """As long as the pictures."""
    seconds = np.arange(48000 * FRAMES // RATE) / 48000
    wave = (8000 * np.sin(2 * np.pi * 440 * seconds)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(wave.repeat(2)[None], format="s16", layout="stereo")
    frame.sample_rate, frame.pts = 48000, 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def turn(path: Path) -> None:
    """Write a quarter turn into the track header (ISO 14496-12)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def make_faces(clip: Path, folder: Path) -> None:
    """`.pt` files: windows at even and at uneven distances, and the design document's form."""
    import torch

    from unmask.data.preprocessor import VideoPreprocessor

    for name, length, overlap in (("even.pt", 6, 0), ("uneven.pt", 8, 2)):
        preprocessor = VideoPreprocessor(length, 3, 16, overlap=overlap)
        preprocessor.save_video(clip, folder / name)
    content = torch.load(folder / "even.pt", weights_only=True)
    keys = ("timestamps", "num_windows", "sequence_length", "target_fps", "image_size")
    document = {key: content[key] for key in keys}
    document["windows"] = (content["windows"].float() - 127.5) / 128
    torch.save(document, folder / "document.pt")


def make_models(folder: Path) -> None:
    """A small model as a bundle and as a checkpoint, and the one that comes along as ONNX."""
    import torch

    from unmask.models import Bundle, ModelConfig, save_bundle
    from unmask.models.bundle import BundleConfig
    from unmask.models.network import DeepfakeNet
    from unmask.models.registry import find_model

    torch.manual_seed(0)
    model = ModelConfig("test_efficientnet", hidden=16, layers=1, head_hidden=8)
    bundle = Bundle(BundleConfig("tiny", model), DeepfakeNet(model).eval())
    save_bundle(folder / BUNDLE, bundle, half=True)
    shipped = find_model("small")
    copy(shipped / "calibration.json", folder / BUNDLE)
    copy(shipped / "model.onnx", folder / "small.onnx")
    state = {"model_state_dict": bundle.net.state_dict(), "config": asdict(bundle.config)}
    torch.save(state, folder / "tiny.pth")
