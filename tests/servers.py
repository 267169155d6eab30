"""Servers on this machine that stand in for the network."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

COMMIT = "0123456789" * 4


class Files(SimpleHTTPRequestHandler):
    """Serves a folder, with ranges; knows what it was asked for."""

    asked: ClassVar[list[tuple[str, str | None]]]
    cut: ClassVar[int | None] = None  # bytes after which an answer breaks off
    length: ClassVar[int | None] = None  # that it announces, if not the true one

    def do_GET(self) -> None:
        path, wanted = Path(self.translate_path(self.path)), self.headers["Range"]
        self.asked.append((path.name, wanted))
        if not path.is_file():
            return self.send_error(404)
        data = path.read_bytes()
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if begin > len(data):
            return self.send_error(416)
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(self.length or len(data) - begin))
        self.end_headers()
        self.wfile.write(data[begin : self.cut])
        return None

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(
    folder: Path, kind: type[SimpleHTTPRequestHandler] = Files, **state: Any
) -> Iterator[str]:
    handler = partial(type("Handler", (kind,), {"asked": [], **state}), directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Hub(Files):
    """As much of a hub as it takes: every repository is the folder, at one commit."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Range"]))
        folder, path = Path(self.directory), self.path.partition("?")[0]
        body, name = None, Path(path).name
        if re.fullmatch(rf"/api/models/[^/]+/[^/]+(/revision/{COMMIT})?", path):
            files = [{"rfilename": f.name, "size": f.stat().st_size} for f in folder.iterdir()]
            body = json.dumps({"id": "a/b", "sha": COMMIT, "siblings": files}).encode()
        elif re.fullmatch(rf"/[^/]+/[^/]+/resolve/({COMMIT}|main)/{name}", path):
            body = (folder / name).read_bytes() if (folder / name).is_file() else None
        if body is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
        return None


def use_hub(url: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As HF_ENDPOINT and HF_HUB_CACHE do before huggingface_hub is imported."""
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
