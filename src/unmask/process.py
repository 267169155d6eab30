"""How this process uses the machine. The command asks for it; importing the package does not."""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def keep_memory() -> None:
    """Let glibc keep large freed blocks instead of returning each to the kernel.

    The feature maps of a CNN are hundreds of megabytes that come and go with every batch; having
    them zeroed page by page each time costs a third of the time. Does nothing elsewhere.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def share_cores(workers: int) -> None:
    """In one of several worker processes: take a share of the cores instead of all of them."""
    import torch

    keep_memory()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
