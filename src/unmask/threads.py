"""A function over a stream of items, in threads: ahead of who takes them, or a core each."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
