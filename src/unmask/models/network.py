"""The network: a CNN on every frame, a temporal module over them, one logit a window."""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn

from unmask.documents import STRICT
from unmask.errors import UsageError
from unmask.models.backbones import (
    MapBackbone,
    create_backbone,
    first_stages,
    fixed_size,
    output_width,
)
from unmask.models.temporal import Pool, create_temporal

_STRIDE = 16  # pixels of the face a cell of the map


@dataclass(frozen=True)
class ModelConfig:
    """The architecture; the defaults are the design document's (36,101,441 parameters).

    Attributes:
        backbone: a timm name.
        temporal: "bigru", "gru", "transformer", or "mean": every frame on its own.
        hidden: width of the transformer or of one direction of the GRU.
        layers: of either.
        gru_dropout: between the GRU's layers, or in the transformer's.
        pooling: "last", "mean" or "attention".
        head_hidden: width of the classifier's hidden layer; 0 is a single linear layer.
        head_dropout: before its last layer.
        frame_head: whether every frame gets a logit of its own.
        map_head: take the backbone's maps of stride 16 and let a 1x1 convolution say of every
            cell whether it was manipulated; a frame's features are the mean of the cells in its
            middle, where the face is.

    The bounds hold where a configuration comes from outside: a network of them takes under 3 GiB
    beside its backbone.
    """

    backbone: str = "resnext50_32x4d.tv_in1k"
    temporal: str = "bigru"
    hidden: Annotated[int, Ge(1), Le(2048)] = 512
    layers: Annotated[int, Ge(1), Le(8)] = 2
    gru_dropout: Annotated[float, Ge(0), Le(1)] = 0.3
    pooling: str = "last"
    head_hidden: Annotated[int, Ge(0), Le(8192)] = 512
    head_dropout: Annotated[float, Ge(0), Le(1)] = 0.5
    frame_head: bool = False
    map_head: bool = False

    __pydantic_config__ = STRICT


class Logits(NamedTuple):
    """Raw logits; positive means fake.

    Attributes:
        window: (B,), one a window.
        frames: (B, T), one a frame, meaningless where the mask is False; None without that head.
        maps: (N, h, w), one a cell of each of the N frames under the mask; None without that head,
            or of features.
    """

    window: Tensor
    frames: Tensor | None
    maps: Tensor | None = None


def _middle(features: Tensor) -> Tensor:
    """(N, F, h, w) -> (N, F): the mean where the face is, a little above the middle of a crop."""
    height, width = features.shape[2:]
    top, bottom, side = height // 5, height - height // 6, width // 5
    return features[:, :, top:bottom, side : width - side].mean(dim=(2, 3))


class _Gather(torch.autograd.Function):
    """Every process's rows, one after the other; gradients go back to where the rows are from."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad.chunk(dist.get_world_size())[dist.get_rank()]


def _head(states: int, hidden: int, dropout: float) -> nn.Sequential | nn.Linear:
    """(B, states) -> (B, 1)."""
    if not hidden:
        return nn.Linear(states, 1)
    return nn.Sequential(
        nn.Linear(states, hidden),
        WindowNorm(hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, 1),
    )


class WindowNorm(nn.BatchNorm1d):
    """Batch norm over windows, of all processes that train together.

    A single window has no variance: it is normalised by the running statistics, as later in use.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C) -> (B, C); in training, every process brings the same B."""
        if not self.training:
            return super().forward(x)
        own = slice(None)
        if dist.is_available() and dist.is_initialized():
            own = slice(len(x) * dist.get_rank(), len(x) * (dist.get_rank() + 1))
            x = _Gather.apply(x)
        if len(x) == 1:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)[own]


class DeepfakeNet(nn.Module):
    """Windows of face crops -> logits. Starts with random weights (see load_imagenet).

    Normalisation belongs to the network, so a backbone brings its own mean and deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.cnn: nn.Module = (
            MapBackbone(config.backbone, _STRIDE)
            if config.map_head
            else create_backbone(config.backbone)
        )
        features = output_width(self.cnn)
        self.temporal = create_temporal(
            config.temporal, features, config.hidden, config.layers, config.gru_dropout
        )
        states = self.temporal.out_features
        self.pool = Pool(config.pooling, states)
        self.head = _head(states, config.head_hidden, config.head_dropout)
        self.map_head = nn.Conv2d(features, 1, 1) if config.map_head else None
        self.frame_head = nn.Linear(states, 1) if config.frame_head else None
        normal = self.cnn.pretrained_cfg  # timm's: mean and std for pixels from 0 to 1
        for name in ("mean", "std"):
            value = torch.tensor(normal[name]).view(1, 3, 1, 1) * 255  # type: ignore[index]
            self.register_buffer(name, value, persistent=False)
        self.cnn.to(memory_format=torch.channels_last)
        self._frozen: list[str] = []  # modules of the CNN

    @property
    def depthwise(self) -> bool:
        """Whether the CNN has depthwise convolutions."""
        return any(
            isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 for m in self.cnn.modules()
        )

    def freeze_cnn(self, stages: int | None = None) -> None:
        """Keep the CNN as it is from now on, batch-norm statistics included.

        Args:
            stages: only so many, and the stem before them; None is all.

        Raises:
            UsageError: no stage would be left.
        """
        if stages is None:
            self._frozen = [""]
            self.cnn.requires_grad_(False)
        else:
            self._frozen, parameters = first_stages(self.cnn, stages)
            for name in parameters:
                self.cnn.get_parameter(name).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "DeepfakeNet":
        """Training mode for all that is not frozen."""
        super().train(mode)
        for name in self._frozen:
            self.cnn.get_submodule(name).eval()
        return self

    def encode(self, faces: Tensor) -> Tensor:
        """(N, 3, S, S) uint8 RGB -> (N, F) features, each frame on its own.

        Raises:
            UsageError: the backbone takes faces of another size only.
        """
        return self._look(faces)[0]

    def encode_with_maps(self, faces: Tensor) -> tuple[Tensor, Tensor | None]:
        """`encode`, and (N, h, w) logits of which cells were manipulated; None without a map head.

        Raises:
            UsageError: the backbone takes faces of another size only.
        """
        return self._look(faces)

    def _look(self, faces: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features of frames, and the map's logits where there is a map head."""
        size = fixed_size(self.cnn)
        if size and size != faces.shape[-1]:
            raise UsageError(
                f"{self.config.backbone} takes faces of {size} px, not of {faces.shape[-1]}: "
                f"preprocess with that size, or choose another backbone"
            )
        pixels = (faces.to(self.mean.dtype) - self.mean) / self.std
        features: Tensor = self.cnn(pixels.contiguous(memory_format=torch.channels_last))
        if self.map_head is None:
            return features, None
        return _middle(features), self.map_head(features)[:, 0].float()

    def states(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the head sees, (B, D), of windows as `forward` takes them."""
        features = windows if windows.ndim == 3 else self._encode_windows(windows, mask)[0]
        states: Tensor = self.pool(self.temporal(features, mask), mask)
        return states

    def judge(self, features: Tensor, mask: Tensor | None = None) -> Logits:
        """(B, T, F) features under a mask (B, T) bool (default: all frames) -> logits."""
        states = self.temporal(features, mask)
        window: Tensor = self.head(self.pool(states, mask))
        frames = None if self.frame_head is None else self.frame_head(states)[..., 0].float()
        return Logits(window[:, 0].float(), frames)

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Logits:
        """Judge windows.

        Args:
            windows: (B, T, 3, S, S) uint8 RGB, or (B, T, F) features of them (see encode).
            mask: (B, T) bool, True where a frame is, True before False; default: everywhere.
        """
        if windows.ndim == 3:
            return self.judge(windows, mask)
        if mask is not None and mask.all():
            mask = None
        features, maps = self._encode_windows(windows, mask)
        return self.judge(features, mask)._replace(maps=maps)

    def _encode_windows(self, windows: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(B, T, 3, S, S) uint8 -> (B, T, F) features, and maps of the shown frames."""
        batch, length = windows.shape[:2]
        if mask is None:
            shown, maps = self._look(windows.flatten(0, 1))
            return shown.view(batch, length, -1), maps
        # Padding costs nothing and stays out of the batch-norm statistics.
        shown, maps = self._look(windows[mask])
        features = shown.new_zeros(batch, length, shown.shape[1])
        features[mask] = shown
        return features, maps
