"""Where the time of a run goes: seconds and samples by stage, over all threads of this process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Stage:
    """What a stage has taken: seconds, of all threads together, and samples."""

    seconds: float = 0.0
    samples: int = 0


_stages: dict[str, Stage] = {}
_lock = threading.Lock()


@contextmanager
def stage(name: str, samples: int) -> Iterator[None]:
    """Count the time of the block, in which `samples` are worked at."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        _add(name, time.perf_counter() - begun, samples)


def timed(name: str, items: Iterator[T]) -> Iterator[T]:
    """Yield what `items` yields and count the time that it takes to make each."""
    while True:
        with stage(name, 0):
            try:
                item = next(items)
            except StopIteration:
                return
        _add(name, 0, 1)
        yield item


def _add(name: str, seconds: float, samples: int) -> None:
    with _lock:
        found = _stages.setdefault(name, Stage())
        found.seconds += seconds
        found.samples += samples


def table() -> str:
    """All stages so far, in the order in which they began; nothing if there are none."""
    rows = [f"{'stage':<8}{'seconds':>9}{'samples':>9}{'samples/s':>11}"]
    with _lock:
        for name, found in _stages.items():
            rate = found.samples / found.seconds if found.seconds else 0.0
            rows.append(f"{name:<8}{found.seconds:>9.2f}{found.samples:>9}{rate:>11.1f}")
    return "\n".join(rows) if len(rows) > 1 else ""
