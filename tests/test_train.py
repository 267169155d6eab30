import json
import math
import shutil
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import TINY, Stored, random_video
from servers import use_hub
from torch.testing import assert_close

from unmask import Detector
from unmask.data import pt_file
from unmask.errors import CorpusError, FileError, ModelError, UnmaskError, UsageError
from unmask.models import Decision, DeepfakeNet, Logits, load_bundle
from unmask.training.config import RunConfig, TrainConfig, make_config
from unmask.training.dataset import Sample
from unmask.training.distributed import Group
from unmask.training.loop import train
from unmask.training.losses import compute_loss
from unmask.training.refit import refit_head
from unmask.training.run import Progress

SETTINGS = TrainConfig(
    epochs=3, batch_size=4, lr=1e-2, workers=0, weights="random", short="pad",
    targets="segments", frame_loss=1.0, augment="flip", monitor="val_loss", pairs=True,
)  # fmt: skip


def config(**changes: Any) -> RunConfig:
    return RunConfig(TINY, replace(SETTINGS, **changes), Decision())


@pytest.fixture(scope="module")
def run(processed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    report = train(processed, out, config())
    assert report is not None
    assert report.metrics.scored == 2
    return out


def test_it_leaves_what_the_document_asks_for(run: Path) -> None:
    for epoch in (1, 2, 3):
        state = torch.load(run / f"model_epoch_{epoch}.pth", weights_only=True)
        assert state.keys() >= {
            "epoch", "model_state_dict", "optimizer_state_dict", "train_loss", "val_loss",
            "val_acc",
        }  # fmt: skip
        assert state["epoch"] == epoch
    best = torch.load(run / "best_model.pth", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in best.values())
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    winner = min(rows, key=lambda row: row["val_loss"])["epoch"]
    state = torch.load(run / f"model_epoch_{winner}.pth", weights_only=True)
    assert all(torch.equal(best[key], value) for key, value in state["model_state_dict"].items())
    for name in ("metrics_summary.json", "detailed_predictions.json"):
        assert (run / "evaluation" / f"test_{name}").is_file()
    assert (run / "evaluation" / "evaluation_plots.png").is_file()


def test_the_folder_and_its_files_are_models(run: Path, clip: Path) -> None:
    scores = {
        name: Detector.from_pretrained(run / name).predict(clip).confidence
        for name in ("", "best_model.pth", "model_epoch_3.pth")
    }
    assert scores[""] == scores["best_model.pth"]
    bundle = load_bundle(run)
    assert bundle.spec.image_size == 32
    assert bundle.config.training.started_from == "random weights"
    assert bundle.config.training.settings["lr"] == 1e-2


def test_it_goes_on_from_a_model(run: Path, processed: Path, tmp_path: Path) -> None:
    begun = load_bundle(run)
    resting = config(epochs=1, weights=str(run), lr=1e-12)
    train(processed, tmp_path, resting)
    after = load_bundle(tmp_path)
    origin = f"out (sha256 {begun.sha256}), which started from random weights"
    assert after.config.training.started_from == origin
    assert_close(dict(after.net.named_parameters()), dict(begun.net.named_parameters()))
    wider = replace(TINY, head_hidden=2 * TINY.head_hidden)
    with pytest.raises(ModelError, match="another architecture"):
        train(processed, tmp_path / "wider", replace(resting, model=wider))
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match=r"damaged\.pth: "):
        train(processed, tmp_path / "other", config(weights=str(damaged)))
    with pytest.raises(UsageError, match="weights: imagenet, random, auto, or a model; nowhere:"):
        train(processed, tmp_path / "nowhere", config(weights="nowhere"))


@pytest.mark.parametrize("wanted", ["auto", "imagenet"])
def test_random_weights_are_only_had_on_request(
    processed: Path, tmp_path: Path, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub("http://127.0.0.1:9", tmp_path / "cache", monkeypatch)  # where nobody answers
    with pytest.raises(UsageError, match=r"refused.*; --set weights=random starts without"):
        train(processed, tmp_path / "out", config(weights=wanted))
    assert not (tmp_path / "out").exists()


def weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model_state_dict"]
    return state


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_is_as_if_never_interrupted(
    run: Path, processed: Path, stored: Stored, tmp_path: Path, workers: int
) -> None:
    data = stored(processed)
    train(data, tmp_path, config(epochs=1, workers=workers))
    train(data, tmp_path, config(workers=workers), resume=True)
    assert active_children() == []  # they ignore signals: left over, they would keep us from ending
    one, other = (weights(folder / "model_epoch_3.pth") for folder in (run, tmp_path))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert (run / "history.jsonl").read_text() == (tmp_path / "history.jsonl").read_text()


def test_an_interrupt_in_mid_epoch_loses_no_finished_epoch(
    run: Path, processed: Path, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.batch) == (2, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(processed, tmp_path, config(), on_step=stop)
    assert not list(tmp_path.glob(".*"))
    train(processed, tmp_path, config(), resume=True)
    one, other = (weights(folder / "model_epoch_3.pth") for folder in (run, tmp_path))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("changes", "lost"),
    [({}, "best_model|model_epoch_2"), ({"save_minutes": 0.0}, "unfinished_epoch_2")],
    ids=["after an epoch", "in mid-epoch"],
)
def test_a_full_disk_is_said_and_loses_nothing(
    processed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    lost: str,
) -> None:
    train(processed, tmp_path, config(epochs=1))
    before = (tmp_path / "model_epoch_1.pth").read_bytes()

    def full(content: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(FileError, match=rf"({lost}).*cannot be written"):
        train(processed, tmp_path, config(**changes), resume=True)
    assert (tmp_path / "model_epoch_1.pth").read_bytes() == before
    assert not (tmp_path / "model_epoch_2.pth").exists()
    assert not list(tmp_path.glob("unfinished_epoch_2.pth"))


def test_it_learns_what_can_be_learned(tmp_path: Path) -> None:
    """Dark faces are real, bright ones fake: the loss must fall and the test set be right."""
    for split, seed in (("train", 0), ("val", 20), ("test", 40)):
        for number in range(6):
            label = number % 2
            video = random_video([16], seed + number)
            (track,) = video.tracks
            crops = track.crops // 4 + 180 * label
            name = tmp_path / split / ("fake" if label else "real") / f"{number}.pt"
            pt_file.write(name, replace(video, tracks=(replace(track, crops=crops),)))
    report = train(tmp_path, tmp_path / "out", config(epochs=6, monitor="val_auc"))
    assert report is not None
    assert report.metrics.auc_roc == 1
    rows = (tmp_path / "out" / "history.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["train_loss"] < json.loads(rows[0])["train_loss"]


def test_a_frozen_backbone_stays(processed: Path, tmp_path: Path) -> None:
    train(processed, tmp_path, config(epochs=2, freeze_cnn=True))
    one, two = (weights(tmp_path / f"model_epoch_{k}.pth") for k in (1, 2))
    assert all(torch.equal(one[k], two[k]) for k in one if k.startswith("cnn."))
    assert any(not torch.equal(one[k], two[k]) for k in one if k.startswith("head."))


def test_the_loss_is_cross_entropy_of_windows_and_shown_frames() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False]])
    frames = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])  # behind the mask: must not count
    sample = Sample(torch.empty(2), mask, torch.tensor([1.0, 1.0]), frames, torch.empty(2, 3, 1, 1))
    logits = Logits(torch.tensor([0.3, -0.2]), torch.tensor([[0.1, 0.5, -1.0], [2.0, 9.0, 9.0]]))

    def bce(logit: float, label: float) -> float:
        p = torch.tensor(logit).sigmoid()
        return float(-(label * p.log() + (1 - label) * (1 - p).log()))

    windows = (bce(0.3, 1) + bce(-0.2, 0)) / 2
    shown = (bce(0.1, 0) + bce(0.5, 1) + bce(-1.0, 0) + bce(2.0, 0)) / 4
    settings = replace(SETTINGS, frame_loss=0.5)
    assert float(compute_loss(logits, sample, settings)) == pytest.approx(windows + 0.5 * shown)
    clip = replace(SETTINGS, targets="clip", frame_loss=0.0)
    expected = (bce(0.3, 1) + bce(-0.2, 1)) / 2
    assert float(compute_loss(logits, sample, clip)) == pytest.approx(expected)


def test_fakes_weigh_what_is_asked() -> None:
    sample = Sample(
        torch.empty(2), torch.ones(2, 1, dtype=torch.bool), torch.tensor([1.0, 0.0]),
        torch.empty(2), torch.empty(2, 1, 1, 1),
    )  # fmt: skip
    logits = Logits(torch.tensor([0.3, -0.2]), None)
    settings = replace(SETTINGS, targets="clip")
    once, twice = (float(compute_loss(logits, sample, settings, weight)) for weight in (1.0, 2.0))
    assert twice - once == pytest.approx(float(F.softplus(torch.tensor(-0.3))) / 2)


def test_the_map_learns_only_where_it_is_known_what_was_manipulated() -> None:
    """Cells: untouched, at an edge, altered, unknown; and a padded frame."""
    cells = torch.tensor([[0.0, 0.1, 0.5, torch.nan], [9.0, 9.0, 9.0, 9.0]]).view(1, 2, 2, 2)
    mask = torch.tensor([[True, False]])
    sample = Sample(torch.empty(1), mask, torch.tensor([1.0]), torch.ones(1, 2), cells)
    maps = torch.tensor([0.3, 5.0, -0.7, 8.0]).view(1, 2, 2).requires_grad_()
    logits = Logits(torch.tensor([0.0]), None, maps)
    settings = replace(SETTINGS, targets="clip", map_loss=2.0)
    loss = compute_loss(logits, sample, settings)
    known = (F.softplus(torch.tensor(0.3)) + F.softplus(torch.tensor(0.7))) / 2
    assert loss.item() == pytest.approx(math.log(2) + 2 * known.item())
    loss.backward()
    assert maps.grad is not None
    assert (maps.grad != 0).flatten().tolist() == [True, False, True, False]


def test_the_ranking_loss_compares_every_fake_with_every_real() -> None:
    scores, clip = torch.tensor([0.1, 0.7, -0.3]), replace(SETTINGS, targets="clip")
    sample = Sample(
        torch.empty(3), torch.ones(3, 1, dtype=torch.bool), torch.tensor([0.0, 1.0, 0.0]),
        torch.empty(3), torch.empty(3, 1, 1, 1),
    )  # fmt: skip
    with_it, without = (
        float(compute_loss(Logits(scores, None), sample, replace(clip, rank_loss=weight)))
        for weight in (0.5, 0.0)
    )
    expected = (F.softplus(torch.tensor(0.1 - 0.7)) + F.softplus(torch.tensor(-0.3 - 0.7))) / 2
    assert with_it - without == pytest.approx(0.5 * expected.item(), rel=1e-5)


def test_a_refitted_head_is_the_minimum_of_the_penalised_loss() -> None:
    """Against another optimiser, on features that do not change."""
    torch.manual_seed(0)
    net = DeepfakeNet(replace(TINY, temporal="mean", pooling="mean", head_hidden=0)).eval()
    labels = torch.tensor([0.0, 1.0]).repeat(30)
    features = torch.randn(60, 3, net.temporal.out_features) + labels[:, None, None] * 0.7
    sample = Sample(
        features, torch.ones(60, 3, dtype=torch.bool), labels, labels[:, None].repeat(1, 3),
        torch.zeros(60, 3, 1, 1),
    )  # fmt: skip
    settings = replace(SETTINGS, targets="clip")
    group = Group(0, 1, torch.device("cpu"))
    refit_head(net, [sample], settings, group, "float32")
    states = features.mean(dim=1)
    x = (states - states.mean(0)) / states.std(0, correction=0)
    weight, bias = torch.zeros(x.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    best = torch.optim.LBFGS([weight, bias], max_iter=200, tolerance_grad=1e-9)

    def closure() -> torch.Tensor:
        best.zero_grad()
        loss = F.binary_cross_entropy_with_logits(x @ weight + bias, labels)
        loss = loss + 0.05 * (weight**2).sum()
        loss.backward()
        return loss

    best.step(closure)
    logits = net.judge(features)
    assert torch.allclose(logits.window, (x @ weight + bias).detach(), atol=0.02)
    assert logits.frames is not None
    assert torch.allclose(logits.frames.mean(dim=1), logits.window, atol=1e-4)
    with pytest.raises(UnmaskError, match="both classes"):
        refit_head(net, [sample._replace(clip_label=0 * labels)], settings, group, "float32")


@pytest.mark.slow
def test_the_preset_of_the_shipped_model_trains(processed: Path, tmp_path: Path) -> None:
    """Maps, ranking, pairs and the refit together; the saved head is the refitted one."""
    preset = make_config("small")
    model = replace(preset.model, backbone="test_efficientnet")
    training = replace(
        preset.training, epochs=1, batch_size=4, workers=0, weights="random", crop=24,
        synth="self-blending,generator,face swap", per_recording=2, seed=1,
    )  # fmt: skip
    train(processed, tmp_path / "out", replace(preset, model=model, training=training))
    bundle = load_bundle(tmp_path / "out")
    assert bundle.calibration is not None
    trained = weights(tmp_path / "out" / "model_epoch_1.pth")
    state = bundle.net.state_dict()
    assert not torch.equal(state["head.weight"], trained["head.weight"])
    assert torch.equal(state["head.weight"], state["frame_head.weight"])
    assert all(torch.equal(state[k], trained[k]) for k in state if "head" not in k)
    with pytest.raises(UsageError, match="head_hidden=0"):
        make_config("default", {"refit": "true"})
    with pytest.raises(UsageError, match="map_head=true"):
        make_config("default", {"map_loss": "1"})
    with pytest.raises(UsageError, match="augment=strong"):
        make_config("default", {"crop": "100"})
    with pytest.raises(UsageError, match="must be even"):
        make_config("default", {"synth": "all", "batch_size": "3"})


def test_a_loss_that_is_not_finite_ends_it_clearly(processed: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UnmaskError, match=r"loss is (nan|inf) in batch 2 of epoch 1: lower the learning rate"
    ):
        train(processed, tmp_path, config(lr=1e30, precision="float32"))


def test_bad_requests_are_refused(run: Path, processed: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds checkpoints"):
        train(processed, run, config())
    changed = replace(config(lr=1.0), model=replace(TINY, hidden=16))
    with pytest.raises(ModelError, match="another hidden, lr"):
        train(processed, run, changed, resume=True)
    tree = tmp_path / "tree"
    shutil.copytree(processed, tree)
    shutil.rmtree(tree / "train" / "Celeb-real")
    with pytest.raises(CorpusError, match="only one class"):
        train(tree, tmp_path / "out", config())
    with pytest.raises(CorpusError, match="no such folder"):
        train(tmp_path / "none", tmp_path / "out", config())
    assert not (tmp_path / "out").exists()


def test_presets_and_settings() -> None:
    baseline = make_config("baseline")
    settings, decision = baseline.training, baseline.decision
    assert (settings.epochs, settings.batch_size, settings.lr, settings.workers) == (10, 4, 1e-4, 4)
    assert (settings.monitor, settings.targets, settings.short) == ("val_acc", "clip", "drop")
    assert (decision.smoothing, decision.segment_threshold, decision.fake_above) == (5, 0.7, 0.5)
    assert decision.aggregate == "mean"
    changed = make_config("default", {"hidden": "7", "lr": "1e-5", "pairs": "no"})
    assert (changed.model.hidden, changed.training.lr, changed.training.pairs) == (7, 1e-5, False)


@pytest.mark.parametrize(
    ("preset", "settings", "cause"),
    [
        ("fast", {}, "there are baseline, default"),
        ("default", {"epoch": "3"}, "there are .*epochs"),
        ("default", {"epochs": "three"}, "epochs must be int"),
        ("default", {"epochs": "0"}, "at least 1"),
        ("default", {"pairs": "maybe"}, "true or false"),
        ("default", {"monitor": "f1"}, "one of val_acc"),
        ("default", {"aggregate": "median"}, "one of mean, max, logit"),
        ("default", {"smoothing": "0"}, "at least 1"),
    ],
)
def test_bad_settings_list_the_good_ones(preset: str, settings: dict[str, str], cause: str) -> None:
    with pytest.raises(UsageError, match=cause):
        make_config(preset, settings)
