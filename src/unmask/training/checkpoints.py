"""What a training run leaves on disk, so that it can be killed at any moment."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unmask.atomic import save_tensors, write_text
from unmask.errors import ModelError, UsageError
from unmask.models.bundle import BEST, BundleConfig, parse_config, read_checkpoint
from unmask.training.learner import LearnerState

HISTORY = "history.jsonl"
_WHOLE, _PART = "model_epoch_{}.pth", "unfinished_epoch_{}.pth"
_KEYS = {  # of LearnerState, in the file
    "model": "model_state_dict",
    "optimizer": "optimizer_state_dict",
    "scheduler": "scheduler_state_dict",
    "scaler": "scaler_state_dict",
    "learning": "learning_state_dict",
    "average_steps": "average_steps",
}


@dataclass(frozen=True)
class Epoch:
    """What came out of one epoch, and the rate at its end.

    `val_auc` is None where a class is missing.
    """

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


def best_epoch(history: Sequence[Epoch], monitor: str) -> Epoch:
    """The best of them; the first of equals."""
    return max(history, key=lambda row: row.rank(monitor))


@dataclass(frozen=True)
class EpochContents:
    """What an epoch is made of: if it changes, a place in the epoch means nothing any more.

    Attributes:
        processes: that share the windows.
        windows: how many there are to train on.
        digest: of which they are, in their order.
    """

    processes: int = 0
    windows: int = 0
    digest: str = ""

    def differences(self, before: "EpochContents") -> list[str]:
        """What has changed, in words."""
        said = []
        if self.processes != before.processes:
            said.append(f"processes: {self.processes}, not {before.processes}")
        if self.windows != before.windows:
            said.append(f"training windows: {self.windows}, not {before.windows}")
        elif self.digest != before.digest:
            said.append("other training windows, as many as before")
        return said


@dataclass(frozen=True)
class Position:
    """How far a run has come: finished epochs, batches of the next, and the losses of these.

    Attributes:
        history: the finished epochs.
        batches: of the unfinished epoch, done; 0 between epochs.
        loss: sum over its windows.
        windows: in it so far.
        contents: of the unfinished epoch, or of the last one.
    """

    history: tuple[Epoch, ...] = ()
    batches: int = 0
    loss: float = 0.0
    windows: int = 0
    contents: EpochContents = EpochContents()


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that is needed to go on with a run.

    Attributes:
        learner: the network and what changes with it.
        config: what `config.json` holds.
        position: how far the run has come.
        path: of the file that it was read from.
    """

    learner: LearnerState
    config: BundleConfig
    position: Position
    path: Path = Path()

    def content(self) -> dict[str, Any]:
        """What the file holds: the design's names, then our own."""
        state = {_KEYS[name]: value for name, value in vars(self.learner).items()}
        return state | {"config": asdict(self.config), "position": asdict(self.position)}


def latest_checkpoint(out: Path) -> Path | None:
    """The checkpoint that holds the most: a whole epoch's, or that of the one after it."""

    def last(name: str) -> int:
        return max(
            (int(p.stem.rpartition("_")[2]) for p in out.glob(name.format("[0-9]*"))), default=0
        )

    whole, part = last(_WHOLE), last(_PART)
    if part > whole:
        return out / _PART.format(part)
    return whole_checkpoint(out, whole) if whole else None


def whole_checkpoint(out: Path, epoch: int) -> Path:
    """Where the state after an epoch is kept."""
    return out / _WHOLE.format(epoch)


def save_unfinished(out: Path, checkpoint: Checkpoint) -> None:
    """Save a state in the middle of an epoch."""
    epoch = len(checkpoint.position.history) + 1
    save_tensors(out / _PART.format(epoch), checkpoint.content())


def save_epoch(out: Path, checkpoint: Checkpoint, best: bool, keep: int) -> None:
    """Save the state after an epoch, and the bare weights if it is the best so far.

    Of the older checkpoints the last `keep` - 1 stay; all if `keep` is 0.
    """
    history = checkpoint.position.history
    result = history[-1]
    if best:
        save_tensors(out / BEST, checkpoint.learner.model)
    figures = {
        "epoch": result.epoch,
        "train_loss": result.train_loss,
        "val_loss": result.val_loss,
        "val_acc": result.val_acc,
    }
    save_tensors(whole_checkpoint(out, result.epoch), figures | checkpoint.content())
    write_text(out / HISTORY, "".join(json.dumps(asdict(row)) + "\n" for row in history))
    (out / _PART.format(result.epoch)).unlink(missing_ok=True)
    for old in range(1, result.epoch - keep + 1 if keep else 1):
        whole_checkpoint(out, old).unlink(missing_ok=True)


def read_state(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ModelError: it cannot be read, or is no checkpoint of a training run.
    """
    state = read_checkpoint(path)
    try:
        learner = LearnerState(**{name: state[key] for name, key in _KEYS.items()})
        values = state["position"]
        position = Position(
            tuple(Epoch(**row) for row in values["history"]),
            values["batches"],
            values["loss"],
            values["windows"],
            EpochContents(**values.get("contents", {})),
        )
        return Checkpoint(learner, parse_config(state["config"], path), position, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(path, f"cannot be resumed: {error}") from error


def write_scalars(folder: Path, result: Epoch) -> None:
    """Write an epoch for TensorBoard.

    Raises:
        UsageError: it is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("tensorboard=true takes: pip install 'unmask[tensorboard]'") from None
    with SummaryWriter(str(folder)) as writer:
        for name, value in asdict(result).items():
            if name != "epoch" and value is not None:
                writer.add_scalar(name, value, result.epoch)
