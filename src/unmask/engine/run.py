"""A function over many items: here, in processes, or on a Ray cluster.

Knows nothing of video. One item's failure is an outcome and not the end.
"""

import logging
import os
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

from unmask.engine.worker import Answer, Worker, attempt
from unmask.errors import InternalError, UnmaskError, UsageError, WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int, int], None]  # (finished, total, of these failed)
log = logging.getLogger("unmask")


def silent(finished: int, total: int, failed: int) -> None:
    """The Progress of who does not ask for it."""


@dataclass(frozen=True)
class Engine:
    """Where a function over many items runs.

    Attributes:
        workers: processes; None is one a core (on Ray: of the cluster). One local worker without
            a limit of memory is this process, and neither a crash nor a hang is caught in it.
        kind: "local", or "ray", which takes the extra unmask[ray].
        address: of the cluster: "auto" is the one of this machine, "local" starts one in which
            only this run works, as long as it lasts.
        memory: bytes that a worker may hold before its item is given up; None is no limit.
        dashboard: with "local", start Ray's web page, too; with others, say where it is.
    """

    workers: int | None = 1
    kind: Literal["local", "ray"] = "local"
    address: str = "local"
    memory: int | None = None
    dashboard: bool = False

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers: {self.workers} is not at least 1")
        if self.kind == "local" and (self.address != "local" or self.dashboard):
            raise UsageError("an address and a dashboard are those of a cluster: --engine ray")

    @property
    def is_here(self) -> bool:
        """Whether everything runs in this process."""
        return self.kind == "local" and self.workers == 1 and self.memory is None


@dataclass(frozen=True)
class Shard:
    """One of several parts of the items, made without the others and without talking to them.

    Attributes:
        number: which, from 1.
        count: of how many.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(f"there is no shard {self.number}/{self.count}; the first is 1/N")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "2/8".

        Raises:
            UsageError: it is something else.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if match is None:
            raise UsageError(f"{text!r} is no shard: it is number/count, for instance 2/8")
        return cls(int(match[1]), int(match[2]))

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every count-th item, so that neighbours, which cost alike, go to different shards."""
        return items[self.number - 1 :: self.count]


HERE, WHOLE = Engine(), Shard()


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of one item: a result or an error."""

    item: Item
    result: Result | None
    error: UnmaskError | None


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item | None],
    engine: Engine = HERE,
    *,
    timeout: float | None = None,
    name: Callable[[Item], str | Path] = str,
    patient: bool = True,
) -> Generator[Outcome[Item, Result], None, None]:
    """Yield an outcome for each item as it finishes, in any order if there are several workers.

    An exception other than UnmaskError is a bug of ours: the outcome is an InternalError, and the
    traceback is logged for debugging. Items are taken as workers become free, so memory does not
    grow with their number.

    An item whose worker dies is tried once more in a new one. If that dies, too, or an item takes
    longer than `timeout` or more memory than it may, the outcome is a WorkerError. Leaving the
    iteration early (an interrupt) finishes what runs and begins nothing new, if `patient`; a
    second interrupt ends that, too.

    Args:
        function: picklable unless it runs here. A worker unpickles it once and keeps it.
        items: likewise; None where there is nothing to do for now.
        engine: where.
        timeout: seconds for one item.
        name: of an item in messages, its file.
        patient: False where a result that comes after an interrupt is of no use.
    """
    if engine.is_here:
        for item in items:
            if item is not None:
                yield _outcome(item, attempt(function, item), name)
    else:
        with closing(_on_workers(function, items, engine, timeout, patient)) as answers:
            for item, answer in answers:
                yield _outcome(item, answer, name)


class _Worker(Protocol):
    """Does one item at a time; where it dies, another takes its place (see Worker)."""

    def do(self, function: Callable[[Any], Any], item: Any, timeout: float | None) -> Answer[Any]:
        """`attempt`, over there."""

    def kill(self) -> None:
        """End what it does at once."""

    def close(self) -> None:
        """Nothing takes its place any more."""

    def join(self) -> None:
        """Wait until it has ended."""


class _Place(Protocol):
    """Where workers are: this machine, or a cluster.

    Attributes:
        count: of the workers that were asked for, or that it has cores for.
    """

    count: int

    def start(self, count: int) -> Sequence[_Worker]:
        """Start so many of them."""

    def close(self) -> None:
        """Once they have ended."""


class _Here:
    """This machine."""

    def __init__(self, engine: Engine) -> None:
        self._cores, self._memory = os.cpu_count() or 1, engine.memory
        self.count = engine.workers or self._cores

    def start(self, count: int) -> Sequence[_Worker]:
        return [Worker(max(1, self._cores // count), self._memory) for _ in range(count)]

    def close(self) -> None:
        pass


def _place(engine: Engine) -> _Place:
    if engine.kind == "local":
        return _Here(engine)
    from unmask.engine.cluster import Cluster  # its library is an extra

    return Cluster(engine)


def _on_workers(
    function: Callable[[Item], Result],
    items: Iterable[Item | None],
    engine: Engine,
    timeout: float | None,
    patient: bool,
) -> Generator[tuple[Item, Answer[Result]], None, None]:
    coming = iter(items)
    with closing(_place(engine)) as place:
        first = list(islice(coming, place.count))  # no more workers than items
        workers = place.start(len(first)) if first else []
        idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in workers:
            idle.put(worker)

        def do(item: Item) -> Answer[Result]:
            worker = idle.get()
            try:
                return worker.do(function, item, timeout)
            finally:
                idle.put(worker)

        threads = ThreadPoolExecutor(max(1, len(workers)), "worker")  # each waits for a worker
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


def _end(workers: Sequence[_Worker], threads: ThreadPoolExecutor, patient: bool) -> None:
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
