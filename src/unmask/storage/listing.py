"""What there is at an address."""

import glob
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any

from unmask.storage.address import (
    Place,
    as_path,
    has_query,
    is_remote,
    join,
    name_of,
    opened,
    told,
)

# What tells that a file has changed, as the file systems call it; the first that there is.
_SIGNS = ("ETag", "etag", "md5Hash", "mtime", "Last-Modified", "LastModified", "updated", "created")
_listed: dict[str, str] = {}  # states: a listing has them, one by one they cost a request each


def exists(place: Place) -> bool:
    """Whether there is a file or a folder.

    Raises:
        StorageError: it cannot be asked.
    """
    here = as_path(place)
    if here is not None:
        return here.exists()
    files, path = opened(str(place))
    with told(str(place), "read"):
        return bool(files.exists(path))


def is_pattern(place: Place) -> bool:
    """Whether this is a pattern, and no file is called so."""
    query = is_remote(place) and has_query(place)
    return not query and glob.has_magic(str(place)) and not exists(place)


def is_folder(place: Place) -> bool:
    """Whether it is a folder, or files lie below an address; never so of http(s).

    Raises:
        StorageError: it cannot be asked.
    """
    here = as_path(place)
    if here is not None:
        return here.is_dir()
    files, path = opened(str(place))
    with told(str(place), "read"):
        return not has_query(str(place)) and bool(files.isdir(path))


def files_in(folder: str, suffixes: Collection[str], recursive: bool = True) -> list[str]:
    """Names of the files in or, if `recursive`, below a folder, relative to it, sorted.

    Args:
        folder: its address.
        suffixes: that are looked for, in lower case. Hidden files are left out.
        recursive: with the folders in it.

    Raises:
        StorageError: it cannot be listed.
    """
    files, path = opened(folder)
    with told(folder, "read"):
        found = files.find(path, maxdepth=None if recursive else 1, detail=True)
    names = []
    for full, info in found.items():
        name = PurePosixPath(full).relative_to(path.rstrip("/") or "/")
        hidden = any(part.startswith(".") for part in name.parts)
        if name.suffix.lower() in suffixes and not hidden:
            names.append(str(name))
            _listed[str(join(folder, str(name)))] = state_of(info)
    return sorted(names)


def matching(pattern: str) -> list[str]:
    """The addresses of all files that a pattern (`*`, `**`, `?`, `[...]`) fits, sorted.

    Hidden ones only if the pattern's last part begins with a dot.

    Raises:
        StorageError: its folder cannot be listed.
    """
    files, path = opened(pattern)
    with told(pattern, "read"):
        found = files.glob(path, detail=True)
    hidden = name_of(pattern).startswith(".")
    addresses = []
    for full, info in found.items():
        if info["type"] == "file" and (hidden or not name_of(full).startswith(".")):
            addresses.append(f"{pattern.partition('://')[0]}://{full}")
            _listed[addresses[-1]] = state_of(info)
    return sorted(addresses)


def state(address: str) -> str:
    """What a file is known by, as it was listed or else as it is: size, and checksum or time.

    Raises:
        StorageError: there is none.
    """
    if address not in _listed:
        files, path = opened(address)
        with told(address, "read"):
            return state_of(files.info(path))
    return _listed[address]


def state_of(info: dict[str, Any]) -> str:
    """`state`, of what a file system says of a file."""
    return f"{info.get('size')} {next((info[sign] for sign in _SIGNS if info.get(sign)), '')}"
