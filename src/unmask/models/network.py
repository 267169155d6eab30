"""The network: a CNN on every frame, a temporal module over them, one logit a window."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unmask.models.backbone import create_backbone
from unmask.models.temporal import Pool, create_temporal


@dataclass(frozen=True)
class ModelConfig:
    """The architecture; the defaults are the design document's (36,101,441 parameters).

    Attributes:
        backbone: a timm name.
        temporal: "bigru", "gru" or "none".
        hidden: width of one direction of the GRU.
        layers: of the GRU.
        gru_dropout: between its layers.
        pooling: "last", "mean" or "attention".
        head_hidden: width of the classifier's hidden layer.
        head_dropout: before its last layer.
        frame_head: whether every frame gets a logit of its own.
    """

    backbone: str = "resnext50_32x4d.tv_in1k"
    temporal: str = "bigru"
    hidden: int = 512
    layers: int = 2
    gru_dropout: float = 0.3
    pooling: str = "last"
    head_hidden: int = 512
    head_dropout: float = 0.5
    frame_head: bool = False


class Logits(NamedTuple):
    """Raw logits; positive means fake.

    Attributes:
        window: (B,), one a window.
        frames: (B, T), one a frame, meaningless where the mask is False; None without that head.
    """

    window: Tensor
    frames: Tensor | None


class DeepfakeNet(nn.Module):
    """Windows of face crops -> logits. Starts with random weights (see load_imagenet).

    Normalisation belongs to the network, so a backbone brings its own mean and deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.cnn = create_backbone(config.backbone)
        features = int(self.cnn.num_features)  # type: ignore[arg-type]
        self.temporal = create_temporal(
            config.temporal, features, config.hidden, config.layers, config.gru_dropout
        )
        states = self.temporal.out_features
        self.pool = Pool(config.pooling, states)
        self.head = nn.Sequential(
            nn.Linear(states, config.head_hidden),
            nn.BatchNorm1d(config.head_hidden),
            nn.ReLU(),
            nn.Dropout(config.head_dropout),
            nn.Linear(config.head_hidden, 1),
        )
        self.frame_head = nn.Linear(states, 1) if config.frame_head else None
        normal = self.cnn.pretrained_cfg  # timm's: mean and std for pixels from 0 to 1
        for name in ("mean", "std"):
            value = torch.tensor(normal[name]).view(1, 3, 1, 1) * 255  # type: ignore[index]
            self.register_buffer(name, value, persistent=False)
        self.cnn.to(memory_format=torch.channels_last)
        self._frozen = False

    @property
    def depthwise(self) -> bool:
        """Whether the CNN has depthwise convolutions."""
        return any(
            isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 for m in self.cnn.modules()
        )

    def freeze_cnn(self, frozen: bool = True) -> None:
        """Keep the CNN as it is, batch-norm statistics included, or let it learn again."""
        self._frozen = frozen
        self.cnn.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> "DeepfakeNet":
        """Training mode for all but a frozen CNN."""
        super().train(mode)
        if self._frozen:
            self.cnn.eval()
        return self

    def encode(self, faces: Tensor) -> Tensor:
        """(N, 3, S, S) uint8 RGB -> (N, F) features, each frame on its own."""
        pixels = (faces.to(self.mean.dtype) - self.mean) / self.std
        features: Tensor = self.cnn(pixels.contiguous(memory_format=torch.channels_last))
        return features

    def judge(self, features: Tensor, mask: Tensor) -> Logits:
        """(B, T, F) features under a mask (B, T) bool -> logits."""
        states = self.temporal(features, mask)
        window: Tensor = self.head(self.pool(states, mask))
        frames = None if self.frame_head is None else self.frame_head(states)[..., 0].float()
        return Logits(window[:, 0].float(), frames)

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Logits:
        """(B, T, 3, S, S) uint8 RGB, mask (B, T) bool (default: all frames) -> logits."""
        batch, length = windows.shape[:2]
        if mask is None:
            mask = torch.ones(batch, length, dtype=torch.bool, device=windows.device)
        if mask.all():
            features = self.encode(windows.flatten(0, 1)).view(batch, length, -1)
        else:  # padding costs nothing and stays out of the batch-norm statistics
            shown = self.encode(windows[mask])
            features = shown.new_zeros(batch, length, shown.shape[1])
            features[mask] = shown
        return self.judge(features, mask)


def autocast(device: torch.device, enabled: bool = True) -> torch.autocast:
    """Mixed precision where the hardware has it: float16 on CUDA, bfloat16 on CPUs that
    multiply in it (AVX512-BF16, AMX), else none. On 2 cores it makes ResNeXt50 twice as fast.
    """
    if device.type == "cuda":
        return torch.autocast("cuda", torch.float16, enabled=enabled)
    if device.type == "cpu":
        able = any(
            getattr(torch.cpu, f"_is_{name}_supported", bool)()
            for name in ("avx512_bf16", "amx_tile")
        )
        return torch.autocast("cpu", torch.bfloat16, enabled=enabled and able)
    return torch.autocast(device.type, enabled=False)
