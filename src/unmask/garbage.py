"""Garbage collection that does not hold a short command up."""

import atexit
import gc


def collect_rarely() -> None:
    """Look for garbage in cycles less often, and not at all as the process ends.

    Importing torch makes a million objects that stay. To look through them again and again, and
    once more at the end, takes as long as judging a short clip.
    """
    gc.set_threshold(200_000)
    atexit.register(gc.freeze)
