"""The DeepFake Detection Challenge (Dolhansky et al. 2020) and its preview (2019)."""

from dataclasses import dataclass
from pathlib import Path

from unmask.corpora.listed import first_of, present
from unmask.corpora.table import CATEGORIES, VideoRecord, inside
from unmask.documents import Label, read_csv, read_json
from unmask.errors import CorpusError

_PREVIEW_SPLITS = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class _Clip:
    """A row of a part's metadata.json."""

    label: Label
    original: str | None = None


@dataclass(frozen=True)
class _Test:
    """A row of labels.csv."""

    filename: str
    label: Label


@dataclass(frozen=True)
class _Preview:
    """A row of the preview's dataset.json."""

    label: Label
    set: str | None = None
    target_id: int | str | None = None
    swapped_id: int | str | None = None


def matches(path: Path) -> bool:
    """Whether a part's metadata, or the labels of the test set, are there."""
    return bool(_metadata(path)) or (path / "labels.csv").is_file()


def read(path: Path) -> list[VideoRecord]:
    """Training parts, whose fakes name their original, and the labelled test set (split "test").

    Raises:
        CorpusError: the metadata cannot be read, or names a file outside.
    """
    records = []
    for file in _metadata(path):
        for name, row in read_json(dict[str, _Clip], file, CorpusError).items():
            source = row.original or name if row.label else name
            place = inside(file.parent, name, file)
            category = CATEGORIES[row.label]
            records.append(VideoRecord(place, row.label, category, source=Path(source).stem))
    labels = path / "labels.csv"
    for test in read_csv(_Test, labels, CorpusError) if labels.is_file() else []:
        folders = (path, path / "videos", path / "test")
        places = [inside(folder, test.filename, labels) for folder in folders]
        category = CATEGORIES[test.label]
        records.append(VideoRecord(first_of(places), test.label, category, split="test"))
    return present(path, records)


def matches_preview(path: Path) -> bool:
    """Whether the preview's table is there."""
    return (path / "dataset.json").is_file()


def read_preview(path: Path) -> list[VideoRecord]:
    """The preview: its own splits; people by number where the table has them.

    Raises:
        CorpusError: the table cannot be read, or names a file outside.
    """
    file = path / "dataset.json"
    records = []
    for name, row in read_json(dict[str, _Preview], file, CorpusError).items():
        people = (row.target_id, row.swapped_id if row.label else None)
        records.append(
            VideoRecord(
                inside(path, name, file),
                row.label,
                CATEGORIES[row.label],
                identities=tuple(str(person) for person in people if person is not None),
                source=None if row.label else Path(name).stem,
                method=Path(name).parts[0] if row.label else None,
                split=_PREVIEW_SPLITS.get(str(row.set).lower()),
            )
        )
    return present(path, records)


def _metadata(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    files = [path / "metadata.json", *sorted(path.glob("dfdc_train_part_*/metadata.json"))]
    return [file for file in files if file.is_file()]
