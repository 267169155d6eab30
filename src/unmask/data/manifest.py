"""What the files of a preprocessed tree hold, known without opening them.

`manifest.json` lies beside the tree. It is a cache: each row is believed only while the file has
the size and the time of change that it had when it was read, and is made anew otherwise.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le

from unmask.atomic import write_text
from unmask.data import pt_file, shards
from unmask.data.entry import Entry
from unmask.documents import STRICT, read_json, to_json
from unmask.errors import FileError, StoreError
from unmask.face_spec import FaceSpec

MANIFEST = "manifest.json"
_Count = Annotated[int, Ge(0), Le(10**7)]


@dataclass(frozen=True)
class _Row:
    """An entry, and what the file looked like when it was read."""

    size: int
    changed: int  # nanoseconds
    entry: Entry


@dataclass(frozen=True)
class _Manifest:
    """The document: of every file its size, when it changed, which of the specs, the faces of
    each track, and how many frames have a face.
    """

    format: Literal[2]
    specs: tuple[FaceSpec, ...]
    files: dict[str, tuple[int, int, _Count, tuple[_Count, ...], _Count]]

    __pydantic_config__ = STRICT


def read_entries(root: str | Path, paths: Iterable[Path]) -> dict[Path, Entry | StoreError]:
    """What is known of `.pt` files below `root`, in their order; an error for those unreadable.

    Of files in shards their index says it. Others that the manifest does not know as they are now
    are read; the manifest is then written again, where that is possible.
    """
    root, packed = Path(root), shards.members(Path(root))
    known = _read(root / MANIFEST)
    found: dict[Path, Entry | StoreError] = {}
    fresh = False
    for path in paths:
        name = path.relative_to(root).as_posix()
        if name in packed and not path.is_file():
            found[path] = _packed(packed[name])
            continue
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
            row = known[name] = _Row(state.st_size, state.st_mtime_ns, Entry.of(video))
            fresh = True
        found[path] = row.entry
    if fresh:
        with suppress(FileError):  # a tree that may only be read
            _write(root / MANIFEST, known)
    return found


def _packed(member: shards.Member) -> Entry | StoreError:
    try:
        member.check()
    except StoreError as error:
        return error
    return member.entry


def _read(path: Path) -> dict[str, _Row]:
    """The manifest; empty if there is none that can be understood: it is only a cache."""
    try:
        content = read_json(_Manifest, path, StoreError)
        return {
            name: _Row(size, changed, Entry(content.specs[spec], faces, frames))
            for name, (size, changed, spec, faces, frames) in content.files.items()
        }
    except (StoreError, IndexError):
        return {}


def _write(path: Path, rows: dict[str, _Row]) -> None:
    specs = tuple(dict.fromkeys(row.entry.spec for row in rows.values()))
    files = {
        name: (row.size, row.changed, specs.index(entry.spec), entry.faces, entry.frames)
        for name, row in sorted(rows.items())
        for entry in (row.entry,)
    }
    write_text(path, to_json(_Manifest(2, specs, files), indent=None))
