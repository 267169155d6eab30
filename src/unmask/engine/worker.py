"""Worker processes that may die or hang without harm to each other."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from unmask.errors import UnmaskError
from unmask.garbage import collect_rarely

Item = TypeVar("Item")
Result = TypeVar("Result")
TRIES = 2  # workers that an item may cost
_LOOK = 0.2  # seconds between looks at what it takes


class _ExcessError(Exception):
    """An item took more time or memory than it may."""


@dataclass(frozen=True)
class Answer(Generic[Result]):
    """What came of one item.

    Attributes:
        result: of the function.
        error: that the function raised on purpose.
        lost: why there is neither: the process died or took too long.
        bug: an unexpected exception, in one line.
        trace: its traceback.
    """

    result: Result | None = None
    error: UnmaskError | None = None
    lost: str = ""
    bug: str = ""
    trace: str = ""


def attempt(function: Callable[[Item], Result], item: Item) -> Answer[Result]:
    """Call the function; whatever it raises is an answer."""
    try:
        return Answer(function(item))
    except UnmaskError as error:
        return Answer(error=error)
    except Exception as error:
        return _bug(error)


def gone(closed: bool) -> Answer[Any]:
    """The answer where nobody is left to give one."""
    if closed:
        return Answer(lost="was interrupted")
    return Answer(lost=f"the worker process died, {TRIES} times (out of memory, or a crash?)")


def sent(
    work: Callable[[bytes, bytes], bytes], function: Callable[[Item], Result], item: Item
) -> Answer[Result]:
    """What a worker answers; what cannot be pickled, either way, is a bug of that item's."""
    try:
        answer: Answer[Result] = pickle.loads(work(pickle.dumps(function), pickle.dumps(item)))
        return answer
    except Exception as error:
        return _bug(error)


class Worker:
    """A process that does one item at a time; where it dies, another takes its place.

    It is a pool of one: a pool of several breaks as a whole when one of its processes dies.

    Args:
        threads: for its arithmetic.
        memory: bytes it may hold; None is no limit.
    """

    def __init__(self, threads: int, memory: int | None = None) -> None:
        self._threads, self._memory, self._closed = threads, memory, False
        self._start()

    def do(
        self, function: Callable[[Item], Result], item: Item, timeout: float | None
    ) -> Answer[Result]:
        """`attempt`, in the process.

        Args:
            function: what to do.
            item: with what; once more in a new process if the first one dies.
            timeout: seconds after which the process is killed.
        """
        return sent(partial(self.work, timeout=timeout), function, item)

    def work(self, function: bytes, item: bytes, timeout: float | None) -> bytes:
        """`do` of what is pickled, to what is: all that is not the business of this process."""
        for _ in range(TRIES):
            try:
                self._pid.result()  # time counts from when the process is ready
                if self._closed:
                    break
                return self._watched(self._pool.submit(_work, function, item), timeout)
            except _ExcessError as excess:
                self.kill()
                self._start()
                return pickle.dumps(Answer[Any](lost=f"{excess} and was stopped"))
            except BrokenProcessPool:
                if self._closed:
                    break
                self._start()
        return pickle.dumps(gone(self._closed))

    def _watched(self, work: Future[bytes], timeout: float | None) -> bytes:
        """What the process answers, unless it takes too much of something before."""
        begun = time.monotonic()
        while True:
            try:
                return work.result(_LOOK)
            except TimeoutError:
                if timeout is not None and time.monotonic() - begun > timeout:
                    raise _ExcessError(f"took longer than {timeout:g} s") from None
                if self._memory is not None and resident(self._pid.result()) > self._memory:
                    mib = self._memory / 2**20
                    raise _ExcessError(f"needed more than {mib:.0f} MB of memory") from None

    def kill(self) -> None:
        """End the process at once."""
        if self._pid.done() and not self._pid.exception():
            with suppress(ProcessLookupError):
                os.kill(self._pid.result(), getattr(signal, "SIGKILL", signal.SIGTERM))

    def close(self) -> None:
        """No process takes the place of this one any more."""
        self._closed = True

    def join(self) -> None:
        """Wait until the process has finished what it does, and has ended."""
        self._pool.shutdown(wait=True)

    def _start(self) -> None:
        if hasattr(self, "_pool"):
            self.join()
        # spawn: forking a process whose libraries run threads can hang
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, context, prepare, (self._threads,))
        self._pid: Future[int] = self._pool.submit(os.getpid)


def resident(process: int | None) -> int:
    """Bytes of memory of a process; 0 where the system does not say (other than Linux)."""
    with suppress(OSError, ValueError, IndexError):
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    return 0


def prepare(threads: int) -> None:
    """Take some cores, leave an interrupt to the parent, and end with it."""
    collect_rarely()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(threads)  # torch reads it when it is imported
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


# What a function keeps between items, a model for instance, is loaded once.
_function = lru_cache(maxsize=1)(pickle.loads)


def _work(function: bytes, item: bytes) -> bytes:
    try:
        answer: Answer[Any] = attempt(_function(function), pickle.loads(item))
        return pickle.dumps(answer if answer.error is None else Answer(error=_sent(answer.error)))
    except Exception as error:
        return pickle.dumps(_bug(error))


def _sent(error: UnmaskError) -> UnmaskError:
    """The error, or at least what it says: not every exception survives pickling."""
    with suppress(Exception):
        pickle.loads(pickle.dumps(error))
        return error
    return UnmaskError(str(error))


def _bug(error: Exception) -> Answer[Any]:
    trace = "".join(traceback.format_exception(error))
    return Answer(bug=f"{type(error).__name__}: {error}", trace=trace)
