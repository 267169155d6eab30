"""Worker processes that may die or hang without harm to each other."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from unmask.errors import UnmaskError

Item = TypeVar("Item")
Result = TypeVar("Result")
_TRIES = 2  # worker processes that an item may cost


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


class Worker:
    """A process that does one item at a time; where it dies, another takes its place.

    It is a pool of one: a pool of several breaks as a whole when one of its processes dies.

    Args:
        share: how many workers share the cores.
    """

    def __init__(self, share: int) -> None:
        self._share, self._closed = share, False
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
        limit = timeout if timeout is not None and timeout < threading.TIMEOUT_MAX else None
        for _ in range(_TRIES):
            try:
                self._pid.result()  # time counts from when the process is ready
                if self._closed:
                    break
                # As bytes: an exception while (un)pickling then is no concern of the pool's.
                work = self._pool.submit(_work, pickle.dumps((function, item)))
                answer: Answer[Result] = pickle.loads(work.result(limit))
                return answer
            except TimeoutError:
                self.kill()
                self._start()
                return Answer(lost=f"took longer than {limit:g} s and was stopped")
            except BrokenProcessPool:
                if self._closed:
                    break
                self._start()
            except Exception as error:  # what cannot be pickled
                return _bug(error)
        if self._closed:
            return Answer(lost="was interrupted")
        return Answer(lost=f"the worker process died, {_TRIES} times (out of memory, or a crash?)")

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
        self._pool = ProcessPoolExecutor(1, context, prepare, (self._share,))
        self._pid: Future[int] = self._pool.submit(os.getpid)


def prepare(share: int) -> None:
    """Take a share of the cores, leave an interrupt to the parent, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threads = max(1, (os.cpu_count() or 1) // share)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # torch reads it when it is imported
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: bytes) -> bytes:
    try:
        answer: Answer[Any] = attempt(*pickle.loads(task))
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
