"""Other runtimes than torch: the same scores from every one, and what a file of a model may be."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import TINY, MakeClip, Unmask, random_video

import unmask
from unmask import Detector
from unmask.backends import BACKENDS, Backend
from unmask.data import pt_file
from unmask.detection.export import PARITY, export
from unmask.errors import ModelError, UsageError
from unmask.face_spec import FaceSpec
from unmask.models import (
    Bundle,
    BundleConfig,
    DeepfakeNet,
    ModelConfig,
    find_model,
    load_bundle,
    save_bundle,
)
from unmask.models.bundle import GRAPH
from unmask.models.graph import Halves, save_graph
from unmask.models.runtime import open_runtime

SPEC = FaceSpec(4, 32, 0, 8, 2)
ARCHITECTURES = {
    "bigru": TINY,
    "transformer": replace(TINY, temporal="transformer", pooling="last", hidden=16),
    "map": ModelConfig(
        "tf_efficientnet_lite0", "mean", pooling="mean", head_hidden=0, map_head=True
    ),
}
OTHERS = [backend for backend in BACKENDS if backend not in ("auto", "torch")]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A model of every kind in its folder, with its ONNX file."""
    torch.manual_seed(1)
    config = ARCHITECTURES[request.param]
    net = DeepfakeNet(config)
    with torch.no_grad():  # as if trained: batch norms that do something
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                assert module.running_mean is not None
                module.running_mean.normal_(0, 0.1)
    spec = SPEC if request.param != "map" else replace(SPEC, image_size=64)
    folder = tmp_path_factory.mktemp(request.param)
    save_bundle(
        folder, Bundle(BundleConfig(request.param, config, spec), net.eval(), card="a card")
    )
    done = export(load_bundle(folder), folder / GRAPH)
    assert done.windows > 0
    assert done.lost <= PARITY
    return load_bundle(folder)


def windows_of(bundle: Bundle) -> tuple[np.ndarray, np.ndarray]:
    """Two windows of another length than at the export, one of them padded."""
    size = bundle.spec.image_size
    faces = np.random.default_rng(0).integers(0, 256, (2, 9, size, size, 3), dtype=np.uint8)
    mask = np.ones((2, 9), np.bool_)
    mask[1, 3:] = False
    return faces, mask


def test_the_file_says_what_the_network_says(bundle: Bundle) -> None:
    session = onnxruntime.InferenceSession(str(bundle.graph))
    faces, mask = windows_of(bundle)
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"faces": faces, "mask": mask}), strict=True))
    with torch.inference_mode():
        expected = bundle.net(
            torch.from_numpy(faces).permute(0, 1, 4, 2, 3), torch.from_numpy(mask)
        )
    assert found["window"] == pytest.approx(expected.window.numpy(), abs=1e-4)
    if expected.frames is not None:
        assert found["frames"][mask] == pytest.approx(expected.frames.numpy()[mask], abs=1e-4)
    if expected.maps is not None:
        assert found["maps"][mask] == pytest.approx(expected.maps.numpy(), abs=1e-3)


@pytest.mark.parametrize("backend", OTHERS)
def test_every_backend_computes_the_same(bundle: Bundle, backend: Any) -> None:
    cpu = torch.device("cpu")
    ours, other = (open_runtime(bundle, name, cpu, 2) for name in ("torch", backend))
    faces, mask = windows_of(bundle)
    flat = faces.reshape(-1, *faces.shape[2:])
    mine, theirs = ours.encode(flat, "float32"), other.encode(flat, "float32")
    scale = np.abs(mine.features).max()
    assert theirs.features / scale == pytest.approx(mine.features / scale, abs=1e-4)
    assert (theirs.maps is None) == (mine.maps is None)
    if mine.maps is not None:
        assert theirs.maps == pytest.approx(mine.maps, abs=1e-3)
    alone = np.concatenate([other.encode(face[None], "float32").features for face in flat])
    assert (alone == theirs.features).all()  # whatever company a face has
    features = mine.features.reshape(*mask.shape, -1)
    a, b = ours.judge(features, mask), other.judge(features, mask)
    assert b.window == pytest.approx(a.window, abs=1e-4)
    assert (a.frames is None) == (b.frames is None)
    if a.frames is not None and b.frames is not None:
        assert b.frames[mask] == pytest.approx(a.frames[mask], abs=1e-4)


@pytest.mark.parametrize("backend", OTHERS)
def test_every_backend_predicts_the_same(bundle: Bundle, backend: Any) -> None:
    video = random_video([9, 21], spec=bundle.spec)
    mine, theirs = (Detector(bundle, backend=name).judge(video) for name in ("torch", backend))
    assert theirs.confidence == pytest.approx(mine.confidence, abs=1e-2)
    scores = [[point.score for point in p.timeline] for p in (mine, theirs)]
    assert scores[1] == pytest.approx(scores[0], abs=2e-2)


FIRST = """
import sys, threading
import numpy as np, torch
from unmask.models import load_bundle
from unmask.models.runtime import open_runtime
runtime = open_runtime(load_bundle(sys.argv[1]), "openvino", torch.device("cpu"), 2)
together, faces = threading.Barrier(2), np.zeros((1, 32, 32, 3), np.uint8)
def begin(precision):
    together.wait()
    runtime.encode(faces, precision)
threads = [threading.Thread(target=begin, args=(p,)) for p in ("float32", runtime.precisions[0])]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_two_threads_may_begin_at_once(tiny: Path) -> None:
    # Only the first call of a process is of interest. It hung in one of some thirty.
    for _ in range(3):
        subprocess.run([sys.executable, "-c", FIRST, str(tiny)], check=True, timeout=100)


FORKS = """
import gc, multiprocessing, os, torch
from unmask.models import find_model, load_bundle
from unmask.models.runtime import open_runtime
for _ in range(6):
    open_runtime(load_bundle(find_model("small")), "openvino", torch.device("cpu"), 2)
    gc.collect()
list(torch.utils.data.DataLoader(range(8), num_workers=2))
child = os.fork()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_process_may_fork_after_a_detector_has_gone() -> None:
    subprocess.run([sys.executable, "-c", FORKS], check=True, timeout=100)


def test_the_file_is_a_whole_model(bundle: Bundle) -> None:
    assert bundle.graph is not None
    alone = load_bundle(bundle.graph)
    assert (alone.config, alone.card, alone.sha256) == (bundle.config, "a card", bundle.sha256)
    video = random_video([9], spec=bundle.spec)
    ours, theirs = Detector(bundle, backend="onnx").judge(video), Detector(alone, backend="onnx")
    assert theirs.judge(video).to_json() == ours.to_json()
    with pytest.raises(ModelError, match="use the weights"):
        save_bundle(bundle.graph.parent / "other", alone)
    with pytest.raises(UsageError, match=r"install unmask\[onnx\]"):
        Detector(alone, backend="torch")


def test_a_program_of_torch_export(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    assert export(bundle, path).lost <= PARITY
    files = {"unmask.json": ""}
    program = torch.export.load(path, extra_files=files)
    assert bundle.sha256 in files["unmask.json"]
    length = bundle.spec.sequence_length
    faces, mask = (torch.from_numpy(part[:, :length]) for part in windows_of(bundle))
    with torch.inference_mode():
        expected = bundle.net(faces.permute(0, 1, 4, 2, 3), mask).window
        assert program.module()(faces, mask)[0] == pytest.approx(expected, abs=1e-4)


def test_the_model_that_comes_along_runs_on_all(clip: Path) -> None:
    scores = {name: unmask.load_model("small", backend=name).predict(clip) for name in BACKENDS}
    for name, prediction in scores.items():
        assert prediction.confidence == pytest.approx(scores["torch"].confidence, abs=1e-2), name
    assert Detector(load_bundle(find_model("small"))).runtime.name == "openvino"


# What is no file of a model.


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_bundle(folder, Bundle(BundleConfig("tiny", TINY, SPEC), DeepfakeNet(TINY).eval()))
    save_graph(load_bundle(folder), folder / GRAPH)
    return folder


def spoilt(graph: Path) -> Iterator[tuple[str, bytes]]:
    good = graph.read_bytes()
    yield "cut", good[: len(good) // 2]
    yield "empty", b""
    yield "noise", bytes(range(256)) * 40
    model = onnx.load(graph)
    del model.metadata_props[:]
    yield "silent", model.SerializeToString()
    model = onnx.load(graph)
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    yield "outside", model.SerializeToString()
    model = onnx.load(graph)
    del model.graph.output[:]
    yield "headless", model.SerializeToString()


@pytest.mark.parametrize("kind", ["cut", "empty", "noise", "silent", "outside", "headless"])
def test_a_bad_file_is_an_error(tiny: Path, tmp_path: Path, kind: str, unmask: Unmask) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(dict(spoilt(tiny / GRAPH))[kind])
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        Detector(load_bundle(path))
    result = unmask("predict", "x.mp4", "--model", path)
    assert result.returncode == 1
    assert "bad.onnx" in result.stderr


def test_a_file_of_other_weights_is_not_used(tiny: Path, tmp_path: Path) -> None:
    net = DeepfakeNet(TINY).eval()
    save_bundle(tmp_path, Bundle(BundleConfig("other", TINY, SPEC), net))
    shutil.copy(tiny / GRAPH, tmp_path / GRAPH)
    with pytest.raises(ModelError, match="other weights"):
        Detector(load_bundle(tmp_path), backend="onnx")
    save_bundle(tmp_path, Bundle(BundleConfig("other", TINY, SPEC), net))
    assert not (tmp_path / GRAPH).exists()  # new weights take the old file away


def test_a_backend_that_is_not_there(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny, tmp_path / "bare")
    (tmp_path / "bare" / GRAPH).unlink()
    bare = load_bundle(tmp_path / "bare")
    assert Detector(bare).runtime.name == "torch"
    with pytest.raises(UsageError, match="`unmask export` makes it"):
        Detector(bare, backend="onnx")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert Detector(load_bundle(tiny)).runtime.name == "torch"
    with pytest.raises(UsageError, match=r"pip install 'unmask\[openvino\]'"):
        Detector(load_bundle(tiny), backend="openvino")


# The command.


def test_export_writes_beside_the_weights(tiny: Path, tmp_path: Path, unmask: Unmask) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    (folder / GRAPH).unlink()
    result = unmask("export", folder)
    assert result.returncode == 0
    assert "no probability is more than" in result.stdout
    assert Detector(load_bundle(folder)).runtime.name == "openvino"


def test_what_is_off_is_not_kept(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unmask.detection.export.PARITY", -1.0)
    with pytest.raises(ModelError, match="not kept"):
        export(load_bundle(tiny), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_int8_is_smaller_and_says_what_it_lost(tiny: Path, tmp_path: Path, unmask: Unmask) -> None:
    faces = tmp_path / "faces.pt"
    pt_file.write(faces, random_video([20], spec=SPEC))
    result = unmask("export", tiny, "-o", tmp_path / "m.onnx", "--int8", "--faces", faces)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "m.onnx").stat().st_size < (tiny / GRAPH).stat().st_size / 2
    lost = float(result.stdout.split("more than ")[1].split()[0])
    video = random_video([20], spec=SPEC)
    ours = Detector(load_bundle(tiny), backend="torch").judge(video)
    theirs = Detector(load_bundle(tmp_path / "m.onnx"), backend="onnx").judge(video)
    off = max(abs(a.score - b.score) for a, b in zip(ours.windows, theirs.windows, strict=True))
    assert off <= lost + 1e-2  # scores of windows are averages; torch may run in bfloat16


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "m.pb"], "exported to .onnx"),
        (["-o", "m.pt2", "--int8"], "exported to .onnx"),
        (["-o", "m.onnx", "--int8"], "--int8 needs --faces"),
    ],
)
def test_wrong_usage(tiny: Path, unmask: Unmask, arguments: list[str], says: str) -> None:
    result = unmask("export", tiny, *arguments)
    assert result.returncode == 2
    assert says in result.stderr


def test_the_example_needs_nothing_of_ours(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=4)
    model = find_model("small")
    box = Detector(load_bundle(model)).score(clip).tracks[0].boxes[0]
    script = Path(__file__).parents[1] / "examples" / "score_onnx.py"
    code = (
        f"import sys; sys.modules['torch'] = sys.modules['unmask'] = None; sys.argv[0] = '{script}'"
    )
    code += f"; exec(compile(open('{script}').read(), '{script}', 'exec'))"
    command = [
        sys.executable,
        "-c",
        code,
        str(model / GRAPH),
        str(clip),
        *(str(int(v)) for v in box),
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    score = float(said.rsplit(maxsplit=1)[1])
    confidence = unmask.predict(clip).confidence
    assert confidence is not None
    assert score == pytest.approx(confidence, abs=0.1)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_graph_that_a_library_cannot_run_is_an_error_of_the_model(
    bundle: Bundle, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged file may be a valid ONNX file of a graph that makes no sense."""
    halves = Halves(b"no graph", b"none either")
    monkeypatch.setattr(Halves, "read", classmethod(lambda cls, *_: halves))
    monkeypatch.setattr("unmask.models.runtime._lacks", lambda *_: None)
    broken = replace(bundle, graph=Path("model.onnx"))
    with pytest.raises(ModelError, match=f"cannot run in {backend}"):
        open_runtime(broken, backend, torch.device("cpu"), 1)
