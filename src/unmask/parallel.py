"""A function over many items: here, ahead in a thread, or in processes.

Knows nothing of video. One item's failure is an outcome and not the end.
"""

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from typing import Generic, TypeVar

from unmask.errors import InternalError, UnmaskError, WorkerError
from unmask.workers import Answer, Worker, attempt

Item = TypeVar("Item")
Result = TypeVar("Result")
log = logging.getLogger("unmask")


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of one item: a result or an error."""

    item: Item
    result: Result | None
    error: UnmaskError | None


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item | None],
    workers: int = 1,
    *,
    timeout: float | None = None,
    name: Callable[[Item], str | Path] = str,
    patient: bool = True,
) -> Generator[Outcome[Item, Result], None, None]:
    """Yield an outcome for each item as it finishes, in any order if `workers` > 1.

    An exception other than UnmaskError is a bug of ours: the outcome is an InternalError, and the
    traceback is logged for debugging. Items are taken as workers become free.

    With several workers, an item whose process dies is tried once more in a new one. If that dies,
    too, or an item takes longer than `timeout`, the outcome is a WorkerError. Leaving the
    iteration early (an interrupt) finishes what runs and begins nothing new, if `patient`; a
    second interrupt ends that, too.

    Args:
        function: picklable if there are several workers.
        items: likewise; None where there is nothing to do for now.
        workers: processes; with 1 everything runs in this process, and neither a crash nor a
            hang is caught.
        timeout: seconds for one item.
        name: of an item in messages, its file.
        patient: False where a result that comes after an interrupt is of no use.
    """
    if workers <= 1:
        for item in items:
            if item is not None:
                yield _outcome(item, attempt(function, item), name)
    else:
        with closing(_in_processes(function, items, workers, timeout, patient)) as answers:
            for item, answer in answers:
                yield _outcome(item, answer, name)


def _in_processes(
    function: Callable[[Item], Result],
    items: Iterable[Item | None],
    count: int,
    timeout: float | None,
    patient: bool,
) -> Generator[tuple[Item, Answer[Result]], None, None]:
    coming = iter(items)
    first = list(islice(coming, count))  # no more processes than items
    workers = [Worker(len(first)) for _ in first]
    idle: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def do(item: Item) -> Answer[Result]:
        worker = idle.get()
        try:
            return worker.do(function, item, timeout)
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(max(1, len(workers)), "worker")  # each waits for a process
    running: dict[Future[Answer[Result]], Item] = {}
    try:
        for item in chain(first, coming):
            if item is not None:
                running[threads.submit(do, item)] = item
            full = len(running) == len(workers)
            for future in wait(running, None if full else 0, FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    finally:
        _end(workers, threads, patient)


def _end(workers: list[Worker], threads: ThreadPoolExecutor, patient: bool) -> None:
    """Let what runs be finished, if there is patience; if that is interrupted, end it."""
    for worker in workers:
        worker.close()
        if not patient:
            worker.kill()
    try:
        threads.shutdown(wait=True, cancel_futures=True)
    except BaseException:
        for worker in workers:
            worker.kill()
        raise
    finally:
        for worker in workers:
            worker.join()


def _outcome(
    item: Item, answer: Answer[Result], name: Callable[[Item], str | Path]
) -> Outcome[Item, Result]:
    error = answer.error
    if answer.lost:
        error = WorkerError(name(item), answer.lost)
    elif answer.bug:
        error = InternalError(name(item), answer.bug)
        log.debug("%s\n%s", error, answer.trace)
    return Outcome(item, answer.result, error)


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
