"""Being killed, many processes, caches and rates: training as a lab does it."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CORES, TINY, Stored, random_video
from test_train import SETTINGS, config, weights

from unmask.data import pt_file
from unmask.errors import StoreError, UsageError
from unmask.models import DeepfakeNet
from unmask.training.checkpoints import Epoch
from unmask.training.config import TrainConfig
from unmask.training.dataset import DeepfakeWindowDataset
from unmask.training.distributed import Group
from unmask.training.dry_run import dry_run
from unmask.training.feature_cache import FeatureCache
from unmask.training.learner import Learner
from unmask.training.loop import is_finished, train
from unmask.training.run import Progress, Run
from unmask.training.signals import StoppedError

ALONE = Group(0, 1, torch.device("cpu"))
LAB = {
    "schedule": "cosine", "warmup": 0.5, "clip_norm": 1.0, "ema": 0.9, "accumulate": 2,
    "batch_size": 2, "augment": "strong", "weight_decay": 0.01, "balance": "sampling",
    "synth": "self-blending,face swap",
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(processed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run with everything switched on."""
    out = tmp_path_factory.mktemp("lab") / "out"
    torch.set_num_threads(CORES)
    train(processed, out, config(**LAB))
    return out


def same(one: Path, other: Path, epoch: int = 3) -> bool:
    a, b = (weights(folder / f"model_epoch_{epoch}.pth") for folder in (one, other))
    histories = [(folder / "history.jsonl").read_text() for folder in (one, other)]
    return histories[0] == histories[1] and all(torch.equal(a[key], b[key]) for key in a)


def history(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


def command(data: Path, out: Path, **changes: Any) -> list[str]:
    values = {**vars(replace(SETTINGS, **changes)), **vars(TINY)}
    settings = [part for k, v in values.items() for part in ("--set", f"{k}={v}")]
    return ["-m", "unmask", "train", str(data), "--out", str(out), *settings]


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.3, 1.0])
def test_killed_and_resumed_is_as_if_never_interrupted(
    lab: Path, processed: Path, tmp_path: Path, after: float
) -> None:
    """SIGKILL at two moments of a run that saves after every step."""
    options = {**LAB, "save_minutes": 0.0}
    process = subprocess.Popen([sys.executable, *command(processed, tmp_path, **options)])
    while not list(tmp_path.glob("*.pth")):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(after)
    process.kill()
    process.wait()
    train(processed, tmp_path, config(**options), resume=True)
    assert same(lab, tmp_path)
    assert not list(tmp_path.glob("unfinished*"))


def test_sigterm_finishes_the_step_and_saves(
    lab: Path, processed: Path, stored: Stored, tmp_path: Path
) -> None:
    data = stored(processed)

    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.windows) == (2, 6):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError, match="--resume") as caught:
        train(data, tmp_path, config(**LAB), on_step=stop)
    assert caught.value.exit_code == 128 + signal.SIGTERM
    assert (tmp_path / "unfinished_epoch_2.pth").exists()
    seen: list[tuple[int, int]] = []
    train(data, tmp_path, config(**LAB), resume=True,
          on_step=lambda p: seen.append((p.epoch, p.windows)))  # fmt: skip
    assert seen[0] == (2, 10)  # after 6 windows it was told, after 8 the step was whole
    assert same(lab, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_of_a_run_stops_it_cleanly(
    processed: Path, tmp_path: Path, number: int
) -> None:
    arguments = command(processed, tmp_path, epochs=1000, workers=2, keep=1)
    process = subprocess.Popen(
        [sys.executable, *arguments], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob("model_epoch_*.pth")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.endswith("unmask: stopped and saved; --resume goes on from here\n")
    assert "Traceback" not in said


class TestAnotherEpochThanTheOneThatWasBegun:
    """Data or processes that have changed while an epoch was unfinished."""

    @staticmethod
    def stopped(tree: Path, out: Path, epoch: int) -> None:
        def stop(progress: Progress) -> None:
            if (progress.epoch, progress.windows) == (epoch, 6):
                os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(StoppedError):
            train(tree, out, config(**LAB), on_step=stop)
        assert (out / f"unfinished_epoch_{epoch}.pth").exists()

    @staticmethod
    def resumed(tree: Path, out: Path) -> Progress:
        seen: list[Progress] = []
        train(tree, out, config(**LAB), resume=True, on_step=seen.append)
        return seen[0]

    @pytest.mark.parametrize("epoch", [1, 2])
    def test_it_begins_again_and_says_so(
        self, processed: Path, tmp_path: Path, epoch: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        tree, out = tmp_path / "tree", tmp_path / "out"
        shutil.copytree(processed, tree)
        self.stopped(tree, out, epoch)
        next((tree / "train" / "Celeb-real").glob("*.pt")).unlink()
        first = self.resumed(tree, out)
        assert (first.epoch, first.batch, first.windows) == (epoch, 1, 2)
        assert f"epoch {epoch} BEGINS AGAIN: training windows: " in caplog.text
        assert len(history(out)) == 3
        assert not list(out.glob("unfinished*"))

    def test_other_windows_in_the_same_number_are_seen(
        self, processed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        tree, out = tmp_path / "tree", tmp_path / "out"
        shutil.copytree(processed, tree)
        self.stopped(tree, out, 1)
        path = next((tree / "train" / "Celeb-real").glob("*.pt"))
        path.rename(path.with_name("another.pt"))
        assert self.resumed(tree, out).batch == 1
        assert "BEGINS AGAIN: other training windows" in caplog.text

    def test_a_tree_may_move(
        self, lab: Path, processed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        tree, out = tmp_path / "tree", tmp_path / "out"
        shutil.copytree(processed, tree)
        self.stopped(tree, out, 2)
        assert self.resumed(processed, out).batch > 1
        assert "AGAIN" not in caplog.text

    def test_other_processes_begin_the_epoch_again(
        self, lab: Path, processed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Begun by two, gone on with by one: the numbers are those of one from there on."""
        self.stopped(processed, tmp_path, 2)
        path = tmp_path / "unfinished_epoch_2.pth"
        state = torch.load(path, weights_only=True)
        state["position"]["contents"]["processes"] = 2
        torch.save(state, path)
        assert self.resumed(processed, tmp_path).batch == 1
        assert "epoch 2 BEGINS AGAIN: processes: 1, not 2" in caplog.text
        assert same(lab, tmp_path)

    def test_between_epochs_it_goes_on_and_the_rate_follows_the_new_length(
        self, processed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        tree, out = tmp_path / "tree", tmp_path / "out"
        shutil.copytree(processed, tree)

        def stop(progress: Progress) -> None:
            if progress.epoch == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(tree, out, config(**LAB), on_step=stop)
        for folder in ("Celeb-real", "Celeb-synthesis"):
            sorted((tree / "train" / folder).glob("*.pt"))[0].unlink()
        first = self.resumed(tree, out)
        assert (first.epoch, first.batch) == (2, 1)
        assert "from epoch 2 on, training windows: " in caplog.text
        assert [row["epoch"] for row in history(out)] == [1, 2, 3]
        assert history(out)[-1]["lr"] == pytest.approx(0)  # the cosine has reached its end


def test_only_the_last_checkpoints_are_kept(lab: Path, processed: Path, tmp_path: Path) -> None:
    train(processed, tmp_path, config(**LAB, keep=2))
    assert sorted(p.name for p in tmp_path.glob("model_epoch_*")) == [
        "model_epoch_2.pth", "model_epoch_3.pth",
    ]  # fmt: skip
    assert same(lab, tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
def test_two_processes_learn_what_one_learns_with_twice_the_batch(
    processed: Path, tmp_path: Path
) -> None:
    # No batch norm in the CNN (test_processes has them): rounding would grow in it from step to
    # step. No dropout: it falls elsewhere.
    parts = {"backbone": "test_convnext", "gru_dropout": 0.0, "head_dropout": 0.0}
    shared: dict[str, Any] = {"lr": 1e-3, "epochs": 2, "precision": "float32"}
    model = replace(TINY, **parts)  # type: ignore[arg-type]
    train(processed, tmp_path / "one", replace(config(**shared), model=model))
    arguments = command(processed, tmp_path / "two", **shared, batch_size=2)
    arguments += [part for key, value in parts.items() for part in ("--set", f"{key}={value}")]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *launcher, *arguments], check=True, env=environment)
    one, two = (history(tmp_path / name) for name in ("one", "two"))
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, abs=1e-4)


class TestFeatureCache:
    @pytest.mark.usefixtures("two_threads")
    def test_it_changes_nothing(self, processed: Path, stored: Stored, tmp_path: Path) -> None:
        data = stored(processed)
        frozen = config(freeze_cnn=True, augment="none", precision="float32")

        def trained(out: Path | None) -> tuple[Epoch, ...]:
            with closing(Run(data, frozen, ALONE, out)) as run:
                for number in (1, 2):
                    loss, val = run.train_epoch([], lambda progress: None), run.validate()
                    run.end_epoch(Epoch(number, loss, val.loss, val.accuracy, val.auc, 0.0))
                return run.position.history

        cached, plain = trained(tmp_path), trained(None)  # nothing is kept without a folder
        assert len(list((tmp_path / "features").rglob("*.safetensors"))) == 8
        for a, b in zip(cached, plain, strict=True):
            losses = (a.train_loss, a.val_loss)
            assert losses == pytest.approx((b.train_loss, b.val_loss), abs=2e-3)  # half precision

    def test_it_is_filled_once_and_knows_when_it_is_stale(
        self, processed: Path, tmp_path: Path
    ) -> None:
        tree = tmp_path / "tree"
        shutil.copytree(processed, tree)
        paths = DeepfakeWindowDataset(tree, "train").paths
        torch.manual_seed(0)
        net, other = DeepfakeNet(TINY).eval(), DeepfakeNet(TINY).eval()

        def encoded(net: DeepfakeNet, mirrored: bool = False, precision: str = "float32") -> int:
            calls: list[int] = []
            hook = net.cnn.register_forward_hook(lambda *args: calls.append(1))
            FeatureCache(tmp_path / "c", net, precision, mirrored).fill(paths, net, precision)
            hook.remove()
            return len(calls)

        assert encoded(net) == 6
        assert encoded(net) == 0
        os.utime(paths[0], ns=(1, 1))
        assert encoded(net) == 1
        assert encoded(net, mirrored=True) == 12
        assert encoded(net) == 0  # what has the mirrored faces has the others, too
        assert encoded(net, precision="bfloat16") == 6
        assert encoded(other) == 6
        assert len(list((tmp_path / "c").iterdir())) == 1
        file = next((tmp_path / "c").rglob("*.safetensors"))
        file.write_bytes(file.read_bytes()[:100])
        assert encoded(other) == 1

    def test_it_holds_the_features_of_each_window(self, processed: Path, tmp_path: Path) -> None:
        dataset, net = DeepfakeWindowDataset(processed, "train"), DeepfakeNet(TINY).eval()
        cache = FeatureCache(tmp_path, net, "float32", mirrored=True)
        cache.fill(dataset.paths, net, "float32")
        for index in (0, len(dataset) - 1):
            video = pt_file.read(dataset.paths[0 if index == 0 else -1])
            number = index if index == 0 else len(video.windows) - 1
            track, window = video.windows[number]
            faces = torch.from_numpy(pt_file.window_faces(video, track, window))
            for mirrored in (False, True):
                with torch.inference_mode():
                    expected = net.encode(faces.flip(-1) if mirrored else faces)
                path = dataset.paths[0 if index == 0 else -1]
                found = cache.window(path, video, track, window, mirrored)
                assert torch.allclose(found, expected, atol=1e-2, rtol=1e-2)

    def test_a_file_that_changes_meanwhile_is_told(self, processed: Path, tmp_path: Path) -> None:
        path = tmp_path / "x.pt"
        shutil.copy(DeepfakeWindowDataset(processed, "train").paths[0], path)
        net = DeepfakeNet(TINY).eval()
        cache = FeatureCache(tmp_path / "c", net, "float32", mirrored=False)
        cache.fill([path], net, "float32")
        video = pt_file.read(path)
        os.utime(path, ns=(1, 1))
        with pytest.raises(StoreError, match="changed while training"):
            cache.window(path, video, *video.windows[0], mirrored=False)


def test_a_file_that_breaks_in_mid_run_is_left_out_and_told(
    processed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(processed, tree)
    victims = [next((tree / split).rglob("*.pt")) for split in ("train", "val")]

    def ruin(progress: Progress) -> None:
        for victim in victims:
            victim.write_bytes(b"nonsense")

    train(tree, tmp_path / "out", config(epochs=2), on_step=ruin)
    rows = (tmp_path / "out" / "history.jsonl").read_text().splitlines()
    assert len(rows) == 2
    for victim in victims:
        assert f"left out: {victim}" in caplog.text


def test_training_ends_when_it_gets_no_better(processed: Path, tmp_path: Path) -> None:
    still = config(epochs=9, patience=2, lr=1e-30, monitor="val_acc")
    still = replace(still, model=replace(TINY, backbone="test_convnext"))  # without batch norm
    train(processed, tmp_path, still)
    assert len(history(tmp_path)) == 3
    train(processed, tmp_path, still, resume=True)
    assert len(history(tmp_path)) == 3


def test_patience_counts_from_the_best_epoch() -> None:
    settings = replace(SETTINGS, epochs=9, patience=2, monitor="val_loss")
    losses = [1.0, 0.5, 0.7, 0.6]
    rows = [Epoch(k, 1.0, loss, 0.5, 0.5, 1.0) for k, loss in enumerate(losses, 1)]
    ends = [is_finished(rows[:k], settings) for k in range(len(rows) + 1)]
    assert ends == [False, False, False, False, True]
    assert is_finished(rows[:1], replace(settings, epochs=1))
    assert not is_finished(rows, replace(settings, patience=0))


def test_a_dry_run_writes_nothing_and_counts(
    processed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = dry_run(processed, config(batch_size=2))
    assert not list(tmp_path.iterdir())
    assert result.windows == (18, 6)
    assert result.batches == 9
    assert result.parameters[0] == sum(p.numel() for p in DeepfakeNet(TINY).parameters())
    frozen = dry_run(processed, config(batch_size=2, freeze_cnn=True)).parameters
    assert frozen[1] == frozen[0] - sum(p.numel() for p in DeepfakeNet(TINY).cnn.parameters())
    assert result.epoch_seconds > 0
    assert result.memory > 2**24
    assert "18 windows to train on" in str(result)


def learner(**changes: Any) -> Learner:
    torch.manual_seed(0)
    return Learner(DeepfakeNet(TINY), replace(TrainConfig(), lr=1.0, **changes), ALONE, steps=10)


def test_the_rate_rises_and_falls_as_a_cosine() -> None:
    rates = []
    one = learner(schedule="cosine", warmup=0.5, epochs=2)
    for _ in range(20):
        rates.append(one.lr)
        one.step()
    assert rates[:5] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    expected = [(1 + math.cos(math.pi * k / 15)) / 2 for k in range(15)]
    assert rates[5:] == pytest.approx(expected)
    assert one.lr == pytest.approx(0)


def test_the_rate_halves_on_a_plateau() -> None:
    one = learner()
    rates = []
    for loss in (1, 0.9, 1, 1, 1, 0.8):
        one.end_epoch(loss)
        rates.append(one.lr)
    assert rates == [1, 1, 1, 1, 0.5, 0.5]


def test_the_average_follows_the_weights() -> None:
    one = learner(ema=0.5)
    key = "head.4.bias"
    values, expected = [], float(one.best.state_dict()[key])
    for step in range(1, 6):
        with torch.no_grad():
            one.net.get_parameter(key).fill_(step)
        one.step()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        values.append(float(one.best.state_dict()[key]))
        assert values[-1] == pytest.approx(expected, rel=1e-5)
    assert one.best is not one.net


def test_gradients_are_cut() -> None:
    one = learner(clip_norm=0.5)
    for parameter in one.net.parameters():
        parameter.grad = torch.ones_like(parameter)
    one.step()
    # Adam's first moment starts as a tenth of the gradient.
    moments = [row["exp_avg"].flatten() for row in one.state().optimizer["state"].values()]
    assert float(torch.cat(moments).norm()) == pytest.approx(0.05, rel=1e-3)


def test_accumulated_batches_are_one_larger_batch() -> None:
    """Without dropout and batch norm between the windows."""
    generator = torch.Generator().manual_seed(0)
    windows = torch.randint(0, 256, (4, 3, 3, 32, 32), dtype=torch.uint8, generator=generator)
    mask = torch.ones(4, 3, dtype=torch.bool)
    grads = []
    for parts in (1, 2):
        one = learner(precision="float32")
        one.net.eval()
        for part in range(parts):
            rows = slice(4 * part // parts, 4 * (part + 1) // parts)
            logits = one.forward(windows[rows], mask[rows])
            one.backward(logits.window.square().mean() / parts)
        grads.append([p.grad for p in one.net.head.parameters()])
    for a, b in zip(*grads, strict=True):
        assert a is not None
        assert b is not None
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_learns(tmp_path: Path, precision: str) -> None:
    """Dark faces are real, bright ones fake."""
    for split in ("train", "val"):
        for number in range(4):
            video = random_video([16], number)
            (track,) = video.tracks
            crops = track.crops // 4 + 180 * (number % 2)
            name = tmp_path / split / ("fake" if number % 2 else "real") / f"{number}.pt"
            pt_file.write(name, replace(video, tracks=(replace(track, crops=crops),)))
    train(tmp_path, tmp_path / "out", config(epochs=4, precision=precision))
    rows = (tmp_path / "out" / "history.jsonl").read_text().splitlines()
    first, *_, last = (json.loads(row)["train_loss"] for row in rows)
    assert last < 0.8 * first


@pytest.mark.slow
def test_it_can_be_compiled(processed: Path, tmp_path: Path) -> None:
    if shutil.which("c++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    for name, compiled in (("plain", False), ("compiled", True)):
        settings = config(epochs=1, precision="float32", short="drop", compile=compiled)
        train(processed, tmp_path / name, settings)
    ((one,), (other,)) = (history(tmp_path / name) for name in ("plain", "compiled"))
    assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-2)


def test_tensorboard_gets_the_history(processed: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(processed, tmp_path, config(epochs=2, tensorboard=True))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    rows = [json.loads(r) for r in (tmp_path / "history.jsonl").read_text().splitlines()]
    for name in ("train_loss", "val_auc", "lr"):
        values = [(event.step, event.value) for event in events.Scalars(name)]
        assert values == [(row["epoch"], pytest.approx(row[name])) for row in rows]


@pytest.mark.parametrize(
    ("setting", "value"), [("ema", 1.0), ("warmup", -1.0), ("lr", 0.0), ("accumulate", 0)]
)
def test_impossible_values_are_refused(setting: str, value: Any) -> None:
    with pytest.raises(UsageError, match=setting):
        replace(TrainConfig(), **{setting: value})
