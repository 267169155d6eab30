"""Training: one readable loop."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Adam
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, RandomSampler

from unmask.atomic import save_tensors, write_text
from unmask.data import DeepfakeWindowDataset, PairSampler, Sample, sample_loader
from unmask.detector import Detector, pick_device
from unmask.errors import CorpusError, ModelError, UnmaskError, UsageError
from unmask.evaluate import Metrics, auc
from unmask.models import Decision, DeepfakeNet, Logits, ModelConfig, autocast, load_imagenet
from unmask.models.bundle import BEST, config_dict, read_checkpoint, save_config
from unmask.report import scored_video, write_evaluation

log = logging.getLogger("unmask")
HISTORY = "history.jsonl"


@dataclass(frozen=True)
class TrainConfig:
    """How to train; the defaults are the design document's.

    Attributes:
        epochs: passes over the training windows.
        batch_size: windows a step.
        lr: Adam's learning rate.
        workers: processes that read windows.
        freeze_cnn: train only what comes after the backbone.
        amp: mixed precision where the hardware has it.
        seed: of weights, order, dropout and augmentation.
        weights: "imagenet" (an error if there are none), "random", or "auto": ImageNet's, and
            with a warning random ones where there are none.
        short: what becomes of windows of fewer faces: "drop" or "pad".
        monitor: what makes an epoch the best: "val_acc", "val_auc" or "val_loss".
        targets: "clip": all windows of a fake are fake; "segments": those that touch a
            manipulated segment, where segments are known.
        frame_loss: weight of the frame head's loss beside the window's.
        flip: mirror whole windows at random.
        pairs: put a fake's windows beside those of its own recording (see PairSampler).
    """

    epochs: int = 10
    batch_size: int = 4
    lr: float = 1e-4
    workers: int = 4
    freeze_cnn: bool = False
    amp: bool = True
    seed: int = 0
    weights: str = "auto"
    short: str = "drop"
    monitor: str = "val_acc"
    targets: str = "clip"
    frame_loss: float = 0.0
    flip: bool = False
    pairs: bool = False


Config: TypeAlias = tuple[ModelConfig, TrainConfig, Decision]

PRESETS: dict[str, Config] = {
    "baseline": (ModelConfig(), TrainConfig(), Decision()),
    "default": (
        ModelConfig(
            backbone="tf_efficientnet_lite0",
            hidden=128,
            layers=1,
            pooling="attention",
            head_hidden=128,
            frame_head=True,
        ),
        TrainConfig(
            lr=1e-3,
            workers=2,
            short="pad",
            monitor="val_auc",
            targets="segments",
            frame_loss=1.0,
            flip=True,
            pairs=True,
        ),
        Decision(people="all", smoothing=1, aggregate="max"),
    ),
}


def make_config(preset: str = "default", settings: dict[str, str] | None = None) -> Config:
    """A preset with single settings changed, each given as text.

    Raises:
        UsageError: unknown preset or setting, or a value of the wrong kind.
    """
    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}")
    parts: list[Any] = list(PRESETS[preset])
    owners = {f.name: i for i, part in enumerate(parts) for f in fields(part)}
    for key, text in (settings or {}).items():
        if key not in owners:
            raise UsageError(f"unknown setting {key!r}; there are {', '.join(sorted(owners))}")
        part = parts[owners[key]]
        parts[owners[key]] = replace(part, **{key: _parse(key, text, getattr(part, key))})
    model, training, decision = parts
    allowed = {
        "monitor": ("val_acc", "val_auc", "val_loss"),
        "targets": ("clip", "segments"),
        "weights": ("auto", "imagenet", "random"),
    }
    for key, values in allowed.items():
        if getattr(training, key) not in values:
            raise UsageError(f"{key} must be one of {', '.join(values)}")
    for key in ("epochs", "batch_size"):
        if getattr(training, key) < 1:
            raise UsageError(f"{key} must be at least 1")
    return model, training, decision


def _parse(key: str, text: str, like: Any) -> Any:
    kind = type(like)
    if kind is bool:
        value = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in value:
            raise UsageError(f"{key} must be true or false, not {text!r}")
        return value[text.lower()]
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{key} must be {kind.__name__}, not {text!r}") from None


@dataclass(frozen=True)
class Epoch:
    """What came out of one epoch; `val_auc` is None where a class is missing."""

    epoch: int
    train_loss: float
    val_loss: float
    val_acc: float
    val_auc: float | None
    lr: float

    def __str__(self) -> str:
        shown = "undefined" if self.val_auc is None else f"{self.val_auc:.4f}"
        return (
            f"train loss {self.train_loss:.4f}  val loss {self.val_loss:.4f}  "
            f"val acc {self.val_acc:.4f}  val auc {shown}"
        )

    def rank(self, monitor: str) -> float:
        """How good it is by `monitor`; higher is better."""
        value = getattr(self, monitor)
        if value is None:  # no AUC without both classes: the loss ranks instead
            return -self.val_loss
        return -float(value) if monitor == "val_loss" else float(value)


def train(
    data: str | Path,
    out: str | Path,
    config: Config | None = None,
    *,
    resume: bool = False,
    device: str = "auto",
    on_step: Callable[[int, int, int, float], None] = lambda epoch, step, steps, loss: None,
) -> Metrics | None:
    """Train on the train split, choose by the val split, evaluate the best on the test split.

    Leaves in `out`: `model_epoch_N.pth` a full checkpoint an epoch, `best_model.pth` the best
    weights alone, `config.json` what they are, `history.jsonl` a line an epoch, and
    `evaluation/`. The folder is a model for `Detector.from_pretrained`.

    Args:
        data: a preprocessed tree.
        out: folder for the results.
        config: see make_config; None is the default preset.
        resume: go on after the last whole epoch in `out`; the numbers are those of an
            uninterrupted run.
        device: see pick_device.
        on_step: called with (epoch, step, steps, loss).

    Returns:
        Metrics of the test split; None if the tree has none that could be scored.

    Raises:
        UnmaskError: no data, an occupied folder, a loss that is not finite, a full disk.
    """
    model_config, settings, decision = config or make_config()
    out, where = Path(out), pick_device(device)
    last = latest_checkpoint(out)
    if last and not resume:
        raise UsageError(f"{out} holds checkpoints: resume, or choose another folder")
    train_set, val_set = _load_sets(Path(data), settings)
    torch.manual_seed(settings.seed)
    net = DeepfakeNet(model_config)
    origin = "checkpoint" if last else _initialise(net, settings.weights)
    net.freeze_cnn(settings.freeze_cnn)
    net.to(where)
    optimizer = Adam(net.parameters(), lr=settings.lr, fused=where.type == "cuda")
    scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    if where.type == "cpu" and net.depthwise and not settings.freeze_cnn:
        # The backward pass of a depthwise convolution takes twice as long in bfloat16 as in
        # float32 there, more than the forward pass gains.
        settings = replace(settings, amp=False)
    scaler = torch.amp.GradScaler(where.type, enabled=settings.amp and where.type == "cuda")
    facts = {"started_from": origin, "settings": asdict(settings)}
    description = config_dict(out.resolve().name, model_config, train_set.spec, decision, facts)
    history: list[Epoch] = []
    if last:
        history = _restore(last, description, net, optimizer, scheduler, scaler)
    save_config(out, description)

    order = torch.Generator()
    sampler = (PairSampler if settings.pairs else RandomSampler)(train_set, generator=order)
    train_loader = sample_loader(train_set, settings.batch_size, settings.workers, sampler)
    val_loader = sample_loader(val_set, settings.batch_size, settings.workers)
    for epoch in range(len(history) + 1, settings.epochs + 1):
        # Everything random in an epoch follows from the seed and its number, so that a resumed
        # run draws what an uninterrupted one would have drawn.
        torch.manual_seed(settings.seed * 1_000_003 + epoch)
        order.manual_seed(settings.seed * 1_000_003 + epoch)
        lr = optimizer.param_groups[0]["lr"]
        train_loss = train_epoch(
            net, train_loader, optimizer, scaler, settings, where, partial(on_step, epoch)
        )
        result = Epoch(epoch, train_loss, *validate(net, val_loader, settings, where), lr)
        scheduler.step(result.val_loss)
        history.append(result)
        state = {
            "epoch": epoch,
            "model_state_dict": net.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "train_loss": result.train_loss,
            "val_loss": result.val_loss,
            "val_acc": result.val_acc,
            "scheduler_state_dict": scheduler.state_dict(),
            "scaler_state_dict": scaler.state_dict(),
            "history": [asdict(row) for row in history],
            "config": description,
        }
        best = max(history, key=lambda row: row.rank(settings.monitor)) is result
        if best:
            save_tensors(out / BEST, net.state_dict())
        save_tensors(out / f"model_epoch_{epoch}.pth", state)
        write_text(out / HISTORY, "".join(json.dumps(asdict(row)) + "\n" for row in history))
        log.info("epoch %d/%d  %s%s", epoch, settings.epochs, result, "  (best)" if best else "")
    return evaluate_best(data, out, device)


def _load_sets(
    data: Path, settings: TrainConfig
) -> tuple[DeepfakeWindowDataset, DeepfakeWindowDataset]:
    """The train and the val windows, checked against each other."""
    sets = [DeepfakeWindowDataset(data, split, settings.short) for split in ("train", "val")]
    for error in (error for dataset in sets for error in dataset.broken):
        log.warning("left out: %s", error)
    train_set, val_set = sets
    if train_set.spec != val_set.spec:
        raise CorpusError(data, "train and val were preprocessed with different settings")
    if len(set(train_set.labels)) < 2:
        raise CorpusError(data / "train", "holds only one class: it takes real and fake")
    return train_set, val_set


def train_epoch(
    net: DeepfakeNet,
    loader: "DataLoader[Sample]",
    optimizer: Adam,
    scaler: torch.amp.GradScaler,
    settings: TrainConfig,
    device: torch.device,
    on_step: Callable[[int, int, float], None],
) -> float:
    """One pass over the training windows; returns the mean loss a window."""
    net.train()
    total, count = 0.0, 0
    for number, sample in enumerate(_batches(loader, device), 1):
        if len(sample.faces) == 1:
            continue  # batch norm cannot learn from one window
        if settings.flip:
            sample = _flipped(sample)
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, settings.amp):
            logits = net(sample.faces, sample.mask)
        loss = compute_loss(logits, sample, settings)
        if not torch.isfinite(loss):
            raise UnmaskError(
                f"the loss is {loss.item()} in step {number}: lower the learning rate "
                "(--set lr=...); finished epochs are kept"
            )
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        total += loss.item() * len(sample.faces)
        count += len(sample.faces)
        on_step(number, len(loader), total / count)
    if not count:
        raise UnmaskError("there are fewer than two training windows; batch norm needs two")
    return total / count


@torch.inference_mode()
def validate(
    net: DeepfakeNet, loader: "DataLoader[Sample]", settings: TrainConfig, device: torch.device
) -> tuple[float, float, float | None]:
    """(mean loss, accuracy, AUC) over the windows of a loader."""
    net.eval()
    losses, logits, labels = [], [], []
    for sample in _batches(loader, device):
        with autocast(device, settings.amp):
            output = net(sample.faces, sample.mask)
        losses.append(float(compute_loss(output, sample, settings)) * len(sample.faces))
        logits.append(output.window.cpu())
        labels.append(window_labels(sample, settings).cpu())
    scores, truth = torch.cat(logits), torch.cat(labels)
    accuracy = float(((scores > 0) == (truth > 0.5)).float().mean())
    return sum(losses) / len(scores), accuracy, auc(truth.numpy(), scores.numpy())


def window_labels(sample: Sample, settings: TrainConfig) -> Tensor:
    """(B,) float32: what the window logit is to say."""
    if settings.targets == "clip":
        return sample.clip_label
    return (sample.frame_labels * sample.mask).amax(dim=1)


def compute_loss(logits: Logits, sample: Sample, settings: TrainConfig) -> Tensor:
    """Binary cross-entropy of the windows, plus `frame_loss` times that of the shown frames."""
    loss = F.binary_cross_entropy_with_logits(logits.window, window_labels(sample, settings))
    if logits.frames is not None and settings.frame_loss:
        shown = sample.mask
        frames = F.binary_cross_entropy_with_logits(
            logits.frames[shown], sample.frame_labels[shown]
        )
        loss = loss + settings.frame_loss * frames
    return loss


def _flipped(sample: Sample) -> Sample:
    """Mirror each window with probability 1/2, all its frames alike."""
    mirror = torch.rand(len(sample.faces)) < 0.5
    faces = sample.faces.clone()
    faces[mirror] = faces[mirror].flip(-1)
    return sample._replace(faces=faces)


def _batches(loader: "DataLoader[Sample]", device: torch.device) -> Iterator[Sample]:
    for batch in loader:
        yield Sample(*(tensor.to(device, non_blocking=True) for tensor in batch))


def _initialise(net: DeepfakeNet, weights: str) -> str:
    """Give the backbone its first weights; returns where they came from."""
    if weights == "random":
        return "random weights"
    name = net.config.backbone
    origin = load_imagenet(net.cnn, name)
    if origin is None:
        cause = f"no ImageNet weights of {name} on this machine, and no network to get them from"
        if weights == "imagenet":
            raise UsageError(f"{cause}; --set weights=random starts without")
        log.warning("%s: training starts from RANDOM weights", cause)
        return "random weights, for want of ImageNet's"
    return f"ImageNet ({origin})"


def latest_checkpoint(out: Path) -> Path | None:
    """The checkpoint of the last whole epoch."""
    found = {int(p.stem.rpartition("_")[2]): p for p in out.glob("model_epoch_[0-9]*.pth")}
    return found[max(found)] if found else None


def _restore(
    path: Path,
    description: dict[str, Any],
    net: DeepfakeNet,
    optimizer: Adam,
    scheduler: ReduceLROnPlateau,
    scaler: torch.amp.GradScaler,
) -> list[Epoch]:
    """Put back what a checkpoint holds, if it is of the same run; returns its history."""
    state = read_checkpoint(path)
    try:
        before, now = _fixed(state["config"]), _fixed(description)
        changed = [key for key in now if before[key] != now[key]]
        if changed:
            raise ModelError(path, f"trained with another {', '.join(changed)}: not to be resumed")
        description["training"]["started_from"] = state["config"]["training"]["started_from"]
        net.load_state_dict(state["model_state_dict"])
        optimizer.load_state_dict(state["optimizer_state_dict"])
        scheduler.load_state_dict(state["scheduler_state_dict"])
        scaler.load_state_dict(state["scaler_state_dict"])
        history = [Epoch(**row) for row in state["history"]]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(path, f"cannot be resumed: {error}") from error
    log.info("resumed after epoch %d", len(history))
    return history


def _fixed(description: dict[str, Any]) -> dict[str, Any]:
    """What must not change within a run, as one flat dictionary."""
    flat = description["faces"] | description["model"] | description["training"]["settings"]
    return {key: value for key, value in flat.items() if key not in ("epochs", "workers")}


def evaluate_best(data: str | Path, out: str | Path, device: str = "auto") -> Metrics | None:
    """Evaluate the best model of a run on the test split, into `out/evaluation`."""
    try:
        detector = Detector.from_pretrained(out, device=device)
        pairs = detector.predict_split(data, "test")
        return write_evaluation(Path(out) / "evaluation", [scored_video(*pair) for pair in pairs])
    except (CorpusError, ValueError) as error:
        log.warning("not evaluated: %s", error)
        return None
