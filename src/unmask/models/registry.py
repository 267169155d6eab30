"""A model by name: one that comes along, a path, or one from the network with its checksum."""

import hashlib
import logging
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

from filelock import FileLock
from huggingface_hub import HfApi

from unmask.errors import ModelError
from unmask.models.bundle import CARD, CONFIG, WEIGHTS, load_bundle, sha256_of
from unmask.models.calibration import CALIBRATION

log = logging.getLogger("unmask")
_SHIPPED = Path(__file__).parents[1] / "weights"
_CACHE = Path("~/.cache/unmask")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")
_PINNED = re.compile(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})")
_CHECKSUM = re.compile(r"sha256=([0-9a-f]{64})")
_TIMEOUT = 30  # seconds without a byte
_MOST = 2 * 2**30  # bytes of a bundle from the network
_CHUNK = 2**20
_FILES = (CALIBRATION, CARD, CONFIG, WEIGHTS)  # in the order of the alphabet
_OPTIONAL = (CALIBRATION, CARD)


def shipped_models() -> list[str]:
    """Names of the models that come along."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{WEIGHTS}"))


def bundle_sha256(folder: str | Path) -> str:
    """One SHA-256 over all files of a bundle, hexadecimal: what pins it when it is fetched.

    `unmask info FOLDER` prints it. It is that of what sha256sum prints, so that anybody can
    compute it; names of files that the bundle does not have are left out:

        sha256sum calibration.json card.md config.json model.safetensors | sha256sum

    Raises:
        ModelError: the folder has no `config.json` or no `model.safetensors`.
    """
    lines = []
    for name in _FILES:
        path = Path(folder) / name
        if path.is_file():
            lines.append(f"{sha256_of(path)}  {name}\n")
        elif name not in _OPTIONAL:
            raise ModelError(folder, f"not a whole bundle: has no {name}")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def find_model(model: str | Path) -> Path:
    """Where a model lies on this disk, after fetching it if it must be.

    Args:
        model: one of

            - the name of a model that comes along (see shipped_models); it goes before a folder
              of that name, which is `./name` or a Path object;
            - the path of a folder or a file;
            - a hub id with its commit, or the https address of a folder with a bundle, each with
              the SHA-256 of the whole bundle (see bundle_sha256):
              `owner/name@<40 digits>#sha256=<64 digits>`, `https://...#sha256=<64 digits>`.

            What was fetched is kept under `~/.cache/unmask`. A download that broke off goes on
            where it was; what is not what the checksum says, or no model, is not kept.

    Raises:
        ModelError: there is none, it cannot be fetched, is larger than 2 GiB, or is not what the
            checksum says.
    """
    if isinstance(model, Path):
        return model
    if model in shipped_models():
        if Path(model).exists():
            log.warning("%s is the model that comes along; the one here is ./%s", model, model)
        return _SHIPPED / model
    if Path(model).exists():
        return Path(model)
    address, _, fragment = model.partition("#")
    if not (fragment or "://" in address or _is_hub_id(address)):
        names = ", ".join(shipped_models())
        raise ModelError(model, f"no such file, folder, or model that comes along ({names})")
    fetch = _fetcher(model, address)
    checksum = _CHECKSUM.fullmatch(fragment)
    if not checksum:
        raise ModelError(
            model,
            "a model from the network needs the checksum of its bundle, which `unmask info` "
            f"prints: {address}#sha256=<64 hexadecimal digits>",
        )
    return _fetched(model, checksum[1], fetch)


def _is_hub_id(address: str) -> bool:
    return bool(_HUB_ID.fullmatch(address)) and not Path(address).parent.exists()


def _fetcher(model: str, address: str) -> Callable[[Path], None]:
    """What brings the files of an address into a folder."""
    try:
        where = urlparse(address)
    except ValueError as error:
        raise ModelError(model, f"no address: {error}") from error
    if where.scheme == "https" or (where.scheme == "http" and where.hostname == "127.0.0.1"):
        return partial(_from_folder, address.removesuffix("/"))
    if "://" in address:
        raise ModelError(model, "a model is fetched by https only")
    pinned = _PINNED.fullmatch(address)
    if not pinned:
        name = address.partition("@")[0]
        raise ModelError(
            model, f"a model of the hub needs its commit: {name}@<40 hexadecimal digits>#sha256=..."
        )
    return partial(_from_hub, pinned[1], pinned[2])


def _fetched(model: str, sha256: str, fetch: Callable[[Path], None]) -> Path:
    """The cached bundle with this checksum; fetched, checked and tried out if there is none."""
    folder = _CACHE.expanduser() / sha256
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # two at once would write to the same files
        if not folder.is_dir():
            begun = folder.with_suffix(".partial")
            begun.mkdir(exist_ok=True)
            log.info("fetching %s", model)
            try:
                fetch(begun)
                _check(begun, sha256)
            except ModelError as error:
                shutil.rmtree(begun)
                raise ModelError(model, f"not used: {error.path.name}: {error.cause}") from error
            except Exception as error:  # those of the hub are of many kinds
                raise ModelError(model, f"cannot be fetched: {error}") from error
            shutil.rmtree(begun / ".cache", ignore_errors=True)  # the hub's own notes
            begun.rename(folder)
    return folder


def _check(folder: Path, sha256: str) -> None:
    found = bundle_sha256(folder)
    if found != sha256:
        raise ModelError("bundle", f"has the checksum {found}")
    load_bundle(folder)


def _from_hub(name: str, commit: str, folder: Path) -> None:
    """Files of a commit; huggingface_hub knows of proxies, mirrors, tokens and offline mode."""
    hub = HfApi()
    found = hub.model_info(name, revision=commit, files_metadata=True, timeout=_TIMEOUT)
    sizes = {file.rfilename: file.size for file in found.siblings or []}
    _check_size(sum(sizes.get(file) or 0 for file in _FILES))
    for file in _FILES:
        if file in sizes or file not in _OPTIONAL:
            hub.hf_hub_download(name, file, revision=commit, local_dir=folder)


def _from_folder(base: str, folder: Path) -> None:
    """Files of an https folder; what is there already is not fetched again."""
    for name in _FILES:
        path, part = folder / name, folder / f"{name}.part"
        try:
            if not path.exists():
                _download(f"{base}/{name}", part, sum(f.stat().st_size for f in folder.iterdir()))
                part.rename(path)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # there is less than has come already: another file
                part.unlink()
            if error.code != 404 or name not in _OPTIONAL:
                raise OSError(f"{name}: {error}") from error
        except HTTPException as error:
            raise OSError(f"{name} breaks off: {error!r}") from error


def _download(url: str, path: Path, size: int) -> None:
    """Write a file, or what is missing of it; `size` is what the bundle has so far, in bytes."""
    begun = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        if begun and answer.status != 206:  # the whole of it again
            size -= begun
            begun = 0
        _check_size(size + (answer.length or 0))
        with path.open("ab" if begun else "wb") as file:
            while chunk := answer.read(_CHUNK):
                size += len(chunk)
                _check_size(size)
                file.write(chunk)
        if answer.length:  # of what was announced and has not come
            raise OSError(f"{url} breaks off")


def _check_size(size: int) -> None:
    if size > _MOST:
        raise ModelError("bundle", f"is larger than {_MOST / 2**30:g} GiB")
