"""Files from an address, and to it."""

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Self

from filelock import FileLock

from unmask.atomic import replacing, temporary_name
from unmask.errors import FileError, StorageError
from unmask.storage.address import (
    OBJECT_STORES,
    Place,
    as_path,
    fail,
    name_of,
    opened,
    scheme_of,
    shown,
    told,
)
from unmask.storage.cache import Cache
from unmask.storage.listing import state_of

log = logging.getLogger("unmask")
_PAUSE = 60.0  # seconds between uploads of a file that grows
_SHARE = 20  # an upload may take one part in this many of the time


@contextmanager
def fetched(place: Place) -> Iterator[Path]:
    """Yield the path of a file: its own, or that of a copy in the cache, of the same name.

    The copy stays while the block runs, and for as long as there is room (see Cache). A file that
    has changed is fetched anew. To be read only.

    Raises:
        StorageError: it cannot be fetched, or is larger than the cache.
        FileError: the cache cannot be written.
    """
    path = as_path(place)
    if path is not None:
        yield path
        return
    address, cache = str(place), Cache.of_environment()
    files, remote = opened(address)
    with told(address, "read"):
        info = files.info(remote)
    size = info.get("size")
    if info["type"] != "file":
        fail(address, "is a folder")
    if size is None:
        fail(address, "does not say how large it is")
    if size > cache.most:
        fail(address, f"has {size} bytes, more than the cache (UNMASK_CACHE_SIZE, {cache.most})")
    key = hashlib.sha256(f"{address}\0{state_of(info)}".encode()).hexdigest()[:32]
    with cache.holding(key, size) as folder:
        copy = folder / "content" / name_of(address)
        with FileLock(folder / "lock"):
            if not copy.is_file():
                _download(address, files, remote, copy, size)
        with _named(copy, place):
            yield copy


def _download(address: str, files: Any, remote: str, path: Path, size: int) -> None:
    from fsspec import Callback

    class Limit(Callback):  # type: ignore[misc]
        """A server may send more than it has announced."""

        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if self.value > size:
                fail(address, f"is larger than the {size} bytes announced")

    with replacing(path) as temporary, told(address, "read"):
        files.get_file(remote, str(temporary), callback=Limit())
        came = temporary.stat().st_size
        if came != size:
            fail(address, f"breaks off, or has changed meanwhile: {came} of {size} bytes came")


@contextmanager
def published(place: Place) -> Iterator[Path]:
    """Yield a temporary path; what the block has written there appears whole, or not at all.

    Raises:
        StorageError, FileError: it cannot be written.
    """
    path = as_path(place)
    if path is not None:
        with replacing(path) as temporary, _named(temporary, place):
            yield temporary
        return
    address = str(place)
    opened(address)  # what is not allowed or not installed is said before the work
    with TemporaryDirectory(prefix="unmask-") as folder:
        file = Path(folder) / name_of(address)
        with _named(file, place):
            yield file
        upload(file, address)


@contextmanager
def _named(copy: Path, place: Place) -> Iterator[None]:
    """Let errors about a copy name what it is a copy of."""
    try:
        yield
    except FileError as error:
        if error.path == copy:
            error.args = (shown(place), *error.args[1:])
            error.path = Path(place)
        raise


def upload(file: Path, address: str) -> None:
    """Copy a file to an address, where it appears whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    files, remote = opened(address)
    with told(address, "written"):
        if scheme_of(address) in OBJECT_STORES:
            files.put_file(str(file), remote)
            return
        folder = remote.rpartition("/")[0]
        files.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/{temporary_name()}"
        files.put_file(str(file), temporary)
        files.mv(temporary, remote)


def read_range(address: str, start: int, stop: int) -> bytes:
    """Some bytes of a file, without the others.

    Raises:
        StorageError: they cannot be read, or it has not so many.
    """
    files, remote = opened(address)
    with told(address, "read"):
        data = bytes(files.cat_file(remote, start=start, end=stop))
    if len(data) != stop - start:
        fail(address, f"ends before byte {stop}")
    return data


class Mirror:
    """A local file, or folder of files, that grows, and its copy at an address.

    It is copied every so often, and when the block ends, also by an exception. Of a place that is
    a path, that path is all there is. A context manager.

    Args:
        place: where the copy goes.
        kept: begin with what is there.

    Attributes:
        path: where to write.

    Raises:
        StorageError: on entry, what is there cannot be read; on exit, the copy cannot be written:
            the local one is kept, and named.
    """

    def __init__(self, place: Place, kept: bool = False) -> None:
        self._place, self._kept = str(place), kept
        path = as_path(place)
        self._here = path is not None
        self.path = path or Path(mkdtemp(prefix="unmask-"), name_of(place))
        self._sent: dict[Path, tuple[int, int]] = {}
        self._next = time.monotonic() + _PAUSE

    def __enter__(self) -> Self:
        if self._kept and not self._here:
            files, remote = opened(self._place)
            with told(self._place, "read"):
                if files.isfile(remote):
                    files.get_file(remote, str(self.path))
        return self

    def __exit__(self, *_: object) -> None:
        if self._here:
            return
        try:
            self._send()
        except StorageError as error:
            fail(self._place, f"{error.cause}; what should be there is kept as {self.path}")
        shutil.rmtree(self.path.parent, ignore_errors=True)

    def sync(self) -> None:
        """Copy what is new, if it is time; if that fails, there is another time."""
        begun = time.monotonic()
        if self._here or begun < self._next:
            return
        try:
            self._send()
        except StorageError as error:
            log.warning("%s; it is tried again", error)
        now = time.monotonic()
        self._next = now + max(_PAUSE, _SHARE * (now - begun))

    def _send(self) -> None:
        files = [self.path, *sorted(self.path.rglob("*"))]
        for file in filter(Path.is_file, files):
            found = file.stat()
            state = found.st_size, found.st_mtime_ns
            if self._sent.get(file) != state:
                below = file.relative_to(self.path).as_posix()
                upload(file, self._place if below == "." else f"{self._place.rstrip('/')}/{below}")
                self._sent[file] = state
