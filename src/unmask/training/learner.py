"""A network and all that changes with it while it learns."""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from unmask.device import autocast, fast_precision
from unmask.models import DeepfakeNet, Logits, synchronised
from unmask.training.config import TrainConfig
from unmask.training.distributed import Group


class Average:
    """The exponential moving average of a network's weights and statistics.

    The decay of the n-th step is at most (1 + n) / (10 + n), so that a short run is not an average
    of its beginning.
    """

    def __init__(self, net: DeepfakeNet, decay: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.steps = 0
        self._decay = decay

    @torch.no_grad()
    def update(self, net: DeepfakeNet) -> None:
        """Move towards the network as it is now."""
        self.steps += 1
        weight = 1 - min(self._decay, (1 + self.steps) / (10 + self.steps))
        for old, new in zip(self.net.state_dict().values(), net.state_dict().values(), strict=True):
            if old.is_floating_point():
                old.lerp_(new, weight)
            else:
                old.copy_(new)


@dataclass(frozen=True, eq=False)
class LearnerState:
    """All that a later step depends on.

    Attributes:
        model: weights to be validated and kept; with an average these are the average.
        optimizer, scheduler, scaler: what torch calls their state.
        learning: with an average, the weights that learn on.
        average_steps: that the average has seen.
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    scaler: dict[str, Any]
    learning: dict[str, Tensor] | None
    average_steps: int


class Learner:
    """One step after the other, and everything that a later step depends on.

    Args:
        net: on the group's device.
        settings: of the training.
        group: the processes that train it together.
        steps: of the optimizer in an epoch.
    """

    def __init__(self, net: DeepfakeNet, settings: TrainConfig, group: Group, steps: int) -> None:
        self.net = net
        self._settings, self._device, self._steps = settings, group.device, steps
        self.precision = _precision(net, settings, group.device)
        self.optimizer = Adam(
            net.parameters(),
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            decoupled_weight_decay=True,
            fused=group.device.type == "cuda",
        )
        self._scaler = torch.amp.GradScaler(group.device.type, enabled=self.precision == "float16")
        self._schedule: LambdaLR | ReduceLROnPlateau
        if settings.schedule == "cosine":
            self._schedule = LambdaLR(self.optimizer, _cosine(settings, steps))
        else:
            self._schedule = ReduceLROnPlateau(self.optimizer, factor=0.5, patience=2)
        self._average = Average(net, settings.ema) if settings.ema else None
        if group.world > 1:
            net.cnn = synchronised(net.cnn, group.device.type)
        if settings.compile:
            net.cnn.compile()
        self._model: nn.Module = net if group.world == 1 else DistributedDataParallel(net)

    @property
    def best(self) -> DeepfakeNet:
        """The network to be validated and kept: the averaged one, if there is one."""
        return self.net if self._average is None else self._average.net

    @property
    def lr(self) -> float:
        """The rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def forward(self, faces: Tensor, mask: Tensor) -> Logits:
        """In training mode and precision."""
        with autocast(self._device, self.precision):
            logits: Logits = self._model(faces, mask)
        return logits

    def step(self) -> None:
        """Change the weights by the gradients that have been gathered."""
        if self._settings.clip_norm:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.net.parameters(), self._settings.clip_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if isinstance(self._schedule, LambdaLR):
            self._schedule.step()
        if self._average is not None:
            self._average.update(self.net)

    def backward(self, loss: Tensor) -> None:
        """Gather a loss's gradients."""
        self._scaler.scale(loss).backward()

    def end_epoch(self, val_loss: float) -> None:
        """Tell the schedule how the epoch went."""
        if isinstance(self._schedule, ReduceLROnPlateau):
            self._schedule.step(val_loss)

    def state(self) -> LearnerState:
        """All of it, as tensors and plain values."""
        return LearnerState(
            self.best.state_dict(),
            self.optimizer.state_dict(),
            self._schedule.state_dict(),
            self._scaler.state_dict(),
            None if self._average is None else self.net.state_dict(),
            0 if self._average is None else self._average.steps,
        )

    def restore(self, state: LearnerState) -> None:
        """Be as `state` was."""
        if self._average is not None:
            self._average.net.load_state_dict(state.model)
            self._average.steps = state.average_steps
        self.net.load_state_dict(state.learning or state.model)
        self.optimizer.load_state_dict(state.optimizer)
        self._schedule.load_state_dict(state.scheduler)
        self._scaler.load_state_dict(state.scaler)

    def at_epoch(self, finished: int) -> None:
        """Set the rate to what it is after so many epochs, where they had another length."""
        if isinstance(self._schedule, LambdaLR):
            self._schedule.last_epoch = finished * self._steps - 1
            self._schedule.step()


def _precision(net: DeepfakeNet, settings: TrainConfig, device: torch.device) -> str:
    """What "auto" means in training."""
    if settings.precision != "auto":
        return settings.precision
    # The backward pass of a depthwise convolution takes twice as long in bfloat16 as in float32
    # on a CPU, more than the forward pass gains.
    slow = device.type == "cpu" and net.depthwise and not settings.freeze_cnn
    return "float32" if slow else fast_precision(device)


def _cosine(settings: TrainConfig, steps: int) -> Any:
    """The share of the rate at a step: a linear rise, then half a cosine down to 0."""
    rise, total = settings.warmup * steps, settings.epochs * steps

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return (1 + math.cos(math.pi * min(1, (step - rise) / max(1, total - rise)))) / 2

    return share
