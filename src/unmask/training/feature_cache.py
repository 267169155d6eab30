"""Features of a frozen backbone on disk: every face is encoded once, not once an epoch."""

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from unmask.atomic import save_safetensors
from unmask.data import pt_file, shards
from unmask.data.choice import choose_faces
from unmask.data.pt_file import ProcessedVideo
from unmask.data.windows import Window
from unmask.device import autocast
from unmask.engine import HERE, Engine, run
from unmask.errors import StoreError
from unmask.models import DeepfakeNet, ModelConfig

log = logging.getLogger("unmask")
_AT_ONCE = 32  # faces
_EVERY = 60  # seconds between two notes


class FeatureCache:
    """Features of all faces of `.pt` files, one file each, float16.

    Stale is what was made with another backbone, other weights or another precision, or from a
    `.pt` file that has changed since, or what lacks the mirrored faces: it is made anew, and
    the features of another backbone are removed.

    Args:
        folder: holds nothing but features.
        net: whose backbone is frozen.
        precision: to encode in (see unmask.models.autocast).
        mirrored: keep the features of the mirrored faces as well.
        faces: whose, see choose_faces.
    """

    def __init__(
        self,
        folder: Path,
        net: DeepfakeNet,
        precision: str,
        mirrored: bool,
        faces: str | int = "all",
    ) -> None:
        self._folder = folder / _digest(net, precision, faces)
        self._mirrored, self._faces = mirrored, faces
        for other in folder.glob("*"):
            if other != self._folder:
                shutil.rmtree(other)

    def fill(
        self, paths: Sequence[Path], net: DeepfakeNet, precision: str, engine: Engine = HERE
    ) -> None:
        """Encode the faces of the files that have no features yet, or stale ones.

        Raises:
            UnmaskError: of a file that cannot be encoded.
        """
        todo, said = [path for path in paths if not self._fresh(path)], time.monotonic()
        encode: Callable[[Path], None] = partial(self.encode, net=net, precision=precision)
        if todo and not engine.is_here:
            weights = self._folder / "net.safetensors"
            state = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
            save_safetensors(weights, state)
            encode = _Encode(self, net.config, weights, precision)
        for number, outcome in enumerate(run(encode, todo, engine), 1):
            if outcome.error:
                raise outcome.error
            if time.monotonic() - said > _EVERY:
                said = time.monotonic()
                log.info("encoded %d of %d files", number, len(todo))

    def window(
        self, path: Path, video: ProcessedVideo, track: int, window: Window, mirrored: bool
    ) -> Tensor:
        """(n, F) float32 features of a window's faces.

        Raises:
            StoreError: they have gone, or the file has changed.
        """
        first = sum(len(t.times) for t in video.tracks[:track])
        try:
            with safe_open(self._file(path), "pt") as file:
                rows = file.get_slice("features")
                if file.metadata() == {"made_from": shards.stamp(path)}:
                    part: Tensor = rows[int(mirrored), first + window.start : first + window.stop]
                    return part.float()
        except (OSError, SafetensorError) as error:
            raise StoreError(path, f"its features cannot be read: {error}") from error
        raise StoreError(path, "has changed while training")

    def _file(self, path: Path) -> Path:
        name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
        return self._folder / f"{name}.safetensors"

    def _fresh(self, path: Path) -> bool:
        try:
            with safe_open(self._file(path), "pt") as file:
                variants = file.get_slice("features").get_shape()[0]
                made_from = file.metadata()
        except (OSError, SafetensorError):
            return False
        return bool(variants >= 1 + self._mirrored) and made_from == {
            "made_from": shards.stamp(path)
        }

    @torch.inference_mode()
    def encode(self, path: Path, net: DeepfakeNet, precision: str) -> None:
        """Encode the faces of a file, and keep their features."""
        device, stamp = net.mean.device, shards.stamp(path)
        video = choose_faces(pt_file.read(path), self._faces, path)
        crops = [torch.from_numpy(track.crops) for track in video.tracks]
        faces = torch.cat(crops).permute(0, 3, 1, 2)
        variants = [faces, faces.flip(-1)] if self._mirrored else [faces]
        features = []
        for variant in variants:
            with autocast(device, precision):
                parts = [net.encode(part.to(device)) for part in variant.split(_AT_ONCE)]
            features.append(torch.cat(parts).half().cpu())
        content = {"features": torch.stack(features)}
        save_safetensors(self._file(path), content, {"made_from": stamp})


@dataclass(frozen=True)
class _Encode:
    """FeatureCache.encode that can be sent to a process, which loads the network once."""

    cache: FeatureCache
    config: ModelConfig
    weights: Path
    precision: str

    def __call__(self, path: Path) -> None:
        self.cache.encode(path, self._net, self.precision)

    @cached_property
    def _net(self) -> DeepfakeNet:
        net = DeepfakeNet(self.config)
        net.load_state_dict(load_file(self.weights))
        return net.eval()


def _digest(net: DeepfakeNet, precision: str, faces: str | int) -> str:
    digest = hashlib.sha256(f"{net.config.backbone} {precision} {faces}".encode())
    for name, tensor in sorted(net.cnn.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
