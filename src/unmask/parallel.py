"""A function over many items: here, ahead in a thread, or in processes.

Knows nothing of video. One item's failure is an outcome and not the end; a worker that dies
takes only the items it held.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Generic, TypeVar

from unmask.errors import UnmaskError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of one item: a result or an error."""

    item: Item
    result: Result | None
    error: UnmaskError | None


def run(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int = 1
) -> Iterator[Outcome[Item, Result]]:
    """Yield an outcome for each item as it finishes, in any order if `workers` > 1.

    Only UnmaskError is an outcome; any other exception is a bug and is raised. `function` and
    the items must be picklable if `workers` > 1. Leaving the iteration early (an interrupt)
    cancels what has not begun.
    """
    if workers <= 1 or len(items) <= 1:
        for item in items:
            yield _attempt(function, item)
        return
    waiting = list(items)
    workers = min(workers, len(waiting))
    while waiting:
        died: list[Item] = []
        # spawn: forking a process whose libraries run threads can hang
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (workers,))
        try:
            futures: dict[Future[Outcome[Item, Result]], Item] = {
                pool.submit(_attempt, function, item): item for item in waiting
            }
            for future in as_completed(futures):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    died.append(futures[future])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        # A dead worker breaks its whole pool. Alone, the item that did it gives itself away.
        if died and workers == 1:
            yield Outcome(died.pop(0), None, UnmaskError("the worker process died"))
        waiting, workers = died, 1


def ahead(items: Iterator[Item], count: int) -> Generator[Item, None, None]:
    """Yield what `items` yields while a thread makes the next `count` of them.

    Close the generator before closing what `items` reads from: then the thread has ended.
    """
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        coming = deque(pool.submit(next, items, end) for _ in range(count))
        while (item := coming.popleft().result()) is not end:
            coming.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def threaded(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """Yield `function` of each item in order, worked in threads that take a core each.

    Networks gain less from sharing cores than from each having its own. A few items are taken
    ahead.
    """
    pool = ThreadPoolExecutor(threads, "work", take_one_core if threads > 1 else None)
    coming: deque[Future[Result]] = deque()
    try:
        for item in items:
            coming.append(pool.submit(function, item))
            if len(coming) > threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def take_one_core() -> None:
    """Let torch use one core in this thread."""
    import torch  # late: the command's help must not wait for it
    from threadpoolctl import threadpool_limits

    torch.get_num_threads()  # or torch would set the number later
    threadpool_limits(1, user_api="openmp")  # of this thread only


def batched(items: Iterable[Item], count: int) -> Iterator[list[Item]]:
    """Lists of `count` items, the last one shorter."""
    group: list[Item] = []
    for item in items:
        group.append(item)
        if len(group) == count:
            yield group
            group = []
    if group:
        yield group


def _attempt(function: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
    try:
        return Outcome(item, function(item), None)
    except UnmaskError as error:
        return Outcome(item, None, error)


def _start_worker(workers: int) -> None:
    """Take a share of the cores, and leave an interrupt to the parent: what runs is finished."""
    import torch  # late: the command's help must not wait for it

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
