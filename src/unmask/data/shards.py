"""Shards: the `.pt` files of a tree one after the other in tar files, read without unpacking.

A packed tree has the names of one that is not: `<root>/<split>/<category>/<name>.pt`; where no
such file is, a shard in `<root>` may hold it. A shard is a plain tar in WebDataset's layout,
`<split>-000000.tar`; its index, `<split>-000000.tar.json`, says where in it each file begins. A
tar without an index is not finished, and counts for nothing.
"""

import mmap
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Le

from unmask import storage
from unmask.documents import STRICT, read_json, to_json
from unmask.errors import CorpusError, StorageError, StoreError
from unmask.face_spec import FaceSpec
from unmask.storage import Place

if TYPE_CHECKING:
    from unmask.data.entry import Entry

INDEX = ".tar.json"
SUFFIX = ".tar"
_Count = Annotated[int, Ge(0), Le(10**7)]
_Bytes = Annotated[int, Ge(0), Le(2**60)]
_HEADER = tarfile.BLOCKSIZE
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):/+")


@dataclass(frozen=True)
class _Index:
    """The document: the bytes of the shard; and of every file where it begins, its bytes, which
    of the specs, the faces of each track, and how many frames have a face.
    """

    format: Literal[1]
    size: _Bytes
    specs: tuple[FaceSpec, ...]
    files: dict[str, tuple[_Bytes, _Bytes, _Count, tuple[_Count, ...], _Count]]

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Member:
    """A `.pt` file in a shard.

    Attributes:
        name: of the file, relative to the tree.
        shard: the tar.
        total: bytes of the shard.
        offset, size: where in the shard the file begins, and its bytes.
        entry: what is known of it.
    """

    name: str
    shard: Place
    total: int
    offset: int
    size: int
    entry: "Entry"

    def read(self) -> memoryview:
        """The bytes of the file; those of a local shard are mapped, and read when they are used.

        Raises:
            StoreError: the shard cannot be read, or does not fit its index.
        """
        begin, end = self.offset - _HEADER, self.offset + self.size
        if storage.is_remote(self.shard):
            try:
                data = memoryview(bytearray(storage.read_range(self.shard, begin, end)))
            except StorageError as error:
                raise StoreError(storage.shown(self.shard), error.cause) from error
        else:
            self.check()
            page = begin // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
            with Path(self.shard).open("rb") as file:
                kind = mmap.ACCESS_COPY  # torch takes memory only that it could write to
                held = mmap.mmap(file.fileno(), end - page, access=kind, offset=page)
            data = memoryview(held)[begin - page :]
        try:
            info = tarfile.TarInfo.frombuf(bytes(data[:_HEADER]), "utf-8", "replace")
        except tarfile.HeaderError:
            info = tarfile.TarInfo()
        if (info.name, info.size) != (_short(name_in_shard(self.name)), self.size):
            raise self._wrong(f"{self.name} is not where the index says")
        return data[_HEADER:]

    def check(self) -> None:
        """See that a local shard is there and whole.

        Raises:
            StoreError: it is not.
        """
        if storage.is_remote(self.shard):
            return
        try:
            size = Path(self.shard).stat().st_size
        except OSError as error:
            raise StoreError(self.shard, f"cannot be read: {error.strerror}") from error
        if size != self.total:
            raise self._wrong(f"has {size} bytes, and not {self.total} as its index says")

    def _wrong(self, cause: str) -> StoreError:
        cause += f": get it and {storage.name_of(self.shard)}.json anew from where they were made"
        return StoreError(storage.shown(self.shard), cause)


def tree_path(root: str | Path) -> Path:
    """The path that stands for a tree: an address keeps its scheme (see place_of)."""
    return storage.as_path(root) or Path(root)


def place_of(path: Path) -> Place:
    """Where a path leads that `tree_path` has made, or one below it: a Path drops a slash of an
    address.
    """
    address = _SCHEME.sub(r"\1://", path.as_posix(), count=1)
    return address if _SCHEME.match(path.as_posix()) else path


def name_in_shard(name: str) -> str:
    """The name of a file in a tar: to WebDataset, a key ends at the first dot."""
    path = PurePosixPath(name)
    stem = path.stem.replace("%", "%25").replace(".", "%2E")
    return str(path.with_name(stem + path.suffix))


def find(path: Path) -> Member | None:
    """The `.pt` file of this name in a shard of its tree.

    Raises:
        CorpusError: there is an index that cannot be used.
    """
    if len(path.parents) < 3:
        return None
    root = path.parents[2]
    return members(root).get(path.relative_to(root).as_posix())


def stamp(path: Path) -> str:
    """What tells whether a `.pt` file has changed; in a shard, whether that has.

    Raises:
        OSError: it is not there.
        StorageError: it cannot be asked.
    """
    member = None if path.is_file() else find(path)
    if member is not None and storage.is_remote(member.shard):
        return f"{member.offset} {storage.state(member.shard)}"
    status = (Path(member.shard) if member else path).stat()
    size = f"{member.offset} {member.size}" if member else str(status.st_size)
    return f"{size} {status.st_mtime_ns}"


def members(root: Path) -> Mapping[str, Member]:
    """All files in the shards of a tree, by their names relative to it; empty if there are none.

    Raises:
        CorpusError: an index cannot be used, or two hold the same file.
        StorageError: an address cannot be read.
    """
    if storage.is_remote(place_of(root)):
        return _members(root, 0)  # as it is when it is first asked for
    try:
        return _members(root, root.stat().st_mtime_ns)
    except OSError:
        return {}


def forget() -> None:
    """Look at the indexes anew, because one was written a moment ago."""
    _members.cache_clear()


@lru_cache(8)
def _members(root: Path, changed: int) -> Mapping[str, Member]:
    place = place_of(root)
    if storage.is_remote(place):
        names = storage.files_in(place, {".json"}, recursive=False)
    else:
        names = sorted(path.name for path in root.glob(f"*{INDEX}"))
    found: dict[str, Member] = {}
    for name in names:
        if not name.endswith(INDEX):
            continue
        index = storage.join(place, name)
        with storage.fetched(index) as file:
            content = read_json(_Index, file, CorpusError)
        for member in _listed(index, content):
            if member.name in found:
                cause = f"holds {member.name}, and {storage.shown(found[member.name].shard)} does"
                raise CorpusError(storage.shown(index), f"{cause}, too: remove one")
            found[member.name] = member
    return found


def _listed(index: Place, content: _Index) -> list[Member]:
    """The files of one index, once it makes sense."""
    from unmask.data.entry import Entry  # late: it needs what reads the files

    shard = str(index).removesuffix(".json")
    listed = []
    for name, (offset, size, spec, faces, frames) in content.files.items():
        parts = name.split("/")
        inside = len(parts) == 3 and not {"", ".", ".."} & set(parts)
        fits = offset >= _HEADER and offset % _HEADER == 0 and offset + size <= content.size
        if not inside or not fits or spec >= len(content.specs):
            raise CorpusError(storage.shown(index), f"is no index of a shard: {name[:80]!r}")
        entry = Entry(content.specs[spec], faces, frames)
        place = shard if storage.is_remote(shard) else Path(shard)
        listed.append(Member(name, place, content.size, offset, size, entry))
    return listed


def index_text(size: int, files: Mapping[str, "tuple[int, int, Entry]"]) -> str:
    """The index of a shard of `size` bytes; of every file offset, bytes and what is known."""
    specs = tuple(dict.fromkeys(entry.spec for _, _, entry in files.values()))
    rows = {
        name: (offset, held, specs.index(entry.spec), entry.faces, entry.frames)
        for name, (offset, held, entry) in files.items()
    }
    return to_json(_Index(1, size, specs, rows), indent=None)


def _short(name: str) -> str:
    """What stands in the header itself of a long name, or of one that is not ASCII."""
    return name.encode("ascii", "replace").decode()[:100]
