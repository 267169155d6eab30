"""Which windows an epoch holds, and in which order: all that is random follows from the seed."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

Indices = NDArray[np.intp]


class Draw(NamedTuple):
    """A window to be read, and the seed of its augmentation."""

    window: int
    seed: tuple[int, ...]


class EpochSampler(Sampler[list[Draw]]):
    """Batches of an epoch, at random, every window at most once.

    What an epoch holds depends on the seed and its number alone, so that a run that was killed
    draws what an uninterrupted one would have drawn. Several processes take their parts of the
    same global batches of `batch_size` times `world` windows, so that they see together what one
    process would see with batches of that size; a last batch that does not fill is shared evenly,
    and what cannot be shared is left out.

    Args:
        labels: of every window, 0 or 1.
        recordings: of every window its recording (a fake's is the one it was made from) and its
            number in it.
        batch_size: windows a batch and process.
        seed: of everything.
        pairs: windows of one recording and number come one after the other and are augmented
            alike: a batch then shows the same person, light and compression with and without
            manipulation.
        balance: take as many of the larger class as there are of the smaller, another choice
            every epoch, spread over the recordings as evenly as can be.
        per_recording: an epoch takes at most so many windows of a recording, other ones in every
            epoch; 0 takes all.
        rank, world: this process's number and how many there are.
    """

    def __init__(
        self,
        labels: Sequence[float],
        recordings: Sequence[tuple[str, int]],
        batch_size: int,
        seed: int = 0,
        pairs: bool = False,
        balance: bool = False,
        per_recording: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._labels = np.asarray(labels, dtype=bool)
        names = {key: number for number, key in enumerate(dict.fromkeys(recordings))}
        self._groups = np.array([names[key] for key in recordings])
        self._size, self._seed, self._pairs, self._balance = batch_size, seed, pairs, balance
        of = {name: number for number, name in enumerate(dict.fromkeys(n for n, _ in recordings))}
        self._recordings = np.array([of[name] for name, _ in recordings])
        self._most = per_recording or len(recordings)
        self._rank, self._world = rank, world
        taken = self._labels[self._few_of_each(np.arange(len(recordings)))]
        fakes, windows = int(taken.sum()), len(taken)
        self._windows = 2 * min(fakes, windows - fakes) if balance else windows
        self._epoch = self._skip = 0

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        """Go to an epoch, past its first `skip` batches."""
        self._epoch, self._skip = epoch, skip

    @property
    def windows(self) -> int:
        """This process's windows in an epoch."""
        return self._windows // self._world

    def __len__(self) -> int:
        """Batches of a whole epoch, skipped ones included."""
        return -(-self.windows // self._size)

    def __iter__(self) -> Iterator[list[Draw]]:
        order = self._order(np.random.default_rng((self._seed, self._epoch)))
        for number in range(self._skip, len(self)):
            batch = order[number * self._size * self._world :][: self._size * self._world]
            share = len(batch) // self._world
            yield [self._draw(int(k)) for k in batch[self._rank * share :][:share]]

    def _draw(self, index: int) -> Draw:
        subject = int(self._groups[index]) if self._pairs else index
        return Draw(index, (self._seed, self._epoch, subject))

    def _few_of_each(self, order: Indices) -> Indices:
        """The first of an order, a class and recording at a time."""
        which = 2 * self._recordings[order] + self._labels[order]
        return np.asarray(order[_turns(which) < self._most])

    def _order(self, rng: np.random.Generator) -> Indices:
        order = self._few_of_each(rng.permutation(len(self._labels)))
        if self._balance:
            larger = self._labels[order] == (2 * self._labels[order].sum() > len(order))
            many, few = order[larger], order[~larger]
            # First one of every recording and number, then a second of each...
            turns = _turns(self._groups[many])
            taken = many[np.argsort(turns, kind="stable")[: len(few)]]
            order = rng.permutation(np.concatenate([few, taken]))
        if self._pairs:
            place = rng.permutation(self._groups.max() + 1)
            order = order[np.argsort(place[self._groups[order]], kind="stable")]
        return order


def _turns(groups: Indices) -> Indices:
    """How many of its own group come before each."""
    seen: dict[int, int] = {}
    turns = []
    for group in groups.tolist():
        turns.append(seen.get(group, 0))
        seen[group] = turns[-1] + 1
    return np.array(turns, dtype=np.intp)
