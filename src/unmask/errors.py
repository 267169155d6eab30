"""What can go wrong, as types: every error names its cause and what to do about it."""

from pathlib import Path


class UnmaskError(Exception):
    """Base of all errors that unmask raises on purpose; `exit_code` is the command's."""

    exit_code = 1


class UsageError(UnmaskError, ValueError):
    """The request itself is wrong: an unknown preset, a missing option, an impossible value."""

    exit_code = 2


class FileError(UnmaskError):
    """A file cannot be used. `path` names it, `cause` says why and, where it helps, what to do."""

    def __init__(self, path: str | Path, cause: str) -> None:
        super().__init__(path, cause)  # both in args, so that the error survives pickling
        self.path = Path(path)
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.cause}"  # as it was given: a Path would spoil an address


class VideoError(FileError):
    """A video that cannot be opened or decoded."""


class StoreError(FileError):
    """A `.pt` file of faces that cannot be read, or one that does not fit the model."""


class ModelError(FileError):
    """A model, checkpoint or bundle that cannot be loaded."""


class CorpusError(FileError):
    """A folder, list or table of videos that makes no corpus."""


class StorageError(FileError):
    """An address that cannot be read or written; `path` is of no use for one, str() names it."""


class ReportError(FileError):
    """A report that cannot be read."""


class WorkerError(FileError):
    """A file at which a worker process died, or took too long."""


class InternalError(FileError):
    """A bug of ours, met while a file was worked on; `cause` is the exception in one line."""

    def __init__(self, path: str | Path, cause: str) -> None:
        super().__init__(path, cause)
        self.cause = f"{cause} (a bug in unmask: run with -v and report the traceback)"
