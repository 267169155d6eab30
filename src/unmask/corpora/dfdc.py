"""The DeepFake Detection Challenge (Dolhansky et al. 2020) and its preview (2019)."""

import csv
from pathlib import Path

from unmask.corpora.listed import first_of, label_in, present, read_json
from unmask.corpora.table import CATEGORIES, VideoRecord
from unmask.errors import CorpusError

_PREVIEW_SPLITS = {"train": "train", "validation": "val", "test": "test"}


def matches(path: Path) -> bool:
    """Whether a part's metadata, or the labels of the test set, are there."""
    return bool(_metadata(path)) or (path / "labels.csv").is_file()


def read(path: Path) -> list[VideoRecord]:
    """Training parts, whose fakes name their original, and the labelled test set (split "test").

    Raises:
        CorpusError: the metadata cannot be read.
    """
    records = []
    for file in _metadata(path):
        for name, row in read_json(file, dict).items():
            label = label_in(file, name, row["label"])
            source = str(row.get("original") or name) if label else name
            place = file.parent / name
            records.append(VideoRecord(place, label, CATEGORIES[label], source=Path(source).stem))
    labels = path / "labels.csv"
    if labels.is_file():
        with labels.open(newline="", encoding="utf-8-sig") as lines:
            for row in csv.DictReader(lines):
                if "filename" not in row or "label" not in row:
                    raise CorpusError(labels, "has no columns filename and label")
                label = label_in(labels, row["filename"], row["label"])
                place = first_of(path, ("", "videos", "test"), row["filename"])
                records.append(VideoRecord(place, label, CATEGORIES[label], split="test"))
    return present(path, records)


def matches_preview(path: Path) -> bool:
    """Whether the preview's table is there."""
    return (path / "dataset.json").is_file()


def read_preview(path: Path) -> list[VideoRecord]:
    """The preview: its own splits; people by number where the table has them.

    Raises:
        CorpusError: the table cannot be read.
    """
    file = path / "dataset.json"
    records = []
    for name, row in read_json(file, dict).items():
        label = label_in(file, name, row["label"])
        people = (row.get("target_id"), row.get("swapped_id") if label else None)
        method = Path(name).parts[0] if label else None
        records.append(
            VideoRecord(
                path / name,
                label,
                CATEGORIES[label],
                identities=tuple(str(person) for person in people if person is not None),
                source=None if label else Path(name).stem,
                method=method,
                split=_PREVIEW_SPLITS.get(str(row.get("set")).lower()),
            )
        )
    return present(path, records)


def _metadata(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    files = [path / "metadata.json", *sorted(path.glob("dfdc_train_part_*/metadata.json"))]
    return [file for file in files if file.is_file()]
