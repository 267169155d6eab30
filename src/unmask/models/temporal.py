"""Features of successive frames -> states, and states -> one vector a window.

A mask (B, T) bool is True where a frame is; True comes before False in every row. What the mask
hides must not move what it shows.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unmask.errors import UsageError

TEMPORALS = ("bigru", "gru", "none")
POOLINGS = ("last", "mean", "attention")


class GRU(nn.Module):
    """A stacked GRU that stops at each row's last frame: (B, T, F) -> (B, T, D)."""

    def __init__(
        self, features: int, hidden: int, layers: int, dropout: float, bidirectional: bool
    ) -> None:
        super().__init__()
        self.gru = nn.GRU(
            features,
            hidden,
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        self.out_features = hidden * (2 if bidirectional else 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        if mask.all():
            states: Tensor = self.gru(x)[0]
            return states
        lengths = mask.sum(dim=1).cpu()
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        packed = self.gru(packed)[0]
        return pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])[0]


class NoTemporal(nn.Module):
    """The control: every frame on its own."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.out_features = features

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return `x`."""
        return x


class Pool(nn.Module):
    """(B, T, D) under a mask -> (B, D): the last frame, the mean, or learned attention."""

    def __init__(self, kind: str, features: int) -> None:
        super().__init__()
        if kind not in POOLINGS:
            raise UsageError(f"pooling must be one of {', '.join(POOLINGS)}, not {kind!r}")
        self.kind = kind
        self.weight = nn.Linear(features, 1) if kind == "attention" else None

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        if self.kind == "last":
            rows = torch.arange(len(states), device=states.device)
            return states[rows, mask.sum(dim=1) - 1]
        if self.weight is None:
            share = mask / mask.sum(dim=1, keepdim=True)
        else:
            scores = self.weight(states)[..., 0].float()
            share = scores.masked_fill(~mask, float("-inf")).softmax(dim=1)
        return (states * share[..., None].to(states.dtype)).sum(dim=1)


def create_temporal(
    kind: str, features: int, hidden: int, layers: int, dropout: float
) -> GRU | NoTemporal:
    """A temporal module by name; its `out_features` is the width of a state."""
    if kind == "none":
        return NoTemporal(features)
    if kind not in TEMPORALS:
        raise UsageError(f"temporal must be one of {', '.join(TEMPORALS)}, not {kind!r}")
    return GRU(features, hidden, layers, dropout, bidirectional=kind == "bigru")
