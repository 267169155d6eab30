"""Corpora of one's own: folders real/ and fake/, also below train/, val/ and test/; or a CSV."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from unmask import documents
from unmask.corpora.celeb import matches as is_celeb_df
from unmask.corpora.table import (
    CATEGORIES,
    SPLITS,
    TABLE,
    Split,
    VideoRecord,
    inside,
    label_of,
    read_table,
)
from unmask.documents import FOREIGN, By, Label
from unmask.errors import CorpusError
from unmask.video.reader import find_videos


def _names(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";") if part.strip()]


def _periods(cell: str) -> list[list[str]]:
    pairs = [part.split("-") for part in _names(cell)]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("should be start-end;start-end")
    return pairs


@dataclass(frozen=True)
class _Row:
    """A row of a CSV of one's own."""

    path: str
    label: Label
    identity: Annotated[tuple[str, ...], By(_names)] = ()
    source: str | None = None
    method: str | None = None
    split: Split = None
    segments: Annotated[tuple[tuple[float, float], ...], By(_periods)] | None = None

    __pydantic_config__ = FOREIGN


def matches(path: Path) -> bool:
    """Whether there are real/ or fake/, or splits of categories."""
    return bool(_own(path)) or any(_categories(path / split) for split in SPLITS)


def read(path: Path) -> list[VideoRecord]:
    """The folder is the label; a table of ours beside the folders knows the rest.

    Where there are no videos but preprocessed faces, those are read.
    """
    table = path / TABLE
    known = {row.path: row for row in read_table(table)} if table.exists() else {}
    records = []
    for split in (None, *SPLITS):
        folders = _own(path) if split is None else _categories(path / split)
        for folder in folders:
            for video in find_videos(folder) or sorted(folder.glob("*.pt")):
                label = label_of(folder.name) or 0
                source = None if label else video.stem
                fresh = VideoRecord(video, label, folder.name, source=source, split=split)
                records.append(known.get(video, fresh))
    return records


def matches_csv(path: Path) -> bool:
    """Whether it is a file .csv."""
    return path.is_file() and path.suffix.lower() == ".csv"


def read_csv(path: Path) -> list[VideoRecord]:
    """`path,label[,identity,source,method,split,segments]`.

    A relative path counts from the CSV's folder and stays below it; an absolute one is free.

    A label is 0, 1, real or fake; identities and segments (`start-end`, seconds) are separated by
    semicolons.

    Raises:
        CorpusError: a column is missing, a line has no path or label, or a path leaves the folder.
    """
    records = []
    for row in documents.read_csv(_Row, path, CorpusError):
        given = Path(row.path)  # a whole path is meant as it stands
        video = given if given.is_absolute() else inside(path.parent, given, path)
        records.append(
            VideoRecord(
                path=video,
                label=row.label,
                category=CATEGORIES[row.label],
                identities=row.identity,
                source=row.source or (None if row.label else video.stem),
                method=row.method,
                split=row.split,
                segments=row.segments if row.label else (),
            )
        )
    return records


def _own(path: Path) -> list[Path]:
    return [] if is_celeb_df(path) else _categories(path)


def _categories(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return [f for f in sorted(path.iterdir()) if f.is_dir() and label_of(f.name) is not None]
