"""The three networks of MTCNN."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS = Path(__file__).with_name("mtcnn.safetensors")


class Network(nn.Module):
    """Pictures (N, 3, H, W) -> the probability of a face, and what its heads say.

    Attributes:
        features, face: layers.
        side: of the pictures, H = W; None takes any.
    """

    side: int | None = None

    features: nn.Sequential
    face: nn.Module

    @property
    def heads(self) -> list[nn.Module]:
        """All but `face`."""
        return [head for name, head in self.named_children() if name not in ("features", "face")]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        x = self.features(x)
        return self.face(x).softmax(dim=1)[:, 1], *(head(x) for head in self.heads)


class _MaxPool2(nn.MaxPool2d):
    """Several times faster than its parent where channels come last."""

    def __init__(self) -> None:
        super().__init__(2, 2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> half of both sides, rounded up."""
        odd = (0, x.shape[3] % 2, 0, x.shape[2] % 2)
        if any(odd):
            x = F.pad(x, odd, value=float("-inf"))
        x = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
        return torch.maximum(x[..., ::2], x[..., 1::2])


class PNet(Network):
    """Proposals: (B, 3, H, W) -> face probability (B, h, w) and box shifts (B, 4, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 10, 3),
            nn.PReLU(10),
            _MaxPool2(),
            nn.Conv2d(10, 16, 3),
            nn.PReLU(16),
            nn.Conv2d(16, 32, 3),
            nn.PReLU(32),
        )
        self.face = nn.Conv2d(32, 2, 1)
        self.shift = nn.Conv2d(32, 4, 1)


class RNet(Network):
    """Refinement: (N, 3, 24, 24) -> face probability (N,) and box shifts (N, 4)."""

    side = 24

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 28, 3),
            nn.PReLU(28),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(28, 48, 3),
            nn.PReLU(48),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(48, 64, 2),
            nn.PReLU(64),
            nn.Flatten(),
            nn.Linear(576, 128),
            nn.PReLU(128),
        )
        self.face = nn.Linear(128, 2)
        self.shift = nn.Linear(128, 4)


class ONet(Network):
    """Output: (N, 3, 48, 48) -> face probability (N,), box shifts (N, 4), landmarks (N, 10)."""

    side = 48

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3),
            nn.PReLU(32),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(32, 64, 3),
            nn.PReLU(64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(64, 64, 3),
            nn.PReLU(64),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            nn.Conv2d(64, 128, 2),
            nn.PReLU(128),
            nn.Flatten(),
            nn.Linear(1152, 256),
            nn.PReLU(256),
        )
        self.face = nn.Linear(256, 2)
        self.shift = nn.Linear(256, 4)
        self.landmarks = nn.Linear(256, 10)


def load_networks() -> tuple[PNet, RNet, ONet]:
    """The networks with facenet-pytorch's weights, in evaluation mode."""
    nets = (PNet(), RNet(), ONet())
    tensors = load_file(WEIGHTS)
    for name, net in zip(("pnet.", "rnet.", "onet."), nets, strict=True):
        state = {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}
        net.load_state_dict(state)
        net.requires_grad_(False).eval()
        net.to(memory_format=torch.channels_last)
    return nets
