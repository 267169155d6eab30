"""The jobs, their folders, and the workers: everything but HTTP."""

import logging
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from unmask.atomic import writing
from unmask.errors import FileError, UnmaskError
from unmask.serve.jobs import JobStore, Task
from unmask.serve.settings import Settings
from unmask.serve.supervisor import Order, Supervisor, Work, load_and_work

log = logging.getLogger("unmask")
UPLOAD = "video"  # without a suffix: what it is shows in its bytes alone
_SPARE = 64 * 2**20  # bytes of the disk that stay free
_SWEEP = 30.0  # seconds


class QueueFullError(UnmaskError):
    """As many jobs wait as may."""


class Service:
    """Runs jobs out of a folder: `jobs.sqlite3`, and `jobs/<id>/` for each.

    Args:
        settings: how.
        work: what a worker process does.

    Raises:
        FileError: the folder cannot be used, or another server uses it.
    """

    def __init__(self, settings: Settings, work: Work = load_and_work) -> None:
        self.settings, self._work = settings, work
        self.error: UnmaskError | None = None
        self._folders = settings.data / "jobs"
        with writing(settings.data):
            settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folders.mkdir(mode=0o700, exist_ok=True)
            # One thread takes it and another gives it back.
            self._lock = FileLock(settings.data / "lock", timeout=0, thread_local=False)
            try:
                self._lock.acquire()
            except Timeout:
                raise FileError(settings.data, "is in use by another server") from None
        self.store = JobStore(settings.data / "jobs.sqlite3")
        self._uploads: dict[str, int] = {}  # bytes so far of what has no job yet
        self._admission = threading.Lock()
        self.stopping = threading.Event()
        self.supervisors = [self._supervisor() for _ in range(settings.workers)]
        self._janitor = threading.Thread(target=self._sweep, name="janitor", daemon=True)

    def start(self) -> None:
        """Take up what was left, and start the workers."""
        self.store.recover()
        known = self.store.ids()
        for folder in self._folders.iterdir():
            if folder.name not in known:  # an upload that was broken off, or what was deleted
                shutil.rmtree(folder, ignore_errors=True)
        for job in known:
            self.settle(job)
        for thread in (*self.supervisors, self._janitor):
            thread.start()

    def stop(self) -> None:
        """End the workers; what runs goes back to the queue."""
        self.stopping.set()
        for supervisor in self.supervisors:
            supervisor.stop()
        for thread in (*self.supervisors, self._janitor):
            thread.join()
        self.store.close()
        self._lock.release()

    def give_up(self, error: UnmaskError) -> None:
        """No worker can be started; `on_error` ends the server."""
        self.error = error
        self.on_error()

    def on_error(self) -> None:
        """Replaced by who runs the server."""

    def folder(self, job: str) -> Path:
        """Of a job."""
        return self._folders / job

    @contextmanager
    def admitted(self) -> Iterator[str]:
        """A place in the queue, and the id of the job to be; what fails in the block leaves none.

        Raises:
            QueueFullError: there is none.
        """
        job = secrets.token_hex(16)
        with self._admission:
            if len(self._uploads) + self.store.counts()["queued"] >= self.settings.queue:
                raise QueueFullError
            self._uploads[job] = 0
        try:
            yield job
        except BaseException:
            shutil.rmtree(self.folder(job), ignore_errors=True)
            raise
        finally:
            with self._admission:
                del self._uploads[job]
            for supervisor in self.supervisors:
                supervisor.wake.set()

    def reserve(self, job: str, size: int) -> bool:
        """Whether an upload may grow to `size` bytes, all jobs and the disk considered."""
        with self._admission:
            more = size - self._uploads[job]
            total = self.store.bytes() + sum(self._uploads.values()) + more
            free = shutil.disk_usage(self._folders).free
            if total > self.settings.max_disk or more + _SPARE > free:
                return False
            self._uploads[job] = size
            return True

    def delete(self, job: str) -> bool:
        """Forget a job and remove its files; False if there is none."""
        gone = self.store.delete(job)
        self.settle(job)
        return gone

    def settle(self, job: str) -> None:
        """Remove the files of a job that it needs no more: of a failed one also the video."""
        folder, known = self.folder(job), self.store.get(job)
        if known is None:
            shutil.rmtree(folder, ignore_errors=True)
        elif known.finished is not None:
            with suppress(OSError):  # deleted at this moment
                if known.status == "failed":
                    (folder / UPLOAD).unlink(missing_ok=True)
                self.store.resize(job, sum(file.stat().st_size for file in folder.glob("*")))

    def allowed(self, path: str) -> Path | None:
        """The file, if it lies below a folder that clients may name files of, links followed."""
        with suppress(OSError, ValueError, RuntimeError):
            found = Path(path).resolve(strict=True)
            folders = (folder.resolve() for folder in self.settings.allow_path)
            if found.is_file() and any(found.is_relative_to(folder) for folder in folders):
                return found
        return None

    def video(self, job: str) -> Path | None:
        """The file of a job's video, if it is still there."""
        source = self.store.source(job)
        if source is not None:
            return self.allowed(source)
        upload = self.folder(job) / UPLOAD
        return upload if upload.is_file() else None

    def _supervisor(self) -> Supervisor:
        return Supervisor(
            self.store, self._order, self.settle, self.give_up, self.settings, self._work
        )

    def _order(self, task: Task) -> Order:
        folder = self.folder(task.id)
        return Order(task.source or str(folder / UPLOAD), folder, task.name)

    def _sweep(self) -> None:
        """Now and then: delete what is too old, and retry what nobody runs any more."""
        while not self.stopping.wait(_SWEEP):
            try:
                self.store.recover(time.time())
                for job in self.store.finished(time.time() - self.settings.keep):
                    self.delete(job)
            except sqlite3.Error as error:  # a full disk, say; it may pass
                log.error("the table of jobs: %s", error)
