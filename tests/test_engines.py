"""Every verb that takes an engine makes the same of the same files, wherever it runs."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TINY, MakeClip, Unmask

from unmask.api import evaluate
from unmask.data.preprocessor import VideoPreprocessor
from unmask.data.tree import preprocess_tree
from unmask.detection.merge import merge
from unmask.engine import Engine, Shard
from unmask.errors import FileError, UsageError
from unmask.models import Bundle, DeepfakeNet, save_bundle
from unmask.synth import make_fakes
from unmask.training.feature_cache import FeatureCache

RAY = ("--engine", "ray", "--workers", "2")
ENGINES = [(), ("--workers", "2"), RAY]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Path:
    """Five videos of one face, and one that is none."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(5):
        make_clip(folder / f"{number}.mp4", 2, start=40 * number)
    (folder / "broken.mp4").write_bytes(b"not a video")
    return folder


def content(folder: Path, pattern: str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob(pattern)}


def test_preprocess(
    engine: Engine, clips: Path, preprocessor: VideoPreprocessor, tmp_path: Path
) -> None:
    seen: list[tuple[int, int, int]] = []
    report = preprocess_tree(
        clips, tmp_path / "out", preprocessor, engine, lambda *p: seen.append(p)
    )
    assert [Path(str(e).split(":")[0]).name for e in report.failed] == ["broken.mp4"]
    assert seen[-1] == (6, 6, 1)
    preprocess_tree(clips, tmp_path / "here", preprocessor)
    found = content(tmp_path / "out", "*.pt")
    assert len(found) == 5
    assert found == content(tmp_path / "here", "*.pt")


def test_shards_of_preprocess_make_the_whole(
    clips: Path, preprocessor: VideoPreprocessor, tmp_path: Path
) -> None:
    for number in (3, 1, 2):
        report = preprocess_tree(clips, tmp_path / "parts", preprocessor, shard=Shard(number, 3))
        assert len(report.done) + len(report.failed) == 2
        assert not report.skipped
    assert len(content(tmp_path / "parts", "*.pt")) == 5


@pytest.mark.slow
def test_synth(clips: Path, ray_cluster: None, tmp_path: Path) -> None:
    reals = tmp_path / "reals"
    reals.mkdir()
    for number in range(2):
        (reals / f"{number}.mp4").symlink_to(clips / f"{number}.mp4")
    for name, engine in (("here", Engine()), ("ray", Engine(2, "ray"))):
        assert len(make_fakes(reals, tmp_path / name, engine=engine).fakes) == 2
    for number in (2, 1):
        part = make_fakes(reals, tmp_path / "parts", shard=Shard(number, 2))
    assert len(part.fakes) == 2
    here = content(tmp_path / "here", "*.[mnj]*")
    assert len(here) >= 8
    for name in ("ray", "parts"):
        assert content(tmp_path / name, "*.[mnj]*") == here


@pytest.mark.parametrize("form", ["json", "csv"])
def test_predict(
    unmask: Unmask, ray_cluster: None, clips: Path, model: Path, tmp_path: Path, form: str
) -> None:
    """On all engines, and of three shards."""
    made = []
    for number, engine in enumerate(ENGINES):
        out = tmp_path / f"{number}.{form}"
        done = unmask("predict", clips, "--model", model, "--format", form, "-o", out, *engine)
        assert done.returncode == 1, done.stderr
        assert done.stderr.endswith("1 failed\n")
        made.append(out.read_bytes())
    assert made[0].count(b"broken.mp4") >= 1
    assert made[1:] == made[:1] * 2
    if form == "json":
        return
    parts = [tmp_path / f"part{number}.{form}" for number in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        shard = ("--shard", f"{number}/3")
        unmask("predict", clips, "--model", model, "--format", form, "-o", part, *shard)
    done = unmask("merge", *parts, "-o", tmp_path / f"whole.{form}")
    assert done.stdout.endswith("6 videos of 3 parts\n")
    assert (tmp_path / f"whole.{form}").read_bytes() == made[0]


@pytest.mark.slow
def test_evaluate_under_corruptions(
    unmask: Unmask, ray_cluster: None, processed: Path, model: Path, tmp_path: Path
) -> None:
    """On all engines; and a run after two shards takes what they made."""
    videos = processed.parent / "split"
    how = ("evaluate", videos, "--model", model, "--corrupt", "brightness:5,jpeg:1")
    made = []
    for number, engine in enumerate(ENGINES):
        out = tmp_path / str(number)
        done = unmask(*how, "--out", out, *engine)
        assert done.returncode == 0, done.stderr
        made.append(content(out / "corrupted", "*.json"))
    assert len(made[0]) == 2
    assert made[1:] == made[:1] * 2
    out = tmp_path / "parts"
    for number in (1, 2):
        done = unmask(*how, "--out", out, "--shard", f"{number}/2")
        assert done.returncode == 0, done.stderr
    assert content(out / "corrupted", "*.json") == made[0]
    assert not (out / "report.json").exists()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("corrupted/*.json")}
    assert unmask(*how, "--out", out).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (out / "report.json").exists()
    assert unmask("evaluate", videos, "--model", model, "--shard", "1/2").returncode == 2
    damaged = tmp_path / "damaged"
    shutil.copytree(videos / "test", damaged / "test")
    next(damaged.rglob("*.mp4")).write_bytes(b"not a video")
    again = ("evaluate", damaged, *how[2:], "--out", tmp_path / "failed", "--shard")
    assert [unmask(*again, part).returncode for part in ("1/2", "2/2")] == [1, 1]


def test_features(engine: Engine, processed: Path, bundle: Bundle, tmp_path: Path) -> None:
    net = bundle.net
    paths = sorted(processed.glob("train/*/*.pt"))
    for name, where in (("one", Engine()), ("other", engine)):
        torch.set_num_threads(1)
        cache = FeatureCache(tmp_path / name, net, "float32", mirrored=True)
        cache.fill(paths, net, "float32", where)
    found = content(tmp_path / "other", "*.safetensors")
    found = {name: made for name, made in found.items() if "net" not in name}
    assert len(found) == len(paths)
    assert found == content(tmp_path / "one", "*.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "ray"])
def test_a_killed_driver_loses_nothing_and_does_nothing_twice(
    kind: str, clips: Path, model: Path, tmp_path: Path
) -> None:
    """At a moment when something is finished; of killed workers test_engine.py speaks."""
    out = tmp_path / "out.jsonl"
    command = [
        sys.executable, "-m", "unmask", "predict", str(clips), "--model", str(model),
        "--format", "jsonl", "-o", str(out), "--engine", kind, "--workers", "2", "--resume",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    while process.poll() is None and not (out.exists() and out.read_bytes().count(b"\n")):
        time.sleep(0.01)
    process.kill()
    subprocess.run(["pkill", "-9", "-s", str(process.pid)])  # Ray leaves two processes of its own
    process.communicate()
    before = out.read_bytes()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert out.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert sorted(Path(row["video"]).name for row in rows) == sorted(
        path.name for path in clips.iterdir()
    )
    assert [row["verdict"] for row in rows].count("failed") == 1


def test_merge_refuses_what_does_not_belong_together(tmp_path: Path) -> None:
    def part(name: str, *rows: dict[str, object]) -> Path:
        lines = [json.dumps({"model": {"sha256": "1"}, **row}) for row in rows]
        (tmp_path / name).write_text("".join(line + "\n" for line in lines))
        return tmp_path / name

    a = part("a.jsonl", {"key": "1"}, {"key": "3"}, {"key": "4"})
    b = part("b.jsonl", {"key": "2"}, {"key": "1"})
    out = tmp_path / "out.jsonl"
    assert merge([a, b], out) == 4
    assert [json.loads(line)["key"] for line in out.read_text().splitlines()] == list("1234")
    c = part("c.jsonl", {"key": "1", "verdict": "fake"})
    with pytest.raises(FileError, match="something else of a video"):
        merge([a, c], out)
    with pytest.raises(FileError, match="another model"):
        merge([a, part("d.jsonl", {"key": "9", "model": {"sha256": "2"}})], out)
    (tmp_path / "cut.jsonl").write_text(a.read_text()[:-9])
    for broken in (tmp_path / "cut.jsonl", tmp_path / "gone.jsonl"):
        with pytest.raises(FileError, match=broken.name):
            merge([a, broken], out)
    with pytest.raises(UsageError, match="one kind"):
        merge([a, tmp_path / "x.csv"], out)
    assert len(out.read_text().splitlines()) == 4


def test_too_long_for_a_terminal_that_is_none(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unmask.cli import progress

    clock = iter([0.0, 10.0, 30.0, 110.0, 115.0, 3610.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    caplog.set_level("INFO", "unmask")
    move = progress.Meter("predict", quiet=False)
    for finished in (100, 110, 120, 130, 820):
        move(finished, 1000, finished // 100)
    assert caplog.messages == [
        "predict: 120 of 1,000 done, 1 failed, 655 an hour, 1:20 h left",
        "predict: 820 of 1,000 done, 8 failed, 718 an hour, 0:15 h left",
    ]


def test_a_folder_may_hold_another_model_by_the_next_evaluation(
    processed: Path, bundle: Bundle, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    other = replace(bundle, network=DeepfakeNet(TINY).eval())
    scores = []
    for one in (bundle, other):
        save_bundle(tmp_path / "model", one)
        evaluate(processed, tmp_path / "model", out=tmp_path / "out")
        scores.append((tmp_path / "out" / "test_detailed_predictions.json").read_bytes())
    assert scores[0] != scores[1]
