"""The layouts that are read so far: Celeb-DF, a folder with real/ and fake/, a CSV, plain files."""

import csv
import re
from dataclasses import replace
from pathlib import Path

from unmask.corpora.table import TRUTH, VideoRecord, label_of, read_table
from unmask.errors import CorpusError
from unmask.video import find_videos

TEST_LIST = "List_of_testing_videos.txt"

_REAL_NAME = re.compile(r"(id\d+)_(\d+)")  # idX_ZZZZ
_FAKE_NAME = re.compile(r"(id\d+)_(id\d+)_(\d+)")  # target idX_ZZZZ, donor idY


def read_corpus(path: str | Path) -> list[VideoRecord]:
    """Read a corpus, recognised by looking.

    A folder is Celeb-DF (`Celeb-real/`, `Celeb-synthesis/`, ...) or has `real/` and `fake/`; a
    `.csv` has the columns path and label, and may have identity, source, method and split.

    Raises:
        CorpusError: it is none of these, or holds no videos.
    """
    path = Path(path)
    if not path.exists():
        raise CorpusError(path, "no such file or folder")
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    if not path.is_dir():
        raise CorpusError(path, "is neither a folder nor a .csv table")
    folders = [folder for folder in sorted(path.iterdir()) if label_of(folder.name) is not None]
    if not folders:
        found = ", ".join(sorted(f.name for f in path.iterdir())[:5]) or "nothing"
        raise CorpusError(
            path,
            "no known layout: looked for Celeb-real/, YouTube-real/, Celeb-synthesis/ or real/, "
            f"fake/; found {found}",
        )
    records = [
        _celeb_df(VideoRecord(video, label_of(folder.name) or 0, folder.name))
        for folder in folders
        for video in find_videos(folder)
    ]
    if not records:
        raise CorpusError(path, f"no videos in {', '.join(f.name for f in folders)}")
    records = _with_truth(path / TRUTH, records)
    return _with_test_list(path / TEST_LIST, records)


def _celeb_df(record: VideoRecord) -> VideoRecord:
    """Read identities and source out of a Celeb-DF name; other names stay without."""
    stem = record.path.stem
    if match := _FAKE_NAME.fullmatch(stem):
        target, donor, number = match.groups()
        return replace(record, identities=(target, donor), source=f"{target}_{number}")
    if match := _REAL_NAME.fullmatch(stem):
        return replace(record, identities=(match[1],), source=stem)
    return replace(record, source=None if record.label else stem)


def _with_truth(path: Path, records: list[VideoRecord]) -> list[VideoRecord]:
    """Add method and segments from the table that `unmask synth` leaves."""
    if not path.exists():
        return records
    truth = {row.path.resolve(): row for row in read_table(path)}
    return [
        replace(r, method=row.method, segments=row.segments, source=row.source)
        if (row := truth.get(r.path.resolve()))
        else r
        for r in records
    ]


def _with_test_list(path: Path, records: list[VideoRecord]) -> list[VideoRecord]:
    """Mark what Celeb-DF's official list names as split "test".

    A line is `<label> <folder>/<file>` with 1 = real, 0 = fake, the reverse of ours.
    """
    if not path.exists():
        return records
    listed: dict[str, int] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            polarity, _, name = line.strip().partition(" ")
            folder, _, file = name.strip().rpartition("/")
            listed[f"{folder.lower()}/{file}"] = 1 - int(polarity)
    marked = []
    for record in records:
        label = listed.get(f"{record.category.lower()}/{record.path.name}")
        if label is not None and label != record.label:
            raise CorpusError(path, f"{record.path.name} is listed with the other label")
        marked.append(record if label is None else replace(record, split="test"))
    return marked


def _read_csv(path: Path) -> list[VideoRecord]:
    """`path,label[,identity,source,method,split]`; label 0/1, real/fake; paths from the CSV."""
    records = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = {"path", "label"} - set(reader.fieldnames or ())
        if missing:
            raise CorpusError(path, f"has no column {' and no column '.join(sorted(missing))}")
        for number, row in enumerate(reader, 2):
            label = {"0": 0, "real": 0, "1": 1, "fake": 1}.get((row["label"] or "").lower())
            if label is None or not row["path"]:
                raise CorpusError(path, f"line {number}: needs a path, and a label real or fake")
            identity, video = row.get("identity"), path.parent / row["path"]
            records.append(
                VideoRecord(
                    path=video,
                    label=label,
                    category="fake" if label else "real",
                    identities=(identity,) if identity else (),
                    source=row.get("source") or (None if label else video.stem),
                    method=row.get("method") or None,
                    split=row.get("split") or None,
                )
            )
    if not records:
        raise CorpusError(path, "lists no videos")
    return records
