"""Files appear whole or not at all."""

import hashlib
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from unmask.errors import FileError

# No suffix of a format: no pattern that looks for data may find what a killed process has left.
_OURS = re.compile(r"\.unmask-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.tmp")
_DAY = 86400


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds.

    An exception, an interrupt or a full disk in the block leaves whatever stood at `path`
    untouched and removes the temporary file. Parents are made. What killed processes have left
    beside `path` is removed, too. The temporary name has the suffix ".tmp": a writer that would
    choose its format by the suffix has to be told it.

    Raises:
        FileError: the file cannot be written (disk full, no permission).
    """
    path = Path(path)
    temporary = path.with_name(temporary_name())
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path.parent.absolute())
            yield temporary
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def temporary_name() -> str:
    """A name of a file that tells which process of which machine has made it."""
    return f".unmask-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.tmp"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says of a file that cannot be written into a FileError."""
    try:
        yield
    except OSError as error:
        raise FileError(path, f"cannot be written: {error.strerror or error}") from error


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically and through to the disk."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def save_tensors(path: str | Path, content: Any) -> None:
    """`torch.save`, atomically."""
    import torch  # late: the command's help must not wait for it

    with replacing(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # how torch reports a full disk
            raise OSError(str(error).splitlines()[0]) from error


def save_safetensors(
    path: str | Path, tensors: dict[str, Any], metadata: dict[str, str] | None = None
) -> None:
    """Write a `.safetensors` file, atomically; others may read it, which safetensors forbids."""
    from safetensors.torch import save

    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))


@cache  # once a folder and process: whatever comes later is not of an earlier run
def _sweep(folder: Path) -> None:
    """Remove the temporary files that processes which are gone have left in a folder."""
    with suppress(OSError):  # a folder that cannot be read; or another process was quicker
        for path in folder.iterdir():
            if is_left(path):
                path.unlink(missing_ok=True)


def is_left(path: Path) -> bool:
    """Whether a file has a temporary name, and its process is gone.

    Of other machines only its age tells.
    """
    match = _OURS.fullmatch(path.name)
    if not match:
        return False
    machine, process = match[1], int(match[2])
    if machine == _machine() and os.name == "posix":
        try:
            os.kill(process, 0)  # sends nothing
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):  # a process of somebody else
            pass
        return False
    return time.time() - path.lstat().st_mtime > _DAY


@cache
def _machine() -> str:
    """Where a number of a process means one process: the machine, or the container in it."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]
