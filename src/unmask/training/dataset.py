"""`.pt` files -> windows for training: the dataset and its loaders."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from unmask.corpora import VideoRecord, related
from unmask.data import pt_file, shards
from unmask.data.choice import choose_faces
from unmask.data.index import find_processed, has_split
from unmask.data.manifest import read_entries
from unmask.data.pt_file import ProcessedVideo, track_windows
from unmask.data.windows import Window
from unmask.errors import CorpusError, StoreError, UsageError
from unmask.face_spec import FaceSpec
from unmask.faces import FaceTrack
from unmask.synth import Forged
from unmask.training.augment import Augmentation
from unmask.training.feature_cache import FeatureCache

Forge = Callable[[FaceTrack, Window], Forged]
CELL = 16  # pixels of a face a cell of a sample's map, the stride of a map head


class Change(Protocol):
    """What becomes of a window's faces (see augment, degrade)."""

    def apply(self, faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(T, 3, S, S) uint8 RGB -> (T, 3, S', S')."""
        ...

    def apply_to_masks(self, masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(T, S, S) uint8 -> (T, S', S'), moved as the faces are."""
        ...


class Sample(NamedTuple):
    """One window with everything that training asks for (see DeepfakeWindowDataset.sample).

    Attributes:
        faces: (T, 3, S, S) uint8 RGB, zero where padded; or (T, F) float32 features of them.
        mask: (T,) bool, False where padded.
        clip_label: () float32, the video's label: 0 real, 1 fake.
        frame_labels: (T,) float32, 1 where the frame is manipulated.
        cells: (T, ceil(S / 16), ceil(S / 16)) float32: how much of each cell of a face is
            manipulated, 0 to 1; NaN where that is not known.
    """

    faces: Tensor
    mask: Tensor
    clip_label: Tensor
    frame_labels: Tensor
    cells: Tensor


class DeepfakeWindowDataset(Dataset[tuple[Tensor, Tensor]]):
    """A flat index of (file, window, label) over all `.pt` files of a split.

    Real is 0.0 (Celeb-real, YouTube-real, real), fake 1.0 (Celeb-synthesis, fake).

    Args:
        root_dir: the preprocessed tree, `<split>/<category>/*.pt`, or one in shards; of those
            the address does, too (see unmask.storage).
        split: "train", "val" or "test".
        short: what becomes of windows of fewer than sequence_length faces: "drop" leaves them
            out, "pad" keeps them under a mask.
        faces: whose: "largest" of each frame, "all" people or the N most prominent, of those
            that the files hold; None is all of these.

    Attributes:
        broken: errors of files that could not be read; their windows are left out.
        spec: how the faces were made, the same for all files.

    Raises:
        CorpusError: no `.pt` file, no window, or files made with different settings.
    """

    def __init__(
        self,
        root_dir: str | Path,
        split: str,
        short: str = "drop",
        faces: str | int | None = None,
    ) -> None:
        if short not in ("drop", "pad"):
            raise UsageError(f"short must be 'drop' or 'pad', not {short!r}")
        self._root = shards.tree_path(root_dir)
        self._faces = faces
        self.broken: list[StoreError] = []
        self._rows: list[tuple[VideoRecord, int]] = []
        specs: dict[FaceSpec, Path] = {}
        records = find_processed(root_dir, split)
        entries = read_entries(self._root, (record.path for record in records))
        for record, entry in zip(records, entries.values(), strict=True):
            if isinstance(entry, StoreError):
                self.broken.append(entry)
                continue
            specs.setdefault(entry.spec, record.path)
            for number, (_, window) in enumerate(track_windows(entry.chosen(faces), entry.spec)):
                if short == "pad" or window.mask.all():
                    self._rows.append((record, number))
        folder = self._root / split
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
    def people(self) -> list[int]:
        """For every window of a real video the number of the person in it; -1 for fakes.

        Videos that share a person, a recording or footage show one person, and so does each
        video of which nothing is known.
        """
        real = list(dict.fromkeys(record for record, _ in self._rows if not record.label))
        groups = enumerate(related(real, "identity"))
        person = {record: number for number, group in groups for record in group}
        return [person.get(record, -1) for record, _ in self._rows]

    @property
    def paths(self) -> list[Path]:
        """The files that have windows here, each once."""
        return list(dict.fromkeys(record.path for record, _ in self._rows))

    @property
    def digest(self) -> str:
        """Of which windows there are, in their order; the tree may move."""
        digest = hashlib.sha256()
        for record, number in self._rows:
            name = record.path.relative_to(self._root).as_posix()
            digest.update(f"{name}\0{number}\0{record.label}\0{record.source}\n".encode())
        return digest.hexdigest()

    def sample(
        self,
        index: int,
        change: Change = Augmentation(),  # noqa: B008
        cache: FeatureCache | None = None,
    ) -> Sample:
        """The window with its mask and the label of every frame.

        Args:
            index: of the window.
            change: applied to its faces.
            cache: take the features of its faces instead, mirrored if `change` is.

        Raises:
            StoreError: the file cannot be read any more.
        """
        record, (video, number, window) = self._rows[index][0], self._window(index)
        labels = _frame_labels(record, video.tracks[number], window)
        if cache is None:
            pictures = change.apply(pt_file.window_faces(video, number, window))
            faces, size = torch.from_numpy(pictures), pictures.shape[-1]
        else:
            mirrored = isinstance(change, Augmentation) and change.mirror
            faces = cache.window(record.path, video, number, window, mirrored)
            size = self.spec.image_size
        cells = torch.zeros(len(labels), -(-size // CELL), -(-size // CELL))
        cells[labels > 0] = torch.nan
        return _sample(faces, window, float(record.label), labels, cells)

    def pair(self, index: int, change: Change, forge: Forge) -> tuple[Sample, Sample]:
        """A real window, and a fake made of it; both changed alike.

        Raises:
            StoreError: the file cannot be read any more.
        """
        video, number, window = self._window(index)
        real, fake, masks = forge(video.tracks[number], window)
        labels = torch.zeros(len(window.mask))
        labels[: len(masks)] = torch.from_numpy(masks.any(axis=(1, 2))).float()
        cells = _cells(change.apply_to_masks(masks), len(window.mask))
        return (
            _sample(change.apply(real), window, 0.0, 0 * labels, 0 * cells),
            _sample(change.apply(fake), window, 1.0, labels, cells),
        )

    def track(self, index: int) -> tuple[FaceTrack, Window]:
        """The whole track of which a window is a part, and the window.

        Raises:
            StoreError: the file cannot be read any more.
        """
        video, number, window = self._window(index)
        return video.tracks[number], window

    @property
    def methods(self) -> list[str | None]:
        """For every window how its fake was made, where that is known."""
        return [record.method for record, _ in self._rows]

    def _window(self, index: int) -> tuple[ProcessedVideo, int, Window]:
        """A window with its video and the number of its track."""
        record, number = self._rows[index]
        video = self._read(record)
        if number >= len(video.windows):
            raise StoreError(
                record.path,
                "holds fewer windows than manifest.json, or its shard's index, says; remove that",
            )
        return video, *video.windows[number]

    def _read(self, record: VideoRecord) -> ProcessedVideo:
        video = pt_file.read(record.path)
        return video if self._faces is None else choose_faces(video, self._faces, record.path)


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
        if not has_split(data_dir, split):
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


def _sample(
    faces: Tensor | NDArray[np.uint8], window: Window, label: float, labels: Tensor, cells: Tensor
) -> Sample:
    length, mask = len(window.mask), torch.from_numpy(window.mask)
    return Sample(_padded(torch.as_tensor(faces), length), mask, torch.tensor(label), labels, cells)


def _cells(masks: NDArray[np.uint8], length: int) -> Tensor:
    """(n, S, S) uint8, 0 to 255 -> (length, ceil(S / 16), ceil(S / 16)) means, padded with 0."""
    side = -(-masks.shape[-1] // CELL)
    cells = torch.zeros(length, side, side)
    for number, mask in enumerate(masks):
        small = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        cells[number] = torch.from_numpy(np.asarray(small, np.float32) / 255)
    return cells


def _padded(faces: Tensor, length: int) -> Tensor:
    if len(faces) == length:
        return faces
    out = faces.new_zeros(length, *faces.shape[1:])
    out[: len(faces)] = faces
    return out


def _frame_labels(record: VideoRecord, track: FaceTrack, window: Window) -> Tensor:
    """1 inside a known segment; a fake without known segments is fake throughout."""
    labels = torch.zeros(len(window.mask))
    times = track.times[window.start : window.stop]
    if record.label:
        segments: Sequence[tuple[float, float]] = record.segments or ((0.0, float("inf")),)
        inside = np.zeros(len(times), dtype=bool)
        for start, end in segments:
            inside |= (times >= start) & (times < end)
        labels[: len(times)] = torch.from_numpy(inside).float()
    return labels
