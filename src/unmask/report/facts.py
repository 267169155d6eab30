"""What a report has to say so that it can be checked: the file, the tool, the model, settings."""

import hashlib
import json
import platform
import shlex
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import unmask
from unmask.detection.detector import Detector
from unmask.documents import STRICT
from unmask.errors import FileError
from unmask.models.bundle import sha256_of
from unmask.video.reader import Video, VideoInfo

_LIBRARIES = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "av", "pillow")


@dataclass(frozen=True)
class FileFacts:
    """A file as it was judged.

    Attributes:
        name: for people; no path.
        sha256: hexadecimal, of its bytes.
        size: bytes.
        changed: time of its last change, UTC, ISO 8601.
    """

    name: str
    sha256: str
    size: int
    changed: str

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Origin:
    """What made a report.

    Attributes:
        unmask: version.
        source_sha256: of the program's files.
        libraries: versions, by name.
        device, backend: that the network ran on, and by what it was computed.
        model: name.
        weights_sha256: of the model.
        settings: how faces are made and scores become a verdict, and whether copies were judged.
        settings_sha256: of their JSON.
        command: that judges such a file again.
    """

    unmask: str
    source_sha256: str
    libraries: dict[str, str]
    device: str
    backend: str
    model: str
    weights_sha256: str
    settings: dict[str, Any]
    settings_sha256: str
    command: str

    __pydantic_config__ = STRICT


def file_facts(path: str | Path, name: str) -> FileFacts | None:
    """Facts of a file; None if it cannot be read."""
    try:
        digest = sha256_of(Path(path))
        state = Path(path).stat()
    except (OSError, ValueError):  # not there, a folder, or no name of a file
        return None
    return FileFacts(name, digest, state.st_size, utc(state.st_mtime))


def container_facts(path: str | Path) -> VideoInfo | None:
    """What the container says; None if the file is no video that can be read."""
    try:
        with Video(path) as video:
            return video.info
    except FileError:
        return None


def origin(detector: Detector, name: str) -> Origin:
    """What judges with a detector; `name` is the file's in the command."""
    settings = {
        "decision": asdict(detector.decision),
        "face_spec": asdict(detector.bundle.spec),
        "stability": detector.stability,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    words = ["unmask", "predict", name, "--model", detector.model.name]
    words += ["--faces", str(detector.decision.faces)]
    words += ["--stability"] if detector.stability else []
    return Origin(
        unmask.__version__,
        source_sha256(),
        {"python": platform.python_version(), **_versions()},
        str(detector.device),
        detector.runtime.name,
        detector.model.name,
        detector.model.sha256,
        settings,
        digest,
        shlex.join(words),
    )


@cache
def source_sha256() -> str:
    """Checksum of the program's own Python files, names and bytes."""
    root, digest = Path(unmask.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # another distribution of the same module
            found[name] = "unknown"
    return found


def utc(seconds: float | None = None) -> str:
    """A time since the epoch, or now, as ISO 8601 in UTC."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="seconds")
