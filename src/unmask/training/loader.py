"""Windows as training takes them: augmented, in batches."""

import os
import signal
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from unmask.errors import StoreError
from unmask.synth import Forger
from unmask.training.augment import Augmentation
from unmask.training.dataset import DeepfakeWindowDataset, Forge, Sample
from unmask.training.feature_cache import FeatureCache
from unmask.training.sampler import Draw


class Batch(NamedTuple):
    """Samples stacked, and what could not be read."""

    sample: Sample | None
    broken: tuple[StoreError, ...]


class TrainingWindows(Dataset["Sample | StoreError"]):
    """The windows of a dataset as training takes them: augmented, or as cached features.

    With a forger every real window is there twice: as it is, and behind all others as a fake made
    of it, another one in every epoch.
    """

    def __init__(
        self,
        dataset: DeepfakeWindowDataset,
        augment: str,
        cache: FeatureCache | None = None,
        forger: Forger | None = None,
    ) -> None:
        self.dataset, self._augment, self.cache = dataset, augment, cache
        self._forger = forger
        self._reals = [k for k, label in enumerate(dataset.labels) if not label]
        self._forged = self._reals if forger else []
        self._people = dataset.people
        names = [name for name, _ in dataset.recordings]
        # Of each recording its first window.
        self._donors = list({names[k]: k for k in reversed(self._reals)}.values())

    def __len__(self) -> int:
        return len(self.dataset) + len(self._forged)

    @property
    def labels(self) -> list[float]:
        """Of every window."""
        return self.dataset.labels + [1.0] * len(self._forged)

    @property
    def recordings(self) -> list[tuple[str, int]]:
        """Of every window, see DeepfakeWindowDataset."""
        recordings = self.dataset.recordings
        return recordings + [recordings[k] for k in self._forged]

    def __getitem__(self, draw: Draw) -> Sample | StoreError:
        """The window that was drawn; `faces` are (T, F) float32 features where they are cached.

        A file that has become unreadable is returned as its error.
        """
        change = Augmentation.draw(self._augment, np.random.default_rng(draw.seed))
        made = draw.window - len(self.dataset)
        try:
            if made < 0:
                return self.dataset.sample(draw.window, change, self.cache)
            rng = np.random.default_rng((*draw.seed, 1))
            return self.dataset.sample(self._forged[made], change, forge=self._forge(made, rng))
        except StoreError as error:
            return error

    def _forge(self, made: int, rng: np.random.Generator) -> Forge:
        assert self._forger is not None
        own = self._forged[made]
        donor = None
        if "other" in self._forger.needs:
            others = [k for k in self._donors if self._people[k] != self._people[own]]
            donor = self.dataset.track(others[int(rng.integers(len(others)))]) if others else None
        return partial(self._forger.forge, other=donor, rng=rng)


def training_loader(
    windows: TrainingWindows,
    batches: "Sampler[list[Draw]] | list[list[Draw]]",
    num_workers: int,
    refill: bool = False,
) -> "DataLoader[Batch]":
    """A loader of the batches that are drawn.

    Windows that cannot be read are left out; with `refill`, others of the batch stand in, so that
    processes that train together see batches of the same size.
    """
    num_workers = min(num_workers, os.cpu_count() or 1)
    # The generator is the loader's own: starting workers must not draw from the global one.
    return DataLoader(
        windows,  # type: ignore[arg-type]
        batch_sampler=batches,
        collate_fn=partial(_collate, refill=refill),
        generator=torch.Generator(),
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
        worker_init_fn=_leave_signals,
    )


def _leave_signals(worker: int) -> None:
    """Being stopped is for the trainer, which needs its workers to finish the step."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def stop_workers(loader: "DataLoader[Batch]") -> None:
    """End the processes of a loader.

    They ignore signals, so left to the garbage collector they could keep the program from ending.
    """
    iterator = loader._iterator
    if iterator is not None and loader.num_workers:
        iterator._shutdown_workers()  # type: ignore[attr-defined]
        loader._iterator = None


def _collate(items: "list[Sample | StoreError]", refill: bool) -> Batch:
    samples = [item for item in items if not isinstance(item, StoreError)]
    broken = tuple(item for item in items if isinstance(item, StoreError))
    if refill and samples:
        samples = [samples[k % len(samples)] for k in range(len(items))]
    return Batch(default_collate(samples) if samples else None, broken)
