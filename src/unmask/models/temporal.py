"""Features of successive frames -> states, and states -> one vector a window.

A mask (B, T) bool is True where a frame is; True comes before False in every row; None means that
every frame is there. What the mask hides must not move what it shows.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unmask.errors import UsageError

TEMPORALS = ("bigru", "gru", "transformer", "mean")
POOLINGS = ("last", "mean", "attention")
_HEAD = 64  # width of an attention head


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

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """See the class."""
        if mask is None:
            states: Tensor = self.gru(x)[0]
            return states
        lengths = mask.sum(dim=1).cpu()
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        packed = self.gru(packed)[0]
        return pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])[0]


class Transformer(nn.Module):
    """A transformer encoder over the frames: (B, T, F) -> (B, T, hidden).

    Vaswani et al. 2017 with its sinusoidal positions; norms first (Xiong et al. 2020), which
    trains without warm-up.
    """

    def __init__(self, features: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(features, hidden)
        layer = nn.TransformerEncoderLayer(
            hidden,
            nhead=hidden // _HEAD if hidden % _HEAD == 0 else 1,
            dim_feedforward=4 * hidden,
            dropout=dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        norm = nn.LayerNorm(hidden)
        self.encoder = nn.TransformerEncoder(layer, layers, norm, enable_nested_tensor=False)
        self.out_features = hidden

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """See the class."""
        x = self.project(x)
        x = x + _positions(x.shape[1], x.shape[2], x.device).to(x.dtype)
        states: Tensor = self.encoder(x, src_key_padding_mask=None if mask is None else ~mask)
        return states


def _positions(length: int, width: int, device: torch.device) -> Tensor:
    """(length, width): sines and cosines of the position (Vaswani et al. 2017, 3.5)."""
    half = (width + 1) // 2
    rates = torch.exp(torch.arange(half, device=device) * (-math.log(10_000.0) / half))
    angles = torch.arange(length, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]


class Mean(nn.Module):
    """The control without time: every frame is its own state."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.out_features = features

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
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

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """See the class."""
        if self.kind == "last":
            if mask is None:
                return states[:, -1]
            rows = torch.arange(states.shape[0], device=states.device)
            return states[rows, mask.sum(dim=1) - 1]
        if self.weight is None:
            if mask is None:
                return states.mean(dim=1)
            share = mask / mask.sum(dim=1, keepdim=True)
        else:
            scores = self.weight(states)[..., 0].float()
            if mask is not None:
                scores = scores.masked_fill(~mask, float("-inf"))
            share = scores.softmax(dim=1)
        return (states * share[..., None].to(states.dtype)).sum(dim=1)


def create_temporal(
    kind: str, features: int, hidden: int, layers: int, dropout: float
) -> GRU | Transformer | Mean:
    """A temporal module by name; its `out_features` is the width of a state."""
    if kind not in TEMPORALS:
        raise UsageError(f"temporal must be one of {', '.join(TEMPORALS)}, not {kind!r}")
    if kind == "mean":
        return Mean(features)
    if kind == "transformer":
        return Transformer(features, hidden, layers, dropout)
    return GRU(features, hidden, layers, dropout, bidirectional=kind == "bigru")
