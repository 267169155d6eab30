"""`.pt` files -> windows for training: the dataset and its loaders."""

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler, default_collate

from unmask import store
from unmask.augment import Augmentation
from unmask.corpora import TABLE, VideoRecord, label_of, read_table
from unmask.errors import CorpusError, StoreError, UsageError
from unmask.faces import FaceTrack
from unmask.features import FeatureCache
from unmask.manifest import read_entries
from unmask.sampling import Draw
from unmask.spec import FaceSpec
from unmask.store import ProcessedVideo, track_windows
from unmask.synth import Forger
from unmask.windows import Window

# A track and which of its faces -> those faces (n, 3, S, S) uint8 manipulated, and which are (n,).
Forge = Callable[[FaceTrack, Window], tuple[NDArray[np.uint8], NDArray[np.bool_]]]


class Sample(NamedTuple):
    """One window with everything that training asks for (see DeepfakeWindowDataset.sample).

    Attributes:
        faces: (T, 3, S, S) uint8 RGB, zero where padded; or (T, F) float32 features of them.
        mask: (T,) bool, False where padded.
        clip_label: () float32, the video's label: 0 real, 1 fake.
        frame_labels: (T,) float32, 1 where the frame is manipulated.
    """

    faces: Tensor
    mask: Tensor
    clip_label: Tensor
    frame_labels: Tensor


class DeepfakeWindowDataset(Dataset[tuple[Tensor, Tensor]]):
    """A flat index of (file, window, label) over all `.pt` files of a split.

    Real is 0.0 (Celeb-real, YouTube-real, real), fake 1.0 (Celeb-synthesis, fake).

    Args:
        root_dir: the preprocessed tree, `<split>/<category>/*.pt`.
        split: "train", "val" or "test".
        short: what becomes of windows of fewer than sequence_length faces: "drop" leaves them
            out, "pad" keeps them under a mask.

    Attributes:
        broken: errors of files that could not be read; their windows are left out.
        spec: how the faces were made, the same for all files.

    Raises:
        CorpusError: no `.pt` file, no window, or files made with different settings.
    """

    def __init__(self, root_dir: str | Path, split: str, short: str = "drop") -> None:
        if short not in ("drop", "pad"):
            raise UsageError(f"short must be 'drop' or 'pad', not {short!r}")
        self.broken: list[StoreError] = []
        self._rows: list[tuple[VideoRecord, int]] = []
        specs: dict[FaceSpec, Path] = {}
        records = find_processed(root_dir, split)
        entries = read_entries(root_dir, (record.path for record in records))
        for record, entry in zip(records, entries.values(), strict=True):
            if isinstance(entry, StoreError):
                self.broken.append(entry)
                continue
            specs.setdefault(entry.spec, record.path)
            for number, (_, window) in enumerate(track_windows(entry.faces, entry.spec)):
                if short == "pad" or window.mask.all():
                    self._rows.append((record, number))
        folder = Path(root_dir) / split
        if len(specs) > 1:
            one, other, *_ = specs
            raise CorpusError(
                folder,
                f"files made with different settings: {specs[one].name} has "
                + ", ".join(one.differences(other) or ["other people"])
                + f" of {specs[other].name}; preprocess into one tree with one setting",
            )
        if not self._rows:
            reason = f" ({len(self.broken)} files unreadable)" if self.broken else ""
            raise CorpusError(folder, f"holds no window to train on{reason}")
        (self.spec,) = specs

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """(window (T, 3, S, S) uint8 RGB, label () float32)."""
        sample = self.sample(index)
        return sample.faces, sample.clip_label

    @property
    def labels(self) -> list[float]:
        """The label of every window, without reading it."""
        return [float(record.label) for record, _ in self._rows]

    @property
    def recordings(self) -> list[tuple[str, int]]:
        """For every window its recording (a fake's is the one it was made from) and number."""
        return [(record.source or str(record.path), number) for record, number in self._rows]

    @property
    def paths(self) -> list[Path]:
        """The files that have windows here, each once."""
        return list(dict.fromkeys(record.path for record, _ in self._rows))

    def sample(
        self,
        index: int,
        change: Augmentation = Augmentation(),  # noqa: B008
        cache: FeatureCache | None = None,
        forge: "Forge | None" = None,
    ) -> Sample:
        """The window with its mask and the label of every frame.

        Args:
            index: of the window.
            change: applied to its faces.
            cache: take the features of its faces instead, mirrored if `change` is.
            forge: make a fake of it first.

        Raises:
            StoreError: the file cannot be read any more.
        """
        record, number = self._rows[index]
        video = store.read(record.path)
        if number >= len(video.windows):
            raise StoreError(
                record.path, "holds fewer windows than manifest.json says; remove that"
            )
        track, window = video.windows[number]
        label, labels = float(record.label), _frame_labels(record, video, track, window)
        if forge is not None:
            pictures, altered = forge(video.tracks[track], window)
            labels[: len(altered)] = torch.from_numpy(altered).float()
            label, faces = 1.0, torch.from_numpy(change.apply(pictures))
        elif cache is None:
            faces = torch.from_numpy(change.apply(store.window_faces(video, track, window)))
        else:
            faces = cache.window(record.path, video, track, window, change.mirror)
        return Sample(
            _padded(faces, len(window.mask)),
            torch.from_numpy(window.mask),
            torch.tensor(label),
            labels,
        )

    def track(self, index: int) -> FaceTrack:
        """The whole track of which a window is a part.

        Raises:
            StoreError: the file cannot be read any more.
        """
        record, number = self._rows[index]
        video = store.read(record.path)
        return video.tracks[video.windows[number][0]]


def find_processed(root_dir: str | Path, split: str) -> list[VideoRecord]:
    """All `.pt` files of a split, by category, with what the table beside the tree knows.

    Raises:
        CorpusError: there is no such folder, no known category in it, or no file.
    """
    folder = Path(root_dir) / split
    if not folder.is_dir():
        raise CorpusError(folder, "no such folder; expected <split>/<category>/*.pt")
    table = Path(root_dir) / TABLE
    known = {row.path: row for row in read_table(table)} if table.exists() else {}
    records = []
    for category in sorted(path for path in folder.iterdir() if path.is_dir()):
        label = label_of(category.name)
        if label is None:
            continue
        for path in sorted(category.glob(f"*{store.SUFFIX}")):
            fresh = VideoRecord(path, label, category.name, split=split)
            records.append(known.get(path, fresh))
    if not records:
        raise CorpusError(folder, "no .pt file in Celeb-real/, Celeb-synthesis/, real/ or fake/")
    return records


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
        self._names = [name for name, _ in dataset.recordings]
        self._firsts = {self._names[k]: k for k in reversed(self._reals)}  # windows

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
            others = [k for name, k in self._firsts.items() if name != self._names[own]]
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


class Loaders(NamedTuple):
    """One loader a split; None where the tree has no such split."""

    train: DataLoader[tuple[Tensor, Tensor]] | None
    val: DataLoader[tuple[Tensor, Tensor]] | None
    test: DataLoader[tuple[Tensor, Tensor]] | None


def create_dataloaders(
    data_dir: str | Path, batch_size: int = 8, num_workers: int = 2, short: str = "drop"
) -> Loaders:
    """Loaders of (windows (B, T, 3, S, S) uint8, labels (B,) float32); train is shuffled."""
    loaders: list[DataLoader[tuple[Tensor, Tensor]] | None] = []
    for split in Loaders._fields:
        if not (Path(data_dir) / split).is_dir():
            loaders.append(None)
            continue
        dataset = DeepfakeWindowDataset(data_dir, split, short)
        sampler = RandomSampler(dataset) if split == "train" else None
        loaders.append(
            DataLoader(
                dataset,
                batch_size,
                sampler=sampler,
                num_workers=num_workers,
                pin_memory=torch.cuda.is_available(),
                persistent_workers=num_workers > 0,
            )
        )
    return Loaders(*loaders)


def _padded(faces: Tensor, length: int) -> Tensor:
    if len(faces) == length:
        return faces
    out = faces.new_zeros(length, *faces.shape[1:])
    out[: len(faces)] = faces
    return out


def _frame_labels(record: VideoRecord, video: ProcessedVideo, track: int, window: Window) -> Tensor:
    """1 inside a known segment; a fake without known segments is fake throughout."""
    labels = torch.zeros(len(window.mask))
    times = video.tracks[track].times[window.start : window.stop]
    if record.label:
        segments: Sequence[tuple[float, float]] = record.segments or ((0.0, float("inf")),)
        inside = np.zeros(len(times), dtype=bool)
        for start, end in segments:
            inside |= (times >= start) & (times < end)
        labels[: len(times)] = torch.from_numpy(inside).float()
    return labels
