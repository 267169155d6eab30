"""Being told to stop, and finishing the step first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from unmask.errors import UnmaskError


class StoppedError(UnmaskError):
    """Training was told to stop, and has saved where it was."""

    def __init__(self, signum: int) -> None:
        super().__init__("stopped and saved; --resume goes on from here")
        self.exit_code = 128 + signum


@contextmanager
def collect_signals() -> Iterator[list[int]]:
    """Collect the first SIGTERM or SIGINT; what comes after it works as ever."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def receive(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
