"""What a training run leaves on disk, so that it can be killed at any moment."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from unmask.atomic import save_tensors, write_text
from unmask.errors import ModelError, UsageError
from unmask.models.bundle import BEST, read_checkpoint

HISTORY = "history.jsonl"
_WHOLE, _PART = "model_epoch_{}.pth", "unfinished_epoch_{}.pth"


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


def best_epoch(history: list[Epoch], monitor: str) -> Epoch:
    """The best of them; the first of equals."""
    return max(history, key=lambda row: row.rank(monitor))


@dataclass(frozen=True)
class Position:
    """How far a run has come: finished epochs, batches of the next, and the losses of these.

    Attributes:
        history: the finished epochs.
        batches: of the unfinished epoch, done; 0 between epochs.
        loss: sum over its windows.
        windows: in it so far.
    """

    history: tuple[Epoch, ...] = ()
    batches: int = 0
    loss: float = 0.0
    windows: int = 0


def latest_checkpoint(out: Path) -> Path | None:
    """The checkpoint that holds the most: a whole epoch's, or that of the one after it."""

    def last(name: str) -> int:
        return max(
            (int(p.stem.rpartition("_")[2]) for p in out.glob(name.format("[0-9]*"))), default=0
        )

    whole, part = last(_WHOLE), last(_PART)
    if part > whole:
        return out / _PART.format(part)
    return out / _WHOLE.format(whole) if whole else None


def save_unfinished(out: Path, state: dict[str, Any], position: Position) -> None:
    """Save a state in the middle of an epoch."""
    epoch = len(position.history) + 1
    save_tensors(out / _PART.format(epoch), state | {"position": asdict(position)})


def save_epoch(
    out: Path, state: dict[str, Any], history: list[Epoch], best: bool, keep: int
) -> None:
    """Save the state after an epoch, and the bare weights if it is the best so far.

    Of the older checkpoints the last `keep` - 1 stay; all if `keep` is 0.
    """
    result = history[-1]
    if best:
        save_tensors(out / BEST, state["model_state_dict"])
    content = {
        "epoch": result.epoch,
        "train_loss": result.train_loss,
        "val_loss": result.val_loss,
        "val_acc": result.val_acc,
        "position": asdict(Position(tuple(history))),
    }
    save_tensors(out / _WHOLE.format(result.epoch), content | state)
    write_text(out / HISTORY, "".join(json.dumps(asdict(row)) + "\n" for row in history))
    (out / _PART.format(result.epoch)).unlink(missing_ok=True)
    for old in range(1, result.epoch - keep + 1 if keep else 1):
        (out / _WHOLE.format(old)).unlink(missing_ok=True)


def read_state(path: Path) -> tuple[dict[str, Any], Position]:
    """A checkpoint's state, and how far it had come.

    Raises:
        ModelError: it cannot be read, or is no checkpoint of a training run.
    """
    state = read_checkpoint(path)
    try:
        values = {field.name: state["position"][field.name] for field in fields(Position)}
        values["history"] = tuple(Epoch(**row) for row in values["history"])
        return state, Position(**values)
    except (KeyError, TypeError) as error:
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
