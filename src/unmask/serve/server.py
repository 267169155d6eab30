"""The server: a socket, the application, and an end in order."""

import logging
import socket

import uvicorn

from unmask.errors import UsageError
from unmask.serve.app import make_app
from unmask.serve.service import Service
from unmask.serve.settings import Settings
from unmask.serve.supervisor import Work, load_and_work

log = logging.getLogger("unmask")
_CONNECTIONS = 256


def serve(settings: Settings, work: Work = load_and_work) -> None:
    """Run until a signal ends it.

    Args:
        settings: how.
        work: what a worker process does.

    Raises:
        UsageError: what it is told would be open to everybody, or the address cannot be used.
        FileError: the folder cannot be used.
        ModelError: the model cannot be loaded.
    """
    settings.check()
    with _listen(settings) as listening:
        service = Service(settings, work)
        server = make_server(service)

        def end() -> None:
            server.should_exit = True

        service.on_error = end  # type: ignore[method-assign]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        log.info("http://%s:%d (end with Ctrl-C)", host, listening.getsockname()[1])
        server.run(sockets=[listening])
        if service.error is not None:
            raise service.error


def make_server(service: Service) -> uvicorn.Server:
    """The server of a service, which it starts and stops."""
    config = uvicorn.Config(
        make_app(service),
        port=service.settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=service.settings.behind_proxy,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=3,
    )
    return uvicorn.Server(config)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise UsageError(f"{settings.host}:{settings.port}: {error.strerror or error}") from error
