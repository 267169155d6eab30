"""How far a run is: a bar on a terminal, else a line now and then."""

import logging
import time
from contextlib import AbstractContextManager
from typing import Any

from tqdm import tqdm

log = logging.getLogger("unmask")
_EVERY = 60.0  # seconds between two lines


class Meter:
    """Shows what is done, failed, done an hour and, where the total is known, the time left.

    Args:
        label: what is being done.
        quiet: show nothing.
    """

    def __init__(self, label: str, quiet: bool) -> None:
        self._label, self._quiet = label, quiet
        off = True if quiet else None  # None: unless it is a terminal
        self._bar: Any = tqdm(
            desc=label, unit="video", disable=off, leave=False, dynamic_ncols=True
        )
        self._begun = self._said = time.monotonic()
        self._first: int | None = None  # finished before this run

    def __call__(self, finished: int, total: int | None, failed: int = 0) -> None:
        """Move: so many are finished, `failed` of them without success."""
        now = time.monotonic()
        self._first = finished if self._first is None else self._first
        rate = (finished - self._first) / max(now - self._begun, 1e-9)
        if not self._bar.disable:
            self._bar.total = total
            self._bar.set_postfix_str(f"{failed} failed, {3600 * rate:,.0f}/h", refresh=False)
            self._bar.update(finished - self._bar.n)
            if finished == total:
                self._bar.close()
        elif now > self._said + _EVERY:
            self._said = now
            of = "" if total is None else f" of {total:,}"
            left = f", {_hours((total - finished) / rate)} left" if total and rate else ""
            log.info(
                "%s: %s%s done, %s failed, %s an hour%s",
                self._label, f"{finished:,}", of, f"{failed:,}", f"{3600 * rate:,.0f}", left,
            )  # fmt: skip


def _hours(seconds: float) -> str:
    return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d} h"


def bars_away() -> AbstractContextManager[None]:
    """While other things are written to the terminal: no bar is on that line."""
    away: AbstractContextManager[None] = tqdm.external_write_mode()
    return away
