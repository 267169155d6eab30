"""`.pt` files -> windows for training: the dataset and its loaders."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler

from unmask import store
from unmask.corpora import TABLE, VideoRecord, label_of, read_table
from unmask.errors import CorpusError, StoreError, UsageError
from unmask.spec import FaceSpec
from unmask.store import ProcessedVideo
from unmask.windows import Window

Item = TypeVar("Item")


class Sample(NamedTuple):
    """One window with everything that training asks for (see DeepfakeWindowDataset.sample).

    Attributes:
        faces: (T, 3, S, S) uint8 RGB, zero where padded.
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
        for record in find_processed(root_dir, split):
            try:
                video = store.read(record.path)
            except StoreError as error:
                self.broken.append(error)
                continue
            specs.setdefault(video.spec, record.path)
            for number, (_, window) in enumerate(video.windows):
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

    def sample(self, index: int) -> Sample:
        """The window with its mask and the label of every frame."""
        record, number = self._rows[index]
        video = store.read(record.path)
        track, window = video.windows[number]
        return Sample(
            _padded(store.window_faces(video, track, window), len(window.mask)),
            torch.from_numpy(window.mask),
            torch.tensor(float(record.label)),
            _frame_labels(record, video, track, window),
        )


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


class _Samples(Dataset[Sample]):
    """The same windows, as Samples."""

    def __init__(self, dataset: DeepfakeWindowDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset.sample(index)


class PairSampler(Sampler[int]):
    """Every window once, at random, but a fake's beside the same window of its own recording.

    A batch then shows the same person, light and compression with and without manipulation, and
    what differs is the manipulation.
    """

    def __init__(self, dataset: DeepfakeWindowDataset, generator: torch.Generator) -> None:
        groups: dict[tuple[str, int], list[int]] = {}
        for index, key in enumerate(dataset.recordings):
            groups.setdefault(key, []).append(index)
        self._groups = list(groups.values())
        self._generator = generator

    def __len__(self) -> int:
        return sum(map(len, self._groups))

    def __iter__(self) -> Iterator[int]:
        for group in torch.randperm(len(self._groups), generator=self._generator).tolist():
            rows = self._groups[group]
            yield from (rows[k] for k in torch.randperm(len(rows), generator=self._generator))


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
        loaders.append(_loader(dataset, batch_size, num_workers, sampler))
    return Loaders(*loaders)


def sample_loader(
    dataset: DeepfakeWindowDataset,
    batch_size: int,
    num_workers: int,
    sampler: Sampler[int] | None = None,
) -> "DataLoader[Sample]":
    """A loader of batched Samples, in the sampler's order or in that of the dataset."""
    # A generator of its own: starting workers must not draw from the epoch's.
    return _loader(_Samples(dataset), batch_size, num_workers, sampler, torch.Generator())


def _loader(
    dataset: Dataset[Item],
    batch_size: int,
    num_workers: int,
    sampler: Sampler[int] | None,
    generator: torch.Generator | None = None,
) -> "DataLoader[Item]":
    return DataLoader(
        dataset,
        batch_size,
        sampler=sampler,
        generator=generator,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
    )


def _padded(faces: NDArray[np.uint8], length: int) -> Tensor:
    if len(faces) == length:
        return torch.from_numpy(faces)
    out = torch.zeros(length, *faces.shape[1:], dtype=torch.uint8)
    out[: len(faces)] = torch.from_numpy(faces)
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
