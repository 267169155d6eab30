"""How the application is to run, checked before anything starts."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unmask.errors import UsageError

if TYPE_CHECKING:  # the server stays without torch
    from unmask.backends import Backend

_TOKEN_LENGTH = 16


@dataclass(frozen=True)
class Settings:
    """What `unmask serve` is told.

    Attributes:
        data: folder of the jobs; one server at a time uses it.
        model: name or path; see Detector.from_pretrained.
        device, backend, stability: see Detector.
        host: address to listen on.
        port: 0 for any that is free.
        token: what a client has to know; None for no such check.
        workers: processes, each with the model.
        queue: jobs that may wait.
        keep: seconds for which a finished job is kept.
        max_disk: bytes of all jobs together.
        max_upload: bytes of one video.
        timeout: seconds for one job.
        max_memory: bytes of a worker.
        allow_path: folders whose files may be named in place of an upload.
        allow_host: further names under which clients know the server.
        behind_proxy: believe a proxy on this machine what it says of the client.
        force_public: listen on a public address without a token.
    """

    data: Path
    model: str = "small"
    device: str = "auto"
    backend: "Backend" = "auto"
    stability: bool = True
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    workers: int = 1
    queue: int = 100
    keep: float = 7 * 86400
    max_disk: int = 20 * 2**30
    max_upload: int = 2 * 2**30
    timeout: float = 3600
    max_memory: int = 8 * 2**30
    allow_path: tuple[Path, ...] = ()
    allow_host: tuple[str, ...] = ()
    behind_proxy: bool = False
    force_public: bool = False

    def check(self) -> None:
        """Refuse what would be open to everybody.

        Raises:
            UsageError: a public address without a token, or a token that can be guessed.
        """
        if self.token is not None and len(self.token) < _TOKEN_LENGTH:
            raise UsageError(f"a token has at least {_TOKEN_LENGTH} characters")
        if self.token is None and not self.force_public and not is_loopback(self.host):
            raise UsageError(
                f"{self.host} can be reached by others: give --token, or --force-public if "
                "everybody may use the server"
            )

    @property
    def hosts(self) -> frozenset[str]:
        """The names under which the server may be addressed, in lower case."""
        names = {"127.0.0.1", "localhost", "[::1]", *self.allow_host}
        if self.host not in ("0.0.0.0", "::"):
            names.add(f"[{self.host}]" if ":" in self.host else self.host)
        return frozenset(name.lower() for name in names)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
