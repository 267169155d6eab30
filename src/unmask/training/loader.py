"""Windows as training takes them: augmented, in batches."""

import os
import signal
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from unmask.data.windows import Window
from unmask.errors import StoreError
from unmask.faces import FaceTrack
from unmask.synth import Forged, Forger
from unmask.training.augment import Augmentation
from unmask.training.dataset import Change, DeepfakeWindowDataset, Sample
from unmask.training.degrade import Degradation
from unmask.training.feature_cache import FeatureCache
from unmask.training.sampler import Draw


class Batch(NamedTuple):
    """Samples stacked, and what could not be read."""

    sample: Sample | None
    broken: tuple[StoreError, ...]


class TrainingWindows(Dataset["list[Sample] | StoreError"]):
    """The windows of a dataset as training takes them: augmented, or as cached features.

    With a forger there are only the real ones, each beside a fake: mostly one made of it, another
    one in every epoch; and for a share of them a fake of the dataset, beside its own recording
    where that is there, else with the same sharpness (see Forger.borrow).

    Args:
        dataset: the windows.
        augment: see TrainConfig.
        crop: see TrainConfig.
        cache: features to take instead of faces.
        forger: makes the fakes.
        true_fakes: share of the pairs whose fake is one of the dataset's.
    """

    def __init__(
        self,
        dataset: DeepfakeWindowDataset,
        augment: str,
        crop: int = 0,
        cache: FeatureCache | None = None,
        forger: Forger | None = None,
        true_fakes: float = 0.0,
    ) -> None:
        self.dataset, self._augment, self.cache = dataset, augment, cache
        self._crop, self._forger, self._true_fakes = crop, forger, true_fakes
        self._people = dataset.people
        everything, labels, methods = list(range(len(dataset))), dataset.labels, dataset.methods
        reals = [k for k in everything if not labels[k]]
        self._rows = everything if forger is None else reals
        recordings = dataset.recordings
        # Of each recording its first window.
        self._donors = list({recordings[k][0]: k for k in reversed(reals)}.values())
        at = {recordings[k]: k for k in reals}
        known = {name for name, _ in at}
        self._fakes: dict[str, list[tuple[int, int | None]]] = {}  # by method: with its real
        for k in everything:
            if labels[k] and (recordings[k] in at or recordings[k][0] not in known):
                own = self._fakes.setdefault(methods[k] or "", [])
                own.append((k, at.get(recordings[k])))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def samples(self) -> int:
        """How many an item is."""
        return 1 if self._forger is None else 2

    @property
    def labels(self) -> list[float]:
        """Of every item; of a pair, its real half's."""
        labels = self.dataset.labels
        return [labels[k] for k in self._rows]

    @property
    def recordings(self) -> list[tuple[str, int]]:
        """Of every item, see DeepfakeWindowDataset."""
        recordings = self.dataset.recordings
        return [recordings[k] for k in self._rows]

    def __getitem__(self, draw: Draw) -> "list[Sample] | StoreError":
        """What was drawn; `faces` are (T, F) float32 features where they are cached.

        A file that has become unreadable is returned as its error.
        """
        index, change = self._rows[draw.window], self._change(draw)
        try:
            if self._forger is None:
                return [self.dataset.sample(index, change, self.cache)]
            rng = np.random.default_rng((*draw.seed, 1))
            if self._fakes and rng.random() < self._true_fakes:
                return self._with_true_fake(index, change, rng)
            donor = self._donor(index, rng) if "other" in self._forger.needs else None
            forge = partial(self._forger.forge, other=donor, rng=rng)
            return [*self.dataset.pair(index, change, forge)]
        except StoreError as error:
            return error

    def _change(self, draw: Draw) -> Change:
        rng = np.random.default_rng(draw.seed)
        if self._augment == "strong":
            return Degradation.draw(rng, self._crop, self.dataset.spec.image_size)
        return Augmentation.draw(self._augment, rng)

    def _with_true_fake(self, index: int, change: Change, rng: np.random.Generator) -> list[Sample]:
        assert self._forger is not None
        forger, methods = self._forger, list(self._fakes.values())
        of_method = methods[int(rng.integers(len(methods)))]
        fake, own = of_method[int(rng.integers(len(of_method)))]
        if own is not None:
            return [self.dataset.sample(own, change), self.dataset.sample(fake, change)]
        lent, part = self.dataset.track(fake)

        def borrow(track: FaceTrack, window: Window) -> Forged:
            real = track.crops[window.start : window.stop]
            generated = lent.crops[part.start : part.stop]
            return forger.borrow(real, generated[np.arange(len(real)) % len(generated)], rng)

        return [*self.dataset.pair(index, change, borrow)]

    def _donor(self, index: int, rng: np.random.Generator) -> FaceTrack | None:
        """Faces of another person."""
        others = [k for k in self._donors if self._people[k] != self._people[index]]
        return self.dataset.track(others[int(rng.integers(len(others)))])[0] if others else None


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


def _collate(items: "list[list[Sample] | StoreError]", refill: bool) -> Batch:
    read = [item for item in items if not isinstance(item, StoreError)]
    broken = tuple(item for item in items if isinstance(item, StoreError))
    if refill and read:
        read = [read[k % len(read)] for k in range(len(items))]
    samples = [sample for item in read for sample in item]
    return Batch(default_collate(samples) if samples else None, broken)
