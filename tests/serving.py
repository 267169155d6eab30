"""A server for tests, in a thread or a process of its own."""

import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from pretender import clip_that, pretend

from unmask.serve.server import make_server, serve
from unmask.serve.service import Service
from unmask.serve.settings import Settings
from unmask.serve.supervisor import Work


@contextmanager
def serving(settings: Settings, work: Work = pretend) -> Iterator[httpx.Client]:
    """Serve in a thread; a client of it, which knows the token."""
    service = Service(settings, work)
    server = make_server(service)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        headers = {"Authorization": f"Bearer {settings.token}"} if settings.token else {}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def wait_for(condition: Callable[[], object], pause: float = 0.02) -> None:
    """Until a condition holds; pytest's timeout is the limit."""
    while not condition():
        time.sleep(pause)


def hand_in(client: httpx.Client, says: str = "", name: str = "clip.mp4") -> str:
    """Upload a pretended video; the id of its job."""
    answer = client.post("/api/jobs", params={"name": name}, content=clip_that(says))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def ended(client: httpx.Client, job: str) -> dict[str, object]:
    """A job, once it has ended."""
    found: dict[str, object] = {}

    def has() -> bool:
        found.update(client.get(f"/api/jobs/{job}").raise_for_status().json())
        return found["finished"] is not None

    wait_for(has, 0.1)
    return found


@contextmanager
def server_process(data: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that can be killed, and its address."""
    paths = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(
        [sys.executable, __file__, str(data)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    try:
        assert process.stderr
        while (match := re.search(r"http://\S+", process.stderr.readline())) is None:
            assert process.poll() is None, process.stderr.read()
        yield process, match[0]
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    serve(Settings(Path(sys.argv[1]), port=0), pretend)
