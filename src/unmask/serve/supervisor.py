"""A worker process and the thread that looks after it: hands it jobs, and ends it where it must.

What decodes hostile videos may crash, hang or grow. So time and memory are kept from outside, by
a process that never opens a video.
"""

import logging
import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from unmask.engine.worker import resident
from unmask.errors import UnmaskError, WorkerError
from unmask.serve.jobs import JobStore, Outcome, Progress, Task
from unmask.serve.settings import Settings

log = logging.getLogger("unmask")
LEASE = 60.0  # seconds
_POLL = 0.2  # seconds
_STARTS = 3  # that may fail one after the other, before one has succeeded
_PAUSE = 10.0  # seconds at most between later ones
_DIED = "the worker process died (out of memory, or a crash?)"
Work = Callable[[Connection, Settings], None]


@dataclass(frozen=True)
class Order:
    """To a worker: judge this video, and report into this folder."""

    video: str
    folder: Path
    name: str


@dataclass(frozen=True)
class Ready:
    """From a worker: the model of this name is loaded."""

    model: str


@dataclass(frozen=True)
class Failed:
    """From a worker: nothing came of an order, and why."""

    reason: str


def load_and_work(pipe: Connection, settings: Settings) -> None:
    """What a worker process does."""
    from unmask.serve.worker import work  # late: the server itself stays without torch

    work(pipe, settings)


class Supervisor(threading.Thread):
    """Keeps one worker at work.

    Args:
        store: of the jobs.
        order: makes of a task what the worker is told.
        settle: called with the id of a job that somebody has ceased to run.
        give_up: called if no worker could ever be started.
        settings: its limits and model.
        work: what the process does.

    Attributes:
        model: name of the model; None while no worker is ready.
        starts: processes so far.
        jobs, seconds: that were brought to an end, and how long they took together.
    """

    def __init__(
        self,
        store: JobStore,
        order: Callable[[Task], Order],
        settle: Callable[[str], None],
        give_up: Callable[[UnmaskError], None],
        settings: Settings,
        work: Work = load_and_work,
    ) -> None:
        super().__init__(name="supervisor", daemon=True)
        self._store, self._order, self._settle, self._give_up = store, order, settle, give_up
        self._settings, self._work = settings, work
        self._stopping, self.wake = threading.Event(), threading.Event()
        self._process: BaseProcess | None = None
        self._pipe: Connection
        self.model: str | None = None
        self.starts = self.jobs = 0
        self.seconds = 0.0

    def stop(self) -> None:
        """End the worker; what it did goes back to the queue. `join` waits for that."""
        self._stopping.set()
        self.wake.set()

    def run(self) -> None:
        """Until `stop`."""
        failures, ready = 0, False
        try:
            while not self._stopping.is_set() and (ready or failures < _STARTS):
                if self._process is None:
                    self._stopping.wait(min(failures, _PAUSE))
                    failures = 0 if self._start() else failures + 1
                    ready = ready or failures == 0  # then it is not the model that kills it
                elif (task := self._claim()) is not None:
                    self._run(task)
                elif not self._process.is_alive():
                    self._end()
                else:
                    self.wake.wait(_POLL)
                    self.wake.clear()
            if not self._stopping.is_set():
                self._give_up(WorkerError(self._settings.model, _DIED + " while it loaded"))
        except UnmaskError as error:
            self._give_up(error)
        finally:
            self._end()

    def _claim(self) -> Task | None:
        try:
            return self._store.claim(LEASE)
        except sqlite3.Error as error:  # a full disk, say; it may pass
            log.error("the table of jobs: %s", error)
            return None

    def _run(self, task: Task) -> None:
        try:
            self._do(task)
            self._settle(task.id)
        except sqlite3.Error as error:  # when its lease has ended, the job is queued again
            log.error("the table of jobs: %s", error)
            self._end()

    def _start(self) -> bool:
        """Begin a process and wait until it has loaded its model; False if it died of it."""
        context = multiprocessing.get_context("spawn")
        self._pipe, end = context.Pipe()
        process = context.Process(target=self._work, args=(end, self._settings), daemon=True)
        process.start()
        self._process = process
        end.close()
        self.starts += 1
        try:
            while not self._pipe.poll(_POLL):
                if self._stopping.is_set():
                    return True
            said = self._pipe.recv()
        except (EOFError, OSError):
            self._end()
            return False
        if isinstance(said, UnmaskError):
            raise said
        self.model = said.model
        return True

    def _end(self) -> None:
        """Kill the process, if there is one."""
        self.model = None
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._pipe.close()
            self._process = None

    def _do(self, task: Task) -> None:
        begun = renewed = time.monotonic()
        progress: Progress | None = None
        try:
            self._pipe.send(self._order(task))
            while not self._stopping.is_set():
                said = self._pipe.recv() if self._pipe.poll(_POLL) else None
                now = time.monotonic()
                if isinstance(said, Outcome | Failed):
                    self.jobs, self.seconds = self.jobs + 1, self.seconds + now - begun
                    return self._conclude(task, said)
                progress = said or progress
                if excess := self._excess(now - begun):
                    self._end()
                    self._store.fail(task, excess)
                    return None
                if said is not None or now > renewed + 1:
                    renewed = now
                    if not self._store.renew(task, progress, LEASE):  # it was deleted
                        return self._end()
        except (EOFError, OSError):
            log.warning("job %s: %s", task.id, _DIED)
            self._end()
            self._store.retry(task, _DIED)
            return None
        self._end()
        self._store.release(task)
        return None

    def _conclude(self, task: Task, said: Outcome | Failed) -> None:
        if isinstance(said, Failed):
            self._store.fail(task, said.reason)
        else:
            self._store.finish(task, said)

    def _excess(self, seconds: float) -> str:
        """Which limit the worker is over, if any."""
        limits = self._settings
        if seconds > limits.timeout:
            return f"took longer than {limits.timeout:g} s and was stopped"
        if self._process is not None and resident(self._process.pid) > limits.max_memory:
            return f"needed more than {limits.max_memory / 2**20:.0f} MB of memory and was stopped"
        return ""
