"""Training: one readable loop."""

import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from unmask.data.shards import tree_path
from unmask.engine import HERE, Engine
from unmask.errors import UsageError
from unmask.evaluation import Report
from unmask.models.bundle import WEIGHTS
from unmask.training.checkpoints import (
    Epoch,
    best_epoch,
    latest_checkpoint,
    save_epoch,
    write_scalars,
)
from unmask.training.config import RunConfig, TrainConfig, make_config
from unmask.training.distributed import process_group
from unmask.training.finish import finish
from unmask.training.run import OnStep, Run
from unmask.training.signals import StoppedError, collect_signals

log = logging.getLogger("unmask")


def train(
    data: str | Path,
    out: str | Path,
    config: RunConfig | None = None,
    *,
    resume: bool = False,
    device: str = "auto",
    on_step: OnStep = lambda progress: None,
    engine: Engine = HERE,
) -> Report | None:
    """Train on the train split, choose by the val split, evaluate the best on the test split.

    Leaves in `out` a model for `unmask.load_model`: `config.json`, `model.safetensors`, and with
    `calibrate` `calibration.json`; its `card.md` and `evaluation/`; and `model_epoch_N.pth` a full
    checkpoint an epoch, `best_model.pth` the best weights alone, `history.jsonl` a line an epoch.
    Started by torchrun, all processes train one network together.

    Args:
        data: a preprocessed tree, or the address of one in shards.
        out: folder for the results.
        config: see make_config; None is the default preset.
        resume: go on where the run in `out` was when it was last saved; the numbers are those of
            an uninterrupted run. Where the windows or the number of processes have changed, an
            unfinished epoch is begun again.
        device: see pick_device.
        on_step: called after every batch.
        engine: where the faces are encoded, if a frozen backbone needs that only once.

    Returns:
        Report of the test split; None if the tree has none that could be scored.

    Raises:
        StoppedError: by SIGTERM or SIGINT, after the step has been finished and saved.
        UnmaskError: no data, an occupied folder, a loss that is not finite, a full disk.
    """
    config, out = config or make_config(), Path(out)
    last = latest_checkpoint(out)
    if last and not resume:
        raise UsageError(f"{out} holds checkpoints: resume, or choose another folder")
    if not last and (out / WEIGHTS).exists():
        raise UsageError(f"{out} holds a model: choose another folder")
    with (
        process_group(device) as group,
        closing(Run(tree_path(data), config, group, out, last, engine)) as run,
        collect_signals() as signals,
    ):
        while not is_finished(run.position.history, config.training):
            train_loss = run.train_epoch(signals, on_step)
            _end_epoch(run, train_loss, out)
            if signals:
                raise StoppedError(signals[0])
        if config.training.refit:
            run.refit(out)
    return finish(data, out, config.training.calibrate, device) if group.main else None


def is_finished(history: Sequence[Epoch], settings: TrainConfig) -> bool:
    """Whether it is after the last epoch, or no epoch was better for long enough."""
    if len(history) >= settings.epochs:
        return True
    since = len(history) - best_epoch(history, settings.monitor).epoch if history else 0
    return 0 < settings.patience <= since


def _end_epoch(run: Run, train_loss: float, out: Path) -> None:
    """Validate, and save what has come out."""
    settings, before = run.settings, run.position.history
    val = run.validate()
    number = len(before) + 1
    result = Epoch(number, train_loss, val.loss, val.accuracy, val.auc, run.learner.lr)
    run.end_epoch(result)
    best = best_epoch(run.position.history, settings.monitor) is result
    if run.group.main:
        save_epoch(out, run.checkpoint(), best, settings.keep)
        if settings.tensorboard:
            write_scalars(out / "tensorboard", result)
        note = "  (best)" if best else ""
        log.info("epoch %d/%d  %s%s", number, settings.epochs, result, note)
