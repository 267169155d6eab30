"""What a training run would cost, found out by its first two batches."""

import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from unmask.data.shards import tree_path
from unmask.training.config import RunConfig, make_config
from unmask.training.distributed import process_group
from unmask.training.run import Progress, Run


@dataclass(frozen=True)
class DryRun:
    """What a training run would cost.

    Attributes:
        windows: of the train and of the val split.
        parameters: of the network, and those that learn.
        batches: in an epoch.
        epoch_seconds: estimate of a whole epoch.
        memory: peak of this process (of its GPU where it has one) after two batches, in bytes.
    """

    windows: tuple[int, int]
    parameters: tuple[int, int]
    batches: int
    epoch_seconds: float
    memory: int

    def __str__(self) -> str:
        return (
            f"{self.windows[0]} windows to train on, {self.windows[1]} to validate, "
            f"{self.batches} batches an epoch\n"
            f"{self.parameters[0]:,} parameters, {self.parameters[1]:,} of them learn\n"
            f"an epoch takes about {self.epoch_seconds / 60:.1f} minutes, "
            f"memory {self.memory / 2**30:.1f} GiB"
        )


class _EnoughError(Exception):
    pass


def dry_run(data: str | Path, config: RunConfig | None = None, device: str = "auto") -> DryRun:
    """Build everything, run two batches, and write nothing.

    Raises:
        UnmaskError: whatever would stop the training run at its beginning.
    """
    with (
        process_group(device) as group,
        closing(Run(tree_path(data), config or make_config(), group)) as run,
    ):
        times = [time.monotonic()]

        def enough(progress: Progress) -> None:
            times.append(time.monotonic())
            if len(times) == 3:
                raise _EnoughError

        with suppress(_EnoughError):
            run.train_epoch([], enough)
        from resource import RUSAGE_SELF, getrusage  # late: not every system has it

        peak = getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        if group.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(group.device)
        return DryRun(
            run.feed.windows,
            run.parameters,
            run.feed.batches,
            # The first batch pays for what is done once.
            run.feed.batches * (times[-1] - times[-2]),
            peak,
        )
