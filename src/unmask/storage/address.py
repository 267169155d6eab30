"""An address -> the file system that holds it; and what file systems say, in our words."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeGuard
from urllib.parse import urlsplit

from unmask.errors import StorageError

Place = str | Path  # a path, or an address: a string with a scheme

_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")
_SECRET = re.compile(r"://[^/@]*:[^/@]*@")
_HERE = ("file", "local")
# An object appears there whole or not at all.
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
_OPEN = {*OBJECT_STORES, *_HERE, "memory"}  # the others ask any host that an address names
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
_ALLOWED = "UNMASK_ALLOW"  # further schemes, separated by commas; worker processes inherit it
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def is_remote(place: Place) -> TypeGuard[str]:
    """Whether this is an address. A Path never is one."""
    return isinstance(place, str) and _ADDRESS.match(place) is not None


def as_path(place: Place) -> Path | None:
    """The path of what lies in a file system of this machine (also `file://`); else None."""
    if not is_remote(place):
        return Path(place)
    return Path(opened(place)[1]) if scheme_of(place) in _HERE else None


def scheme_of(address: str) -> str:
    """Its scheme, in lower case."""
    return address.partition("://")[0].lower()


def name_of(place: Place) -> str:
    """The last part: the name of a file."""
    if is_remote(place):
        path = urlsplit(place).path if has_query(place) else place.partition("://")[2]
        return path.rstrip("/").rpartition("/")[2]
    return Path(place).name


def join(folder: Place, name: str) -> Place:
    """What is called `name` (with slashes) in a folder."""
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else Path(folder) / name


def shown(place: Place) -> str:
    """A place for messages: what may be a signature is left out."""
    if is_remote(place):
        place = _SECRET.sub("://...@", place)
        return place.partition("?")[0] if has_query(place) else place
    return str(place)


def allow(*schemes: str) -> None:
    """Let this process, and those that it starts, open addresses of further schemes."""
    before = os.environ.get(_ALLOWED, "")
    os.environ[_ALLOWED] = ",".join(filter(None, [before, *schemes]))


def opened(address: str) -> tuple[Any, str]:
    """(file system of fsspec, path in it). What it holds is asked anew each time.

    Raises:
        StorageError: it is not opened unless that is allowed; its library is not installed; it
            carries a password; or it is no address.
    """
    from fsspec import get_filesystem_class  # late: the command's help must not wait for it

    scheme = scheme_of(address)
    if scheme not in {*_OPEN, *os.environ.get(_ALLOWED, "").lower().split(",")}:
        fail(address, f"{scheme}:// is opened only where that is allowed: --allow {scheme}")
    if _SECRET.search(address):
        fail(address, "an address may not carry a password: use the settings of its library")
    if "\0" in address:
        fail(address, "is no address")
    try:
        # Not url_to_fs: of "a::b" it would make a chain, through file systems not allowed.
        kind = get_filesystem_class(scheme)
        settings = kind._get_kwargs_from_urls(address)
        return kind(**settings, use_listings_cache=False), kind._strip_protocol(address)
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        fail(address, f"needs a library: pip install 'unmask[{extra}]'" if extra else str(error))
    except Exception as error:  # file systems are of many kinds
        fail(address, f"cannot be opened: {_said(error)}")


@contextmanager
def told(address: str, doing: str) -> Iterator[None]:
    """Turn whatever a file system raises into a StorageError.

    Args:
        address: what it is about.
        doing: "read" or "written".
    """
    try:
        yield
    except StorageError:
        raise
    except PermissionError:
        fail(address, f"cannot be {doing}: no permission; check the credentials and their rights")
    except FileNotFoundError as error:
        cause = error.__cause__  # HTTP calls everything so
        status = getattr(cause, "status", None)
        if status in (401, 403):
            fail(address, f"cannot be {doing}: no permission (status {status})")
        if status is None and cause is not None and scheme_of(address) in ("http", "https"):
            fail(address, f"cannot be {doing}: {_said(cause)}")
        fail(address, "no such file, folder or bucket")
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise  # of this machine
        fail(address, f"cannot be {doing}: {_said(error)}")


def fail(address: str, cause: str) -> NoReturn:
    """Raise a StorageError that shows no credentials."""
    raise StorageError(shown(address), cause) from None


def has_query(address: str) -> bool:
    """Whether it is of http(s): there are no folders, and "?" is no part of a name."""
    return scheme_of(address) in ("http", "https")  # a key of S3 may hold any character


def _said(error: BaseException) -> str:
    """An exception in one line, without what may be a signature."""
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return _SECRET.sub("://...@", re.sub(r"\?[^\s'\"]*", "", line))
