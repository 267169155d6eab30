"""Corpora of one's own: folders real/ and fake/, also below train/, val/ and test/; or a CSV."""

import csv
from dataclasses import replace
from pathlib import Path

from unmask.corpora.celeb import matches as is_celeb_df
from unmask.corpora.table import (
    CATEGORIES,
    SPLITS,
    TABLE,
    VideoRecord,
    label_of,
    parse_label,
    read_table,
)
from unmask.errors import CorpusError
from unmask.video.reader import find_videos


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
    """`path,label[,identity,source,method,split,segments]`; paths count from the CSV.

    A label is 0, 1, real or fake; identities and segments (`start-end`, seconds) are separated by
    semicolons.

    Raises:
        CorpusError: a column is missing, or a line has no path or label.
    """
    records = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = {"path", "label"} - set(reader.fieldnames or ())
        if missing:
            raise CorpusError(path, f"has no column {' and no column '.join(sorted(missing))}")
        for number, row in enumerate(reader, 2):
            label = parse_label(row["label"])
            if label is None or not row["path"]:
                raise CorpusError(path, f"line {number}: needs a path, and a label real or fake")
            video = path.parent / row["path"]
            record = VideoRecord(
                path=video,
                label=label,
                category=CATEGORIES[label],
                identities=tuple(name.strip() for name in _parts(row.get("identity"))),
                source=row.get("source") or (None if label else video.stem),
                method=row.get("method") or None,
            )
            try:
                records.append(
                    replace(record, split=_split(row.get("split")), segments=_segments(row))
                )
            except ValueError as error:
                raise CorpusError(path, f"line {number}: {error}") from None
    return records


def _own(path: Path) -> list[Path]:
    return [] if is_celeb_df(path) else _categories(path)


def _categories(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return [f for f in sorted(path.iterdir()) if f.is_dir() and label_of(f.name) is not None]


def _parts(text: str | None) -> list[str]:
    return [part for part in (text or "").split(";") if part.strip()]


def _split(text: str | None) -> str | None:
    if text and text not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {text!r}")
    return text or None


def _segments(row: dict[str, str]) -> tuple[tuple[float, float], ...] | None:
    if row.get("segments") is None:
        return None
    pairs = [part.split("-") for part in _parts(row["segments"])]
    try:
        return tuple((float(start), float(end)) for start, end in pairs)
    except ValueError:
        raise ValueError(f"segments are start-end;start-end, not {row['segments']!r}") from None
