"""A folder of networks that draw faces."""

from pathlib import Path

from unmask.errors import UsageError
from unmask.synth import autoencoder, superresolution
from unmask.synth.manipulation import Redrawer


def load_redrawers(folder: str | Path) -> list[Redrawer]:
    """Autoencoders (`*.safetensors`) and super-resolution (`*.bin`), by name.

    Raises:
        UsageError: there are none.
        ModelError: one cannot be loaded.
    """
    found: list[Redrawer] = []
    for path in sorted(Path(folder).glob("*")):
        if path.suffix == autoencoder.SUFFIX:
            found.append(autoencoder.load_autoencoder(path))
        elif path.suffix == superresolution.SUFFIX:
            found.append(superresolution.load_super_resolver(path))
    if not found:
        raise UsageError(f"{folder}: holds no network that draws faces")
    return found
