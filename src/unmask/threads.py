"""A function over a stream of items, in threads: ahead of who takes them, or a core each."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock, Thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


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


_setting = Lock()


def take_one_core() -> None:
    """Let torch use one core in this thread, and sum in the same order as with one core at all."""
    import torch  # late: the command's help must not wait for it

    with _setting:
        others = torch.get_num_threads()
        torch.set_num_threads(1)  # of this thread; but later ones begin with that, too
        undo = Thread(target=torch.set_num_threads, args=(others,))
        undo.start()
        undo.join()


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
