"""Celeb-DF v1, v2 and ++ (Li et al. 2020, CVPR; Celeb-DF++ adds methods below Celeb-synthesis/)."""

import re
from dataclasses import replace
from pathlib import Path

from unmask.corpora.table import TRUTH, VideoRecord, label_of, read_table
from unmask.errors import CorpusError
from unmask.video.reader import find_videos

TEST_LIST = "List_of_testing_videos.txt"
_FOLDERS = ("celeb-real", "youtube-real", "celeb-synthesis")
_REAL_NAME = re.compile(r"(id\d+)_(\d+)")  # idX_ZZZZ
_FAKE_NAME = re.compile(r"(id\d+)_(id\d+)_(\d+)")  # target idX_ZZZZ, donor idY


def matches(path: Path) -> bool:
    """Whether one of the three folders is there, or in videos/."""
    return bool(_folders(path))


def read(path: Path) -> list[VideoRecord]:
    """Identities and sources from the names, the split from the official list beside the folders.

    Raises:
        CorpusError: the list gives a video another label than its folder.
    """
    records = [
        _named(VideoRecord(video, label_of(folder.name) or 0, folder.name), folder)
        for folder in _folders(path)
        for video in find_videos(folder)
    ]
    truth = path / TRUTH
    if truth.exists():  # of fakes that we have made
        rows = {row.path.resolve(): row for row in read_table(truth)}
        records = [_with_truth(record, rows.get(record.path.resolve())) for record in records]
    for folder in (path, path / "videos"):
        if (folder / TEST_LIST).exists():
            return _with_test_list(folder / TEST_LIST, records)
    return records


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    places = [path, path / "videos"]
    return [
        folder
        for place in places
        if place.is_dir()
        for folder in sorted(place.iterdir())
        if folder.name.lower() in _FOLDERS and folder.is_dir()
    ]


def _named(record: VideoRecord, folder: Path) -> VideoRecord:
    stem, below = record.path.stem, record.path.parent.relative_to(folder).parts
    if below and record.label:
        record = replace(record, method="/".join(below))  # ++: FaceSwap/<method>
    if match := _FAKE_NAME.match(stem):  # talking heads have more behind it
        target, donor, number = match.groups()
        return replace(record, identities=(target, donor), source=f"{target}_{number}")
    if match := _REAL_NAME.match(stem):
        source = f"{match[1]}_{match[2]}"
        return replace(record, identities=(match[1],), source=source)
    return replace(record, source=None if record.label else f"{folder.name}/{stem}")


def _with_truth(record: VideoRecord, row: VideoRecord | None) -> VideoRecord:
    if row is None:
        return record
    return replace(record, method=row.method, segments=row.segments, source=row.source)


def _with_test_list(path: Path, records: list[VideoRecord]) -> list[VideoRecord]:
    """Mark what the official list names as split "test".

    A line is `<label> <folder>/<file>` with 1 = real, 0 = fake, the reverse of ours.
    """
    listed: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            polarity, _, name = line.strip().partition(" ")
            if polarity not in ("0", "1") or not name.strip():
                raise CorpusError(path, f"line {number} is not `<0 or 1> <folder>/<file>`")
            listed[name.strip().lower()] = 1 - int(polarity)
    marked = []
    for record in records:
        parts = [part.lower() for part in record.path.parts]
        start = parts.index(record.category.lower())
        label = listed.get("/".join(parts[start:]))
        if label is not None and label != record.label:
            raise CorpusError(path, f"{record.path.name} is listed with the other label")
        marked.append(record if label is None else replace(record, split="test"))
    if listed and not any(record.split for record in marked):
        raise CorpusError(path, "names none of the videos that are here")
    return marked
