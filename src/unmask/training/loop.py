"""Training: one readable loop."""

import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader

from unmask.detection.detector import Detector
from unmask.detection.scoring import labelled_videos, score_videos, telling_faces
from unmask.device import autocast
from unmask.errors import CorpusError, ModelError, UnmaskError, UsageError
from unmask.evaluation import Report, write_evaluation
from unmask.evaluation.metrics import auc
from unmask.models import DeepfakeNet, Logits, find_model, load_bundle, load_imagenet
from unmask.models.bundle import BundleConfig, Provenance, parse_config
from unmask.synth import Forger, parse_families
from unmask.synth.redrawers import load_redrawers
from unmask.training.checkpoints import (
    Epoch,
    Position,
    best_epoch,
    latest_checkpoint,
    read_state,
    save_epoch,
    save_unfinished,
    write_scalars,
)
from unmask.training.config import Config, TrainConfig, make_config
from unmask.training.dataset import DeepfakeWindowDataset, Sample
from unmask.training.distributed import Group, process_group
from unmask.training.feature_cache import FeatureCache
from unmask.training.learner import Learner
from unmask.training.loader import Batch, TrainingWindows, stop_workers, training_loader
from unmask.training.losses import compute_loss, window_labels
from unmask.training.sampler import Draw, EpochSampler
from unmask.training.signals import StoppedError, collect_signals

log = logging.getLogger("unmask")
_RECENT = 1000  # windows in the training AUC
Parts = TypeVar("Parts", Logits, Sample)


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


def train(
    data: str | Path,
    out: str | Path,
    config: Config | None = None,
    *,
    resume: bool = False,
    device: str = "auto",
    on_step: OnStep = lambda progress: None,
) -> Report | None:
    """Train on the train split, choose by the val split, evaluate the best on the test split.

    Leaves in `out`: `model_epoch_N.pth` a full checkpoint an epoch, `best_model.pth` the best
    weights alone, `config.json` what they are and with which settings, `history.jsonl` a line an
    epoch, and `evaluation/`. The folder is a model for `Detector.from_pretrained`. Started by
    torchrun, all processes train one network together.

    Args:
        data: a preprocessed tree.
        out: folder for the results.
        config: see make_config; None is the default preset.
        resume: go on where the run in `out` was when it was last saved; the numbers are those of
            an uninterrupted run.
        device: see pick_device.
        on_step: called after every batch.

    Returns:
        Report of the test split; None if the tree has none that could be scored.

    Raises:
        StoppedError: by SIGTERM or SIGINT, after the step has been finished and saved.
        UnmaskError: no data, an occupied folder, a loss that is not finite, a full disk.
    """
    config, out = config or make_config(), Path(out)
    settings = config[1]
    last = latest_checkpoint(out)
    if last and not resume:
        raise UsageError(f"{out} holds checkpoints: resume, or choose another folder")
    with (
        process_group(device) as group,
        closing(Run(Path(data), config, group, out, last)) as run,
    ):
        history = list(run.position.history)
        with collect_signals() as signals:
            while not _finished(history, settings):
                epoch = len(history) + 1
                train_loss = run.train_epoch(epoch, signals, on_step)
                result = Epoch(epoch, train_loss, *run.validate(), run.learner.lr)
                run.learner.end_epoch(result.val_loss)
                history.append(result)
                run.position = Position(tuple(history))
                best = best_epoch(history, settings.monitor) is result
                if group.main:
                    save_epoch(out, run.state(), history, best, settings.keep)
                    if settings.tensorboard:
                        write_scalars(out / "tensorboard", result)
                    note = "  (best)" if best else ""
                    log.info("epoch %d/%d  %s%s", epoch, settings.epochs, result, note)
                if signals:
                    raise StoppedError(signals[0])
    return evaluate_best(data, out, device) if group.main else None


def _finished(history: list[Epoch], settings: TrainConfig) -> bool:
    """After the last epoch, or when it has not become better for long enough."""
    if len(history) >= settings.epochs:
        return True
    since = len(history) - best_epoch(history, settings.monitor).epoch if history else 0
    return 0 < settings.patience <= since


class Run:
    """A training run: its data, its learner, and how far it has come.

    Args:
        data: the preprocessed tree.
        config: of the run.
        group: the processes that train together.
        out: folder for the results; None writes nothing.
        last: the checkpoint to go on from.
    """

    def __init__(
        self,
        data: Path,
        config: Config,
        group: Group,
        out: Path | None = None,
        last: Path | None = None,
    ) -> None:
        model_config, settings, decision = config
        self.settings, self.group, self._out = settings, group, out
        train_set, val_set = _load_sets(data, settings)
        torch.manual_seed(settings.seed)
        net = DeepfakeNet(model_config)
        origin = "checkpoint" if last else _initialise(net, settings.weights)
        if settings.freeze_cnn or settings.freeze_stages:
            net.freeze_cnn(None if settings.freeze_cnn else settings.freeze_stages)
        windows = TrainingWindows(train_set, settings.augment, forger=_forger(settings))
        self._sampler = EpochSampler(
            windows.labels,
            windows.recordings,
            settings.batch_size,
            settings.seed,
            settings.pairs,
            settings.balance == "sampling",
            group.rank,
            group.world,
        )
        self.batches = len(self._sampler)
        if not self.batches:
            raise CorpusError(data / "train", f"has fewer windows than processes: {group.world}")
        steps = -(-self.batches // settings.accumulate)
        self.learner = Learner(net.to(group.device), settings, group, steps)
        self.windows = len(windows), len(val_set)
        fakes = sum(windows.labels)
        weighted = settings.balance == "weight"
        self._fake_weight = (len(windows) - fakes) / fakes if weighted else 1.0
        facts = Provenance(origin, asdict(settings))
        name = out.resolve().name if out else ""
        self.description = BundleConfig(name, model_config, train_set.spec, decision, facts)
        self.position = self._restore(last) if last else Position()
        cache = self._cache(out, [*train_set.paths, *val_set.paths]) if out else None
        if out and group.main:
            self.description.save(out)
        windows.cache = cache
        self._train = training_loader(
            windows,
            self._sampler,
            settings.workers,
            refill=True,
        )
        own = [Draw(k, ()) for k in range(group.rank, len(val_set), group.world)]
        size = settings.batch_size
        self._val = training_loader(
            TrainingWindows(val_set, "none", cache),
            [own[k : k + size] for k in range(0, len(own), size)],
            settings.workers,
        )

    @property
    def parameters(self) -> tuple[int, int]:
        """How many the network has, and how many of them learn."""
        counts = [(p.numel(), p.requires_grad) for p in self.learner.net.parameters()]
        return sum(n for n, _ in counts), sum(n for n, learns in counts if learns)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return self.learner.state() | {"config": asdict(self.description)}

    def train_epoch(self, epoch: int, signals: list[int], on_step: OnStep) -> float:
        """The rest of a pass over the training windows; returns the mean loss a window."""
        settings, learner, start = self.settings, self.learner, self.position
        self._sampler.set_epoch(epoch, start.batches)
        # What was summed up before an interruption is the first process's.
        total, count = (start.loss, start.windows) if self.group.main else (0.0, 0)
        recent: deque[tuple[float, float]] = deque(maxlen=_RECENT)
        saved = time.monotonic()
        learner.net.train()
        for number, sample in enumerate(self._samples(self._train), start.batches + 1):
            # What is random in a batch follows from its number, so that a resumed run draws
            # what an uninterrupted one would have drawn.
            torch.manual_seed(_mixed(settings.seed, epoch, number, self.group.rank))
            if sample is not None:
                logits = learner.forward(sample.faces, sample.mask)
                loss = compute_loss(logits, sample, settings, self._fake_weight)
                if not torch.isfinite(loss):
                    raise UnmaskError(
                        f"the loss is {loss.item()} in batch {number} of epoch {epoch}: lower the "
                        "learning rate (--set lr=...) or cut the gradients (--set clip_norm=1); "
                        "what was saved is kept"
                    )
                gathered = (number - 1) // settings.accumulate * settings.accumulate
                learner.backward(loss / min(settings.accumulate, self.batches - gathered))
                total += loss.item() * len(sample.mask)
                count += len(sample.mask)
                labels = window_labels(sample, settings).tolist()
                recent.extend(zip(labels, logits.window.tolist(), strict=True))
            if number % settings.accumulate == 0 or number == self.batches:
                learner.step()
                late = time.monotonic() - saved > 60 * settings.save_minutes
                stop, save = self.group.any(bool(signals), late and self.group.main)
                if stop or save:
                    self._save_unfinished(number, total, count)
                    saved = time.monotonic()
                if stop:
                    raise StoppedError(signals[0] if signals else signal.SIGTERM)
            area = auc(*np.array(recent).T) if recent else None
            mean = total / max(1, count)
            on_step(Progress(epoch, number, count, self._sampler.windows, mean, area))
        total, count = self._sums(total, count)
        if not count:
            raise UnmaskError("none of the training windows can be read any more")
        return total / count

    @torch.inference_mode()
    def validate(self) -> tuple[float, float, float | None]:
        """(mean loss, accuracy, AUC) over the validation windows."""
        net, outputs = self.learner.best.eval(), []
        for sample in self._samples(self._val):
            if sample is not None:
                with autocast(self.group.device, self.learner.precision):
                    logits = net(sample.faces, sample.mask)
                # The faces are not needed any more; the mask stands in for them.
                sample = sample._replace(faces=sample.mask)
                outputs.append((_on_cpu(logits), _on_cpu(sample)))
        outputs = [pair for theirs in self.group.gather(outputs) for pair in theirs]
        if not outputs:
            raise UnmaskError("none of the validation windows can be read any more")
        logits = _joined([logits for logits, _ in outputs])
        sample = _joined([sample for _, sample in outputs])
        loss = compute_loss(logits, sample, self.settings, self._fake_weight)
        truth = window_labels(sample, self.settings)
        accuracy = float(((logits.window > 0) == (truth > 0.5)).float().mean())
        return float(loss), accuracy, auc(truth.numpy(), logits.window.numpy())

    def close(self) -> None:
        """End the loaders' processes."""
        for loader in (self._train, self._val):
            stop_workers(loader)

    def _samples(self, loader: "DataLoader[Batch]") -> Iterator[Sample | None]:
        """Batches on the device; None for one of which nothing can be read."""
        for batch in loader:
            for error in batch.broken:
                log.warning("left out: %s", error)
            if batch.sample is None and self.group.world > 1:
                raise batch.broken[0]  # the others wait for a gradient
            if batch.sample is None:
                yield None
            else:
                device = self.group.device
                yield Sample(*(part.to(device, non_blocking=True) for part in batch.sample))

    def _sums(self, total: float, count: int) -> tuple[float, int]:
        """Loss and windows of all processes."""
        totals, counts = zip(*self.group.gather((total, count)), strict=True)
        return sum(totals), sum(counts)

    def _save_unfinished(self, batches: int, total: float, count: int) -> None:
        loss, windows = self._sums(total, count)
        if self._out and self.group.main:
            position = replace(self.position, batches=batches, loss=loss, windows=windows)
            save_unfinished(self._out, self.state(), position)

    def _restore(self, path: Path) -> Position:
        """Put back what a checkpoint holds, if it is of the same run."""
        state, position = read_state(path)
        try:
            config = parse_config(state["config"], path)
            before, now = _fixed(config), _fixed(self.description)
            changed = [key for key in now if before[key] != now[key]]
            if changed:
                raise ModelError(
                    path, f"trained with another {', '.join(changed)}: not to be resumed"
                )
            self.description = replace(self.description, training=config.training)
            self.learner.restore(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(path, f"cannot be resumed: {error}") from error
        if self.group.main:
            log.info("resumed after epoch %d, batch %d", len(position.history), position.batches)
        return position

    def _cache(self, out: Path, paths: list[Path]) -> FeatureCache | None:
        """Features instead of faces, where the backbone is frozen and they do not change."""
        settings, learner = self.settings, self.learner
        same = settings.augment in ("none", "flip") and settings.synth == "none"
        if not settings.freeze_cnn or not same:
            return None
        log.info("the backbone is frozen: the faces of %d files are encoded once", len(paths))
        mirrored = settings.augment == "flip"
        cache = FeatureCache(out / "features", learner.net, learner.precision, mirrored)
        cache.fill(paths[self.group.rank :: self.group.world], learner.net, learner.precision)
        self.group.gather(None)  # nobody reads what another still writes
        return cache


def _on_cpu(parts: Parts) -> Parts:
    kind: Any = type(parts)
    return kind(*(None if part is None else part.cpu() for part in parts))  # type: ignore[no-any-return]


def _joined(batches: list[Parts]) -> Parts:
    kind: Any = type(batches[0])
    columns = zip(*batches, strict=True)
    return kind(*(None if column[0] is None else torch.cat(column) for column in columns))  # type: ignore[no-any-return]


def evaluate_best(data: str | Path, out: str | Path, device: str = "auto") -> Report | None:
    """Evaluate the best model of a run on the test split, into `out/evaluation`."""
    try:
        detector = Detector.from_pretrained(out, device=device)
        videos = score_videos(detector, labelled_videos(data))
        return write_evaluation(
            Path(out) / "evaluation", videos, faces=partial(telling_faces, detector)
        )
    except (CorpusError, ValueError) as error:
        log.warning("not evaluated: %s", error)
        return None


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
    if settings.synth == "none" and len(set(train_set.labels)) < 2:
        raise CorpusError(data / "train", "holds only one class: it takes real and fake")
    if len(set(val_set.labels)) < 2:
        log.warning("%s holds only one class: the loss has to choose the best epoch", data / "val")
    return train_set, val_set


def _forger(settings: TrainConfig) -> Forger | None:
    if settings.synth == "none":
        return None
    redrawers = load_redrawers(settings.redrawers) if settings.redrawers else []
    return Forger(parse_families(settings.synth), redrawers)


def _initialise(net: DeepfakeNet, weights: str) -> str:
    """Give the network its first weights; returns where they came from."""
    if weights == "random":
        return "random weights"
    if weights not in ("imagenet", "auto"):
        try:
            path = find_model(weights)
        except ModelError as error:
            raise UsageError(f"weights: imagenet, random, auto, or a model; {error}") from error
        bundle = load_bundle(path)
        if bundle.net.config != net.config:
            raise ModelError(weights, "has another architecture than the settings ask for")
        net.load_state_dict(bundle.net.state_dict())
        before = bundle.config.training.started_from
        return f"{bundle.name} (sha256 {bundle.sha256}), which started from {before}"
    try:
        return f"ImageNet ({load_imagenet(net.cnn, net.config.backbone)})"
    except ModelError as error:
        raise UsageError(f"{error}; --set weights=random starts without") from error


def _fixed(config: BundleConfig) -> dict[str, Any]:
    """What must not change within a run, as one flat dictionary."""
    flat = asdict(config.face_spec) | asdict(config.model) | config.training.settings
    free = {"workers", "patience", "keep", "save_minutes", "tensorboard", "compile"}
    if flat["schedule"] != "cosine":  # which ends with the last epoch
        free.add("epochs")
    return {key: value for key, value in flat.items() if key not in free}


def _mixed(*numbers: int) -> int:
    """A seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
