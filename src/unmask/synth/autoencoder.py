"""Small networks that draw faces anew, and their training.

The first face swaps had one encoder and a decoder for each person; a variational autoencoder
(Kingma and Welling 2014, "Auto-Encoding Variational Bayes") draws the pictures of today's
diffusion models. What they leave in a picture depends on how they make it large again (Odena,
Dumoulin and Olah 2016, "Deconvolution and Checkerboard Artifacts"). A critic of small patches keeps
their texture sharp (Isola, Zhu, Zhou and Efros 2017, "Image-to-Image Translation with Conditional
Adversarial Networks").
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from unmask.atomic import save_safetensors
from unmask.errors import ModelError
from unmask.synth.patch import Image, Pixels

Upsampling = Literal["transposed", "shuffle", "nearest", "bilinear"]
SUFFIX = ".safetensors"
_BATCH = 12
_SCALES = (0.45, 1.1)  # of the pictures that it draws
_FREE = 0.3  # of the redrawings by the network just as it is


@dataclass(frozen=True)
class AutoencoderConfig:
    """The architecture.

    Attributes:
        pixels: side of the pictures that it learns from, a multiple of 8.
        halvings: of the sides down to the code, 2 or 3.
        upsampling: how a picture becomes large again.
        width: channels of the first layer.
        latent: channels of the smallest picture.
        variational: whether the code is drawn at random around what the encoder says.
        people: decoders beside each other, one a person.
    """

    pixels: int = 128
    halvings: int = 3
    upsampling: Upsampling = "transposed"
    width: int = 16
    latent: int = 32
    variational: bool = False
    people: int = 1


class Autoencoder(nn.Module):
    """A face through a narrow code and back; implements Redrawer."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * 2**k for k in range(config.halvings)]
        down: list[nn.Module] = []
        for before, after in zip([3, *widths], widths, strict=False):
            down += [nn.Conv2d(before, after, 4, 2, 1), nn.GroupNorm(4, after), nn.SiLU()]
        code = config.latent * (2 if config.variational else 1)
        self.encoder = nn.Sequential(*down, nn.Conv2d(widths[-1], code, 3, 1, 1))
        self.decoders = nn.ModuleList(self._decoder(widths) for _ in range(config.people))

    def _decoder(self, widths: list[int]) -> nn.Sequential:
        layers: list[nn.Module] = [nn.Conv2d(self.config.latent, widths[-1], 3, 1, 1)]
        for before, after in zip(widths[::-1], [*widths[-2::-1], widths[0]], strict=True):
            layers += [nn.GroupNorm(4, before), nn.SiLU()]
            layers += _doubling(self.config.upsampling, before, after)
        return nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(widths[0], 3, 3, 1, 1))

    def forward(self, faces: Tensor, person: int = 0) -> tuple[Tensor, Tensor]:
        """(N, 3, P, P) float32 0 to 1 -> the same drawn anew, and the code's divergence, ()."""
        code, divergence = self.encoder(faces - 0.5), faces.new_zeros(())
        if self.config.variational:
            code, spread = code.chunk(2, dim=1)
            divergence = 0.5 * (code**2 + spread.exp() - 1 - spread).mean()
            if self.training:
                code = code + torch.randn_like(code) * (0.5 * spread).exp()
        return self.decoders[person](code) + 0.5, divergence

    @torch.inference_mode()
    def redraw(self, rgb: Pixels, seed: int) -> Pixels:
        """See Redrawer; the seed is of the decoder, the size, noise in the code, and the colours.

        A decoder's weights change a little, too, so that one network leaves more than one trace.
        """
        rng = np.random.default_rng(seed)
        decoder = self.decoders[int(rng.integers(len(self.decoders)))]
        height, width = rgb.shape[:2]
        scale = 1.0 if rng.random() < _FREE else rng.uniform(*_SCALES)
        step = 2**self.config.halvings
        size = [max(4, round(side * scale / step)) * step for side in (width, height)]
        shrinks = size[0] < width
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        faces = torch.from_numpy(small / 255).permute(2, 0, 1)[None].float()
        code = self.encoder(faces - 0.5)[:, : self.config.latent]
        if rng.random() < 0.4:
            noise = torch.from_numpy(rng.standard_normal(code.shape).astype(np.float32))
            code = code + rng.uniform(0, 0.12) * code.std() * noise
        other = rng.uniform(0.01, 0.06) if rng.random() < _FREE else 0.0
        for layer in decoder:  # type: ignore[attr-defined]
            code = layer(code)
            if other and isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                gains = 1 + other * rng.standard_normal((1, code.shape[1], 1, 1))
                code = code * torch.from_numpy(gains.astype(np.float32))
        picture = np.ascontiguousarray((code[0] + 0.5).permute(1, 2, 0).numpy()) * 255
        if rng.random() > _FREE:  # colours and shading stay: they are no trace
            picture += cv2.GaussianBlur(small - picture, (0, 0), rng.uniform(4, 20))
        up = int(rng.choice([cv2.INTER_CUBIC, cv2.INTER_LINEAR, cv2.INTER_LANCZOS4]))
        sized = cv2.resize(
            picture, (width, height), interpolation=up if shrinks else cv2.INTER_AREA
        )
        return np.asarray(np.clip(sized, 0, 255), dtype=np.float32)


def _doubling(kind: Upsampling, before: int, after: int) -> list[nn.Module]:
    """Layers that double a picture's sides."""
    if kind == "transposed":
        return [nn.ConvTranspose2d(before, after, 4, 2, 1)]
    if kind == "shuffle":
        return [nn.Conv2d(before, 4 * after, 3, 1, 1), nn.PixelShuffle(2)]
    return [nn.Upsample(scale_factor=2, mode=kind), nn.Conv2d(before, after, 3, 1, 1)]


def _critic() -> nn.Sequential:
    """(N, 3, P, P) -> (N, 1, h, w): how real each patch looks."""
    return nn.Sequential(
        nn.Conv2d(3, 24, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(24, 48, 4, 2, 1), nn.GroupNorm(4, 48), nn.LeakyReLU(0.2),
        nn.Conv2d(48, 1, 4, 1, 1),
    )  # fmt: skip


def train_autoencoder(
    config: AutoencoderConfig, people: list[NDArray[np.uint8]], steps: int, seed: int = 0
) -> Autoencoder:
    """Train an autoencoder to draw faces as they are; in the second half, against a critic.

    Args:
        config: the architecture; several decoders learn together for two thirds of the steps,
            and then each the face of one of the first `people` alone.
        people: of each the faces, (N, S, S, 3) uint8 RGB.
        steps: batches of 12 faces.
        seed: of weights and order.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    net = Autoencoder(config).train().to(memory_format=torch.channels_last)
    critic = _critic().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    judge = torch.optim.Adam(critic.parameters(), lr=3e-4, betas=(0.5, 0.99))
    common = steps if config.people == 1 else steps * 2 // 3
    for step in range(steps):
        if step == common:
            for decoder in net.decoders[1:]:
                decoder.load_state_dict(net.decoders[0].state_dict())
        person = 0 if step < common else step % config.people
        faces = _batch(rng, people if step < common else [people[person]], config.pixels)
        against = step > steps // 2
        with torch.autocast("cpu", torch.bfloat16):
            drawn, divergence = net(faces, person)
            looks = critic(drawn) if against else drawn.new_zeros(1)
        drawn = drawn.float()
        loss = F.l1_loss(drawn, faces) + 1e-4 * divergence - 0.01 * looks.float().mean()
        for axis in (2, 3):  # edges count as much as areas
            loss = loss + F.l1_loss(drawn.diff(dim=axis), faces.diff(dim=axis))
        _step(optimizer, loss)
        schedule.step()
        if step > 2 * steps // 5:
            with torch.autocast("cpu", torch.bfloat16):
                real, fake = critic(faces).float(), critic(drawn.detach()).float()
            _step(judge, F.relu(1 - real).mean() + F.relu(1 + fake).mean())
    return net.eval()


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def _batch(rng: np.random.Generator, people: list[Image], pixels: int) -> Tensor:
    """(B, 3, P, P) faces of random people, parts of their faces at random sizes, 0 to 1."""
    faces = []
    for _ in range(_BATCH):
        crops = people[int(rng.integers(len(people)))]
        rgb = crops[int(rng.integers(len(crops)))]
        side = max(pixels, round(rgb.shape[0] * rng.uniform(0.5, 1)))
        rgb = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA)
        x, y = rng.integers(0, side - pixels + 1, 2)
        part = rgb[y : y + pixels, x : x + pixels, :]
        faces.append(part[:, ::-1] if rng.random() < 0.5 else part)
    batch = torch.from_numpy(np.ascontiguousarray(np.stack(faces).transpose(0, 3, 1, 2)))
    return batch.float().div(255).contiguous(memory_format=torch.channels_last)


def save_autoencoder(path: str | Path, net: Autoencoder) -> None:
    """Write weights and architecture as one `.safetensors` file."""
    state = {key: value.contiguous() for key, value in net.state_dict().items()}
    save_safetensors(path, state, {"autoencoder": json.dumps(asdict(net.config))})


def load_autoencoder(path: str | Path) -> Autoencoder:
    """Read what `save_autoencoder` wrote.

    Raises:
        ModelError: it is nothing of the kind.
    """
    try:
        with safe_open(path, "pt") as file:
            config = json.loads((file.metadata() or {})["autoencoder"])
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        net = Autoencoder(AutoencoderConfig(**config))
        net.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(path, f"not an autoencoder: {error}") from error
    return net.eval()
