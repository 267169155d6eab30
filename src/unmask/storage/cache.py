"""A folder of bounded size for copies of files; what was not used for longest goes first.

Several processes, also of several machines, may share it. fsspec's own caches know no bound.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from unmask.atomic import is_left, temporary_name, writing
from unmask.errors import UsageError

_ENTRY = re.compile(r"[0-9a-f]+-(\d+)")
_SIZE = re.compile(r"(\d+)([KMGT]?)", re.IGNORECASE)
_FOLDER, _MOST = "UNMASK_CACHE", "UNMASK_CACHE_SIZE"


def parse_size(text: str, what: str) -> int:
    """Bytes of "500M" or "10G".

    Raises:
        UsageError: it is no size; `what` is named.
    """
    size = _SIZE.fullmatch(text)
    if not size:
        raise UsageError(f"{what} should be a size like 500M or 10G, not {text!r}")
    return int(size[1]) << 10 * " KMGT".index(size[2].upper() or " ")


class Cache:
    """Folders of files that are held while they are used, and may go when they are not.

    The size of all is at most `most`, or what is held at one time if that is more.

    Args:
        root: where they lie.
        most: bytes.
    """

    def __init__(self, root: Path, most: int) -> None:
        self._root, self.most = root, most

    @classmethod
    def of_environment(cls) -> "Cache":
        """In UNMASK_CACHE (~/.cache/unmask/files), of UNMASK_CACHE_SIZE (10G).

        Raises:
            UsageError: that is no size.
        """
        most = parse_size(os.environ.get(_MOST) or "10G", _MOST)
        root = Path(os.environ.get(_FOLDER) or "~/.cache/unmask/files").expanduser()
        return cls(root, most)

    @contextmanager
    def holding(self, key: str, size: int) -> Iterator[Path]:
        """Yield the folder of a file, new or as it was left, which stays while the block runs.

        Args:
            key: of the file, hexadecimal.
            size: of the file in bytes.

        Raises:
            FileError: the cache cannot be written.
        """
        folder = self._root / f"{key}-{size}"
        mark = folder / temporary_name()
        with writing(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            with FileLock(self._root / "lock"):
                if not folder.is_dir():
                    self._make_room(size)
                    folder.mkdir()
                mark.touch()
        try:
            yield folder
        finally:
            with suppress(OSError):
                mark.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        """Remove what is not held, until there is room or nothing more to remove."""
        sizes = {
            path: int(entry[1])
            for path in self._root.iterdir()
            if (entry := _ENTRY.fullmatch(path.name))
        }
        excess = sum(sizes.values()) + size - self.most
        if excess <= 0:
            return
        # A mark that comes or goes changes the time of its folder.
        for path in sorted(sizes, key=lambda path: path.stat().st_mtime_ns):
            if excess > 0 and not _is_held(path):
                shutil.rmtree(path)
                excess -= sizes[path]


def _is_held(folder: Path) -> bool:
    return any(path.suffix == ".tmp" and not is_left(path) for path in folder.iterdir())
