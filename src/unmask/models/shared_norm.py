"""Batch norms that take their statistics over all processes, on CPUs: torch's want GPUs."""

from typing import Any

import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn


class _Sum(torch.autograd.Function):
    """The sum over all processes."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        """The same shape."""
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """What everybody's loss wants of this part."""
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


def _normalised(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Batch norm in training, (B, C, H, W) -> (B, C, H, W); moves the running statistics."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    count = _total(wide.new_tensor([x.numel() // x.shape[1]]))
    mean = _total(wide.sum(dim=(0, 2, 3))) / count
    centred = wide - mean[:, None, None]
    variance = _total(centred.square().sum(dim=(0, 2, 3))) / count
    if norm.running_mean is not None and norm.running_var is not None:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        weight = norm.momentum or 1 / float(norm.num_batches_tracked)
        with torch.no_grad():
            norm.running_mean.lerp_(mean, weight)
            norm.running_var.lerp_(variance * (count / (count - 1)), weight)
    scale = torch.rsqrt(variance + norm.eps)
    if norm.affine:
        scale = scale * norm.weight
    y = centred * scale[:, None, None]
    return (y + norm.bias[:, None, None] if norm.affine else y).to(x.dtype)


def _total(part: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(part)
    return total


class SharedNorm2d(nn.BatchNorm2d):
    """Batch norm over all processes; in training, every process has to take part."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return _normalised(self, x) if self.training else super().forward(x)


class SharedNormAct2d(BatchNormAct2d):
    """The same, with the activation that timm keeps inside it."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        if not self.training:
            plain: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return plain
        y: Tensor = self.act(self.drop(_normalised(self, x)))
        return y


# Subclasses without anything of their own: an object of the one becomes one of the other.
SHARED: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm2d: SharedNorm2d,
    BatchNormAct2d: SharedNormAct2d,
}
