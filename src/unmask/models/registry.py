"""A model by name: one that comes along, a path, or one from the network with its checksum."""

import re
import shutil
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlparse

from huggingface_hub.constants import ENDPOINT

from unmask.errors import ModelError
from unmask.models.bundle import CARD, CONFIG, WEIGHTS, load_bundle, sha256_of
from unmask.models.calibration import CALIBRATION

_SHIPPED = Path(__file__).parents[1] / "weights"
_CACHE = Path("~/.cache/unmask")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")
_CHECKSUM = re.compile(r"sha256=([0-9a-f]{64})")
_TIMEOUT = 30  # seconds
_OPTIONAL = (CALIBRATION, CARD)


def shipped_models() -> list[str]:
    """Names of the models that come along."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{WEIGHTS}"))


def find_model(model: str | Path) -> Path:
    """Where a model lies on this disk, after fetching it if it must be.

    Args:
        model: a path; the name of one that comes along; or, with `#sha256=` and the checksum of
            its weights behind it (the small files beside them are not covered), a hub id
            `owner/name` (`owner/name@revision`) or the https address of a folder with a bundle.
            What was fetched is kept under `~/.cache/unmask`.

    Raises:
        ModelError: there is none, it cannot be fetched, or it is not what the checksum says.
    """
    if isinstance(model, Path) or Path(model).exists():
        return Path(model)
    if model in shipped_models():
        return _SHIPPED / model
    address, _, fragment = model.partition("#")
    try:
        where = urlparse(address)
    except ValueError as error:
        raise ModelError(model, f"no address: {error}") from error
    if where.scheme == "https" or (where.scheme == "http" and where.hostname == "127.0.0.1"):
        base = address.removesuffix("/")
    elif where.netloc:
        raise ModelError(model, "a model is fetched by https only")
    elif fragment or (_HUB_ID.fullmatch(address) and not Path(address).parent.exists()):
        name, _, revision = address.partition("@")
        base = f"{ENDPOINT}/{name}/resolve/{revision or 'main'}"
    else:
        names = ", ".join(shipped_models())
        raise ModelError(model, f"no such file, folder, or model that comes along ({names})")
    checksum = _CHECKSUM.fullmatch(fragment)
    if not checksum:
        raise ModelError(
            model,
            "a model from the network needs the checksum of its weights: "
            f"{address}#sha256=<64 hexadecimal digits of {WEIGHTS}>",
        )
    return _fetched(model, base, checksum[1])


def _fetched(model: str, base: str, sha256: str) -> Path:
    folder = _CACHE.expanduser() / sha256
    if (folder / WEIGHTS).is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as temporary:
        for name in (CONFIG, WEIGHTS, *_OPTIONAL):
            try:
                with (
                    urllib.request.urlopen(f"{base}/{name}", timeout=_TIMEOUT) as answer,
                    (Path(temporary) / name).open("wb") as file,
                ):
                    shutil.copyfileobj(answer, file)
                    if answer.length:  # of what was announced and has not come
                        raise OSError(f"{name} breaks off")
            except urllib.error.HTTPError as error:
                if error.code == 404 and name in _OPTIONAL:
                    continue
                raise ModelError(model, f"{base}/{name}: {error}") from error
            except (OSError, HTTPException) as error:
                raise ModelError(
                    model, f"has to be fetched from the network, which does not answer: {error}"
                ) from error
        found = sha256_of(Path(temporary) / WEIGHTS)
        if found != sha256:
            raise ModelError(model, f"the weights there have the checksum {found}: not used")
        try:
            load_bundle(temporary)  # what cannot be used is not kept
        except ModelError as error:
            raise ModelError(model, f"no model that can be used: {error}") from error
        with suppress(OSError):  # another process was faster
            Path(temporary).rename(folder)
            Path(temporary).mkdir()  # for the context manager to remove
    return folder
