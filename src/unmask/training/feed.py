"""The windows that a run trains on and validates with, in batches on its device."""

import logging
from collections.abc import Iterator
from pathlib import Path

from torch.utils.data import DataLoader

from unmask.errors import CorpusError
from unmask.face_spec import FaceSpec
from unmask.synth import Forger, parse_families
from unmask.synth.redrawers import load_redrawers
from unmask.training.checkpoints import EpochContents
from unmask.training.config import RunConfig, TrainConfig
from unmask.training.dataset import DeepfakeWindowDataset, Sample
from unmask.training.distributed import Group
from unmask.training.feature_cache import FeatureCache
from unmask.training.loader import Batch, TrainingWindows, stop_workers, training_loader
from unmask.training.sampler import Draw, EpochSampler

log = logging.getLogger("unmask")


class Feed:
    """This process's batches.

    Args:
        data: the preprocessed tree.
        config: of the run.
        group: the processes that train together.

    Attributes:
        spec: how the faces were made.
        paths: of all `.pt` files.
        windows: how many there are to train on and to validate with, of all processes.
        contents: what an epoch is made of.
        fake_weight: what fakes weigh in the loss, in units of reals.

    Raises:
        CorpusError: no data, or data that cannot be trained on.
    """

    def __init__(self, data: Path, config: RunConfig, group: Group) -> None:
        self._group, settings = group, config.training
        train_set, val_set = _load_sets(data, settings, config.decision.faces)
        self.spec: FaceSpec = train_set.spec
        self.paths = [*train_set.paths, *val_set.paths]
        self._windows = (
            TrainingWindows(
                train_set,
                settings.augment,
                settings.crop,
                forger=_forger(settings),
                true_fakes=settings.true_fakes,
            ),
            TrainingWindows(val_set, "none"),
        )
        windows = self._windows[0]
        self.windows = windows.samples * len(windows), len(val_set)
        self.contents = EpochContents(group.world, len(windows), train_set.digest)
        fakes = sum(windows.labels)
        weighted = settings.balance == "weight" and windows.samples == 1
        self.fake_weight = (len(windows) - fakes) / fakes if weighted else 1.0
        self._sampler = EpochSampler(
            windows.labels,
            windows.recordings,
            settings.batch_size // windows.samples,
            settings.seed,
            settings.pairs,
            settings.balance == "sampling" and windows.samples == 1,
            settings.per_recording,
            group.rank,
            group.world,
        )
        if not len(self._sampler):
            raise CorpusError(data / "train", f"has fewer windows than processes: {group.world}")
        self._train = training_loader(windows, self._sampler, settings.workers, refill=True)
        own = [Draw(k, ()) for k in range(group.rank, len(val_set), group.world)]
        size = settings.batch_size
        batches = [own[k : k + size] for k in range(0, len(own), size)]
        self._val = training_loader(self._windows[1], batches, settings.workers)

    @property
    def batches(self) -> int:
        """Of a whole epoch."""
        return len(self._sampler)

    @property
    def share(self) -> int:
        """This process's windows in an epoch."""
        return self._sampler.windows * self._windows[0].samples

    def use(self, cache: FeatureCache) -> None:
        """Give features instead of faces from now on."""
        for windows in self._windows:
            windows.cache = cache

    def training(self, epoch: int, skip: int = 0) -> "Iterator[Sample | None]":
        """Batches of an epoch, past its first `skip`; None for one that cannot be read."""
        self._sampler.set_epoch(epoch, skip)
        return self._samples(self._train)

    def validation(self) -> Iterator[Sample]:
        """Batches to validate with, without those that cannot be read."""
        return (sample for sample in self._samples(self._val) if sample is not None)

    def close(self) -> None:
        """End the loaders' processes."""
        for loader in (self._train, self._val):
            stop_workers(loader)

    def _samples(self, loader: "DataLoader[Batch]") -> "Iterator[Sample | None]":
        for batch in loader:
            for error in batch.broken:
                log.warning("left out: %s", error)
            if batch.sample is None and self._group.world > 1:
                raise batch.broken[0]  # the others wait for a gradient
            if batch.sample is None:
                yield None
            else:
                device = self._group.device
                yield Sample(*(part.to(device, non_blocking=True) for part in batch.sample))


def _load_sets(
    data: Path, settings: TrainConfig, faces: str | int
) -> tuple[DeepfakeWindowDataset, DeepfakeWindowDataset]:
    """The train and the val windows, checked against each other."""
    sets = [DeepfakeWindowDataset(data, split, settings.short, faces) for split in ("train", "val")]
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
