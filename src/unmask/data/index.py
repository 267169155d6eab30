"""What a preprocessed tree holds, known without opening its files.

`manifest.json` lies beside the tree. It is a cache: each row is believed only while the file has
the size and the time of change that it had when it was read, and is made anew otherwise.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unmask.atomic import write_text
from unmask.corpora import TABLE, VideoRecord, label_of, read_table
from unmask.data import pt_file
from unmask.errors import CorpusError, FileError, StoreError
from unmask.face_spec import FaceSpec

MANIFEST = "manifest.json"
_FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """What is known of a `.pt` file.

    Attributes:
        spec: how it was made.
        faces: of each of its tracks, how many.
    """

    spec: FaceSpec
    faces: tuple[int, ...]


@dataclass(frozen=True)
class _Row:
    """An entry, and what the file looked like when it was read."""

    size: int
    changed: int  # nanoseconds
    entry: Entry


def read_entries(root: str | Path, paths: Iterable[Path]) -> dict[Path, Entry | StoreError]:
    """What is known of `.pt` files below `root`, in their order; an error for those unreadable.

    Files that the manifest does not know as they are now are read; the manifest is then written
    again, where that is possible.
    """
    root = Path(root)
    known = _read(root / MANIFEST)
    found: dict[Path, Entry | StoreError] = {}
    fresh = False
    for path in paths:
        name = path.relative_to(root).as_posix()
        try:
            state = path.stat()
        except OSError as error:
            found[path] = StoreError(path, f"cannot be read: {error.strerror}")
            continue
        row = known.get(name)
        if row is None or (row.size, row.changed) != (state.st_size, state.st_mtime_ns):
            try:
                video = pt_file.read(path)
            except StoreError as error:
                found[path] = error
                continue
            entry = Entry(video.spec, tuple(len(track) for track in video.tracks))
            row = known[name] = _Row(state.st_size, state.st_mtime_ns, entry)
            fresh = True
        found[path] = row.entry
    if fresh:
        with suppress(FileError):  # a tree that may only be read
            _write(root / MANIFEST, known)
    return found


def _read(path: Path) -> dict[str, _Row]:
    """The manifest; empty if there is none that can be understood."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            return {}
        specs = [FaceSpec(**spec) for spec in content["specs"]]
        return {
            str(name): _Row(int(size), int(changed), Entry(specs[spec], tuple(map(int, faces))))
            for name, (size, changed, spec, faces) in content["files"].items()
        }
    except Exception:  # it is only a cache: whatever is wrong with it, the files are read
        return {}


def _write(path: Path, rows: dict[str, _Row]) -> None:
    specs = list(dict.fromkeys(row.entry.spec for row in rows.values()))
    place = {spec: number for number, spec in enumerate(specs)}
    files: dict[str, list[Any]] = {
        name: [row.size, row.changed, place[row.entry.spec], list(row.entry.faces)]
        for name, row in sorted(rows.items())
    }
    content = {"format": _FORMAT, "specs": [asdict(spec) for spec in specs], "files": files}
    write_text(path, json.dumps(content) + "\n")


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
        for path in sorted(category.glob(f"*{pt_file.SUFFIX}")):
            fresh = VideoRecord(path, label, category.name, split=split)
            records.append(known.get(path, fresh))
    if not records:
        raise CorpusError(folder, "no .pt file in Celeb-real/, Celeb-synthesis/, real/ or fake/")
    return records
