"""A training run: what it trains, with what, and how far it has come."""

import logging
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unmask.atomic import save_tensors
from unmask.engine import HERE, Engine
from unmask.errors import ModelError, UnmaskError
from unmask.evaluation.metrics import auc
from unmask.models import DeepfakeNet, Logits
from unmask.models.bundle import (
    BEST,
    CARD,
    WEIGHTS,
    BundleConfig,
    Provenance,
    read_checkpoint,
)
from unmask.models.calibration import CALIBRATION
from unmask.training.checkpoints import (
    Checkpoint,
    Epoch,
    Position,
    read_state,
    save_unfinished,
    whole_checkpoint,
)
from unmask.training.config import RunConfig
from unmask.training.dataset import Sample
from unmask.training.distributed import Group
from unmask.training.feature_cache import FeatureCache
from unmask.training.feed import Feed
from unmask.training.initial_weights import initialise
from unmask.training.learner import Learner
from unmask.training.losses import compute_loss, window_labels
from unmask.training.refit import refit_head
from unmask.training.signals import StoppedError
from unmask.training.validation import Validation, validate

log = logging.getLogger("unmask")
_RECENT = 1000  # windows in the training AUC


@dataclass(frozen=True)
class Progress:
    """Where a run is: after a batch of an epoch.

    Attributes:
        epoch, batch: from 1.
        windows, of: this process's windows of the epoch, so far and in all.
        loss: mean over the windows so far.
        auc: of the last thousand; None without both classes.
    """

    epoch: int
    batch: int
    windows: int
    of: int
    loss: float
    auc: float | None


OnStep = Callable[[Progress], None]


@dataclass
class _Tally:
    """Losses and scores of an epoch so far."""

    total: float
    count: int
    recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def add(self, loss: float, logits: Logits, labels: torch.Tensor) -> None:
        self.total += loss * len(labels)
        self.count += len(labels)
        self.recent.extend(zip(labels.tolist(), logits.window.tolist(), strict=True))

    @property
    def mean(self) -> float:
        return self.total / max(1, self.count)

    @property
    def auc(self) -> float | None:
        return auc(*np.array(self.recent).T) if self.recent else None


class Run:
    """A training run: its data, its learner, and how far it has come.

    Args:
        data: the preprocessed tree.
        config: of the run.
        group: the processes that train together.
        out: folder for the results; None writes nothing.
        last: the checkpoint to go on from.
        engine: where faces are encoded once.
    """

    def __init__(
        self,
        data: Path,
        config: RunConfig,
        group: Group,
        out: Path | None = None,
        last: Path | None = None,
        engine: Engine = HERE,
    ) -> None:
        self.settings, self.group, self._out = config.training, group, out
        self.feed = Feed(data, config, group)
        begun = self._begun(last, config) if last else None
        torch.manual_seed(config.training.seed)
        net = DeepfakeNet(config.model)
        origin = (
            begun.config.training.started_from
            if begun
            else initialise(net, config.training.weights)
        )
        self.description = self._describe(config, out, origin)
        if self.settings.freeze_cnn or self.settings.freeze_stages:
            net.freeze_cnn(None if self.settings.freeze_cnn else self.settings.freeze_stages)
        steps = -(-self.feed.batches // self.settings.accumulate)
        self.learner = Learner(net.to(group.device), self.settings, group, steps)
        self.position = self._restore(begun) if begun else Position(contents=self.feed.contents)
        if out:
            self._prepare(out, engine)

    @property
    def parameters(self) -> tuple[int, int]:
        """How many the network has, and how many of them learn."""
        counts = [(p.numel(), p.requires_grad) for p in self.learner.net.parameters()]
        return sum(n for n, _ in counts), sum(n for n, learns in counts if learns)

    def checkpoint(self) -> Checkpoint:
        """All that is needed to go on from here."""
        return Checkpoint(self.learner.state(), self.description, self.position)

    def train_epoch(self, signals: list[int], on_step: OnStep) -> float:
        """The rest of a pass over the training windows; returns the mean loss a window."""
        settings, start = self.settings, self.position
        epoch = len(start.history) + 1
        # What was summed up before the run was stopped is the first process's.
        tally = _Tally(start.loss, start.windows) if self.group.main else _Tally(0.0, 0)
        saved = time.monotonic()
        self.learner.net.train()
        for number, sample in enumerate(
            self.feed.training(epoch, start.batches), start.batches + 1
        ):
            # What is random in a batch follows from its number, so that a resumed run draws
            # what an uninterrupted one would have drawn.
            torch.manual_seed(_mixed(settings.seed, epoch, number, self.group.rank))
            if sample is not None:
                self._learn(sample, epoch, number, tally)
            if number % settings.accumulate == 0 or number == self.feed.batches:
                self.learner.step()
                late = time.monotonic() - saved > 60 * settings.save_minutes
                stop, save = self.group.any(bool(signals), late and self.group.main)
                if stop or save:
                    self._save_unfinished(number, tally)
                    saved = time.monotonic()
                if stop:
                    raise StoppedError(signals[0] if signals else signal.SIGTERM)
            of = self.feed.share
            on_step(Progress(epoch, number, tally.count, of, tally.mean, tally.auc))
        total, count = self._sums(tally)
        if not count:
            raise UnmaskError("none of the training windows can be read any more")
        return total / count

    def validate(self) -> Validation:
        """Measure the network as it would be kept now."""
        learner, feed = self.learner, self.feed
        return validate(
            learner.best, feed.validation(), self.settings, self.group, learner.precision,
            feed.fake_weight,
        )  # fmt: skip

    def refit(self, out: Path) -> None:
        """Fit the head of the best network again, on one more pass over the training windows."""
        net, path = self.learner.best, out / BEST
        state = read_checkpoint(path)
        net.load_state_dict(state)
        samples = self.feed.training(len(self.position.history) + 1)
        refit_head(net, samples, self.settings, self.group, self.learner.precision)
        if self.group.main:
            save_tensors(path, net.state_dict())

    def end_epoch(self, result: Epoch) -> None:
        """Go on to the next epoch."""
        self.learner.end_epoch(result.val_loss)
        self.position = Position((*self.position.history, result), contents=self.feed.contents)

    def close(self) -> None:
        """End the loaders' processes."""
        self.feed.close()

    def _learn(self, sample: Sample, epoch: int, number: int, tally: _Tally) -> None:
        """Gather the gradient of a batch."""
        settings = self.settings
        logits = self.learner.forward(sample.faces, sample.mask)
        loss = compute_loss(logits, sample, settings, self.feed.fake_weight)
        if not torch.isfinite(loss):
            raise UnmaskError(
                f"the loss is {loss.item()} in batch {number} of epoch {epoch}: lower the "
                "learning rate (--set lr=...) or cut the gradients (--set clip_norm=1); "
                "what was saved is kept"
            )
        gathered = (number - 1) // settings.accumulate * settings.accumulate
        self.learner.backward(loss / min(settings.accumulate, self.feed.batches - gathered))
        tally.add(loss.item(), logits, window_labels(sample, settings))

    def _sums(self, tally: _Tally) -> tuple[float, int]:
        """Loss and windows of all processes."""
        totals, counts = zip(*self.group.gather((tally.total, tally.count)), strict=True)
        return sum(totals), sum(counts)

    def _save_unfinished(self, batches: int, tally: _Tally) -> None:
        loss, windows = self._sums(tally)
        if self._out and self.group.main:
            position = replace(self.position, batches=batches, loss=loss, windows=windows)
            save_unfinished(self._out, replace(self.checkpoint(), position=position))

    def _describe(self, config: RunConfig, out: Path | None, origin: str) -> BundleConfig:
        """What stands in `config.json`."""
        facts = Provenance(origin, asdict(config.training))
        name = out.resolve().name if out else ""
        return BundleConfig(name, config.model, self.feed.spec, config.decision, facts)

    def _begun(self, path: Path, config: RunConfig) -> Checkpoint | None:
        """The checkpoint to go on from, if it is of this run.

        An unfinished epoch of other windows or processes is begun again, since what it has seen
        and what it has not cannot be told apart any more: from the checkpoint before it, or None
        where it is the first.

        Raises:
            ModelError: it is of another run, or cannot be read.
        """
        found = read_state(path)
        before, now = _fixed(found.config), _fixed(self._describe(config, None, ""))
        changed = [key for key in now if before.get(key) != now[key]]
        if changed:
            raise ModelError(path, f"trained with another {', '.join(changed)}: not to be resumed")
        changes = self.feed.contents.differences(found.position.contents)
        number = len(found.position.history) + 1
        if not changes or not found.position.batches:
            if changes and self.group.main:
                log.warning("from epoch %d on, %s", number, "; ".join(changes))
            return found
        if self.group.main:
            log.warning("epoch %d BEGINS AGAIN: %s", number, "; ".join(changes))
        return read_state(whole_checkpoint(path.parent, number - 1)) if number > 1 else None

    def _restore(self, begun: Checkpoint) -> Position:
        """Put back what a checkpoint holds."""
        position = begun.position
        try:
            self.learner.restore(begun.learner)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(begun.path, f"cannot be resumed: {error}") from error
        if position.contents != self.feed.contents:
            self.learner.at_epoch(len(position.history))
        if self.group.main:
            log.info("resumed after epoch %d, batch %d", len(position.history), position.batches)
        return replace(position, contents=self.feed.contents)

    def _prepare(self, out: Path, engine: Engine) -> None:
        """Write what is known already, and encode the faces if they need it only once."""
        if self.group.main:
            for name in (WEIGHTS, CALIBRATION, CARD):  # of before, when it is trained further
                (out / name).unlink(missing_ok=True)
            self.description.save(out)
        settings, learner, paths = self.settings, self.learner, self.feed.paths
        same = settings.augment in ("none", "flip") and settings.synth == "none"
        if not settings.freeze_cnn or not same:
            return
        log.info("the backbone is frozen: the faces of %d files are encoded once", len(paths))
        mirrored = settings.augment == "flip"
        faces = self.description.decision.faces
        cache = FeatureCache(out / "features", learner.net, learner.precision, mirrored, faces)
        ours = paths[self.group.rank :: self.group.world]
        cache.fill(ours, learner.net, learner.precision, engine)
        self.group.gather(None)  # nobody reads what another still writes
        self.feed.use(cache)


def _fixed(config: BundleConfig) -> dict[str, Any]:
    """What must not change within a run, as one flat dictionary."""
    flat = asdict(config.face_spec) | asdict(config.model) | config.training.settings
    free = {"workers", "patience", "keep", "save_minutes", "tensorboard", "compile", "calibrate"}
    if flat["schedule"] != "cosine":  # which ends with the last epoch
        free.add("epochs")
    return {key: value for key, value in flat.items() if key not in free}


def _mixed(*numbers: int) -> int:
    """A seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
