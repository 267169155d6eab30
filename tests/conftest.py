"""What the tests share: a photograph filmed by a moving camera, trees of it, and the command."""

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from unmask.cli import main
from unmask.corpora import VideoRecord, write_table
from unmask.data import pt_file
from unmask.data.packing import Packer
from unmask.data.preprocessor import VideoPreprocessor
from unmask.data.pt_file import ProcessedVideo
from unmask.data.tree import preprocess_tree
from unmask.engine import Engine
from unmask.face_spec import FaceSpec
from unmask.faces import FaceTrack
from unmask.models import Bundle, BundleConfig, Decision, DeepfakeNet, ModelConfig
from unmask.models.bundle import save_bundle
from unmask.video.encoder import encode

# Each of pytest-xdist's workers takes its share of the cores, and so do the processes it starts.
CORES = max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
os.environ["OMP_NUM_THREADS"] = str(CORES)  # a worker would have its parent's otherwise
torch.set_num_threads(CORES)
threadpool_limits(CORES)
cv2.setNumThreads(CORES)

Image = NDArray[np.uint8]

TINY = ModelConfig(
    backbone="test_resnet", hidden=8, layers=2, pooling="attention", head_hidden=8, frame_head=True
)


@pytest.fixture(scope="session")
def photo() -> Image:
    """A face, (512, 512, 3) uint8 RGB."""
    return np.ascontiguousarray(skimage.data.astronaut(), dtype=np.uint8)


def filmed(photo: Image, count: int, side: int = 160, start: int = 0) -> Iterator[Image]:
    """The face from a slowly moving camera."""
    for k in range(start, start + count):
        x, y = int(110 + 12 * np.sin(k / 7)), int(10 + 8 * np.cos(k / 5))
        view = photo[y : y + 240, x : x + 240]
        yield np.asarray(cv2.resize(view, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


class MakeClip(Protocol):
    def __call__(
        self, path: Path, seconds: float = ..., fps: int = ..., start: int = ...
    ) -> Path: ...


@pytest.fixture(scope="session")
def make_clip(photo: Image) -> MakeClip:
    def make(path: Path, seconds: float = 3, fps: int = 10, start: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        encode(path, filmed(photo, round(seconds * fps), start=start), Fraction(fps), crf=18)
        return path

    return make


@pytest.fixture
def clip(tmp_path: Path, make_clip: MakeClip) -> Path:
    return make_clip(tmp_path / "clip.mp4")


@pytest.fixture(scope="session")
def preprocessor() -> VideoPreprocessor:
    """Small and quick: 8 faces a window, 2 shared, 32 px."""
    return VideoPreprocessor(8, 4, 32, overlap=2, min_face_size=40)


@pytest.fixture(scope="session")
def processed(
    tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip, preprocessor: VideoPreprocessor
) -> Path:
    """A preprocessed tree of every split and class; the fakes are manipulated in their middle."""
    root = tmp_path_factory.mktemp("tree")
    records = []
    for split, count in (("train", 3), ("val", 1), ("test", 1)):
        for label, category in ((0, "Celeb-real"), (1, "Celeb-synthesis")):
            for number in range(count):
                name = f"id{number}_id{number}_0000" if label else f"id{number}_0000"
                path = root / "split" / split / category / f"{name}.mp4"
                make_clip(path, 4, start=50 * number + 7 * label)
                segments = ((1.0, 2.0),) if label else ()
                source = f"id{number}_0000"
                record = VideoRecord(path, label, category, (), source, None, split, segments)
                records.append(record)
    write_table(root / "split" / "videos.jsonl", records)
    report = preprocess_tree(root / "split", root / "processed", preprocessor)
    assert len(report.done) == 10
    return root / "processed"


def pack(tree: Path, size: int = 200_000) -> Path:
    """Put the `.pt` files of a tree into shards."""
    outputs = sorted(tree.rglob("*.pt"))
    packer = Packer(tree, outputs, size, pt_file.read(outputs[0]).spec)
    for out in outputs:
        packer.settle(out)
    packer.finish()
    assert not list(tree.rglob("*.pt"))
    return tree


class Stored(Protocol):
    def __call__(self, tree: Path) -> Path: ...


@pytest.fixture(params=["files", "shards"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """A tree as it is, or a copy of it in shards."""

    def keep(tree: Path) -> Path:
        if request.param == "files":
            return tree
        copy = tmp_path_factory.mktemp("shards") / "tree"
        return pack(Path(shutil.copytree(tree, copy)))

    return keep


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """A tiny untrained model that fits `preprocessor`."""
    torch.manual_seed(0)
    net = DeepfakeNet(TINY).eval()
    return Bundle(BundleConfig("tiny", TINY, FaceSpec(4, 32, 0, 8, 2), Decision()), net)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Path:
    """The folder of `bundle`."""
    folder = tmp_path_factory.mktemp("model")
    save_bundle(folder, bundle)
    return folder


@pytest.fixture(autouse=True)
def own_share_of_the_cores() -> None:
    """Whatever the tests before have left: results to the last bit hang on it."""
    torch.set_num_threads(CORES)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """For comparisons whose bounds hold for the order in which two threads sum."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(CORES)


@dataclass(frozen=True)
class Done:
    """What a command leaves, as of a process."""

    returncode: int
    stdout: str
    stderr: str


class Unmask(Protocol):
    def __call__(self, *arguments: object) -> Done: ...


@pytest.fixture
def logger_as_it_was() -> Iterator[None]:
    """The command configures logging for its own process, which here is everybody's."""
    logger = logging.getLogger("unmask")
    handlers, level = logger.handlers, logger.level
    yield
    logger.handlers, logger.level = handlers, level


@pytest.fixture
def unmask(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, logger_as_it_was: None
) -> Unmask:
    """The command as its entry points call it, less the seconds that a new process imports.

    Its streams are the file descriptors: what libraries and worker processes write counts.
    """

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["unmask", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, said.out, said.err)

    return run


def random_video(counts: list[int], seed: int = 0, spec: FaceSpec | None = None) -> ProcessedVideo:
    """Faces of noise: one track for each count."""
    rng = np.random.default_rng(seed)
    spec = spec or FaceSpec(4, 32, 0, 8, 2)
    size = spec.image_size
    tracks = tuple(
        FaceTrack(
            number,
            np.arange(count) / spec.target_fps,
            rng.uniform(0, 100, (count, 4)).astype(np.float32),
            rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8),
        )
        for number, count in enumerate(counts)
    )
    longest = max(counts, default=0)
    return ProcessedVideo("noise.mp4", tracks, longest, spec, longest / spec.target_fps)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One cluster for all tests of a process: to start one takes seconds."""
    ray = pytest.importorskip("ray")
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


HERE, LOCAL, RAY = Engine(), Engine(2), Engine(2, "ray")


@pytest.fixture(params=["here", "local", "ray"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
    return {"here": HERE, "local": LOCAL, "ray": RAY}[request.param]


@pytest.fixture(params=["local", "ray"])
def processes(request: pytest.FixtureRequest) -> Engine:
    """Both engines that have workers."""
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
    return {"local": LOCAL, "ray": RAY}[request.param]
