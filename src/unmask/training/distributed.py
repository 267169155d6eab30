"""The processes that train together: one, or those that torchrun has started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from unmask.device import pick_device

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """A process among those that train together.

    Attributes:
        rank: its number; 0 speaks and writes for all.
        world: how many there are.
        device: its own.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Everybody's values, in the order of ranks; every process has to ask."""
        if self.world == 1:
            return [value]
        values: list[T | None] = [None] * self.world
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def any(self, *flags: bool) -> list[bool]:
        """For each flag whether it is raised anywhere; every process has to ask."""
        if self.world == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32, device=self.device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]


@contextmanager
def process_group(device: str) -> Iterator[Group]:
    """Join the other processes if torchrun has started this one, else be alone.

    On GPUs every process takes the one of its local rank, and they speak through NCCL; on CPUs
    through Gloo.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Group(0, 1, pick_device(device))
        return
    own = pick_device(device)
    if own.type == "cuda":
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if own.type == "cuda" else "gloo")
    try:
        yield Group(dist.get_rank(), dist.get_world_size(), own)
    finally:
        dist.destroy_process_group()
