"""What unmask serve bears: load, kills, its overhead, a long history. Prints JSON.

    python benchmarks/serve.py CLIP.mp4 [--parts load kills overhead history]

CLIP is a short video with a face in it. Every part runs `unmask serve` with the shipped model in a
process and a folder of its own. `load`: uploads at once, padded to 5 MB, and how long
`GET /api/jobs/{id}` takes meanwhile. `kills`: SIGKILL of the worker, then of the server, at random
moments while jobs run. `overhead`: from drop to verdict for 30 s of 720p, beside `predict` in a
process that has loaded its model. `history`: how long the page takes to show itself in Chromium.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from speed import make_clip

from unmask.serve.jobs import JobStore, NewJob, Outcome

_UPLOAD = 5 * 2**20
_PREDICT = """
import sys, time
from unmask.detection.detector import Detector
detector = Detector.from_pretrained("small")
for line in sys.stdin:
    began = time.perf_counter()
    verdict = detector.predict(line.strip()).verdict
    print(time.perf_counter() - began, verdict, flush=True)
"""


class Server:
    """`unmask serve` in a process."""

    def __init__(self, data: Path) -> None:
        command = [sys.executable, "-m", "unmask", "serve", "--port", "0", "--data", str(data)]
        command.append("--no-stability")
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        match = re.search(r"http://\S+", self.process.stderr.readline())
        if match is None:
            sys.exit(self.process.stderr.read())
        self.client = httpx.Client(base_url=match[0], timeout=60)

    def ready(self) -> "Server":
        until(lambda: self.client.get("/readyz").status_code == 200)
        return self

    def upload(self, content: bytes, name: str = "clip.mp4") -> str:
        answer = self.client.post("/api/jobs", params={"name": name}, content=content)
        return str(answer.raise_for_status().json()["id"])

    def job(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/api/jobs/{job}").raise_for_status().json()
        return found

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Up to 200 of them, by id, in one request: a client has so many a second."""
        found = self.client.get("/api/jobs?limit=200").raise_for_status().json()["jobs"]
        return {job["id"]: job for job in found}

    def has_ended(self) -> bool:
        """Whether no job is open."""
        return all(job["finished"] for job in self.jobs().values())

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.client.close()
        self.process.send_signal(how)
        self.process.communicate()

    def worker(self) -> int | None:
        """Process id of its worker."""
        listed = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)],
            capture_output=True, text=True,
        )  # fmt: skip
        pids = [line.split()[0] for line in listed.stdout.splitlines() if "spawn_main" in line]
        return int(pids[0]) if pids else None


@contextmanager
def served() -> Iterator[tuple[Server, Path]]:
    with tempfile.TemporaryDirectory() as name:
        server = Server(Path(name)).ready()
        try:
            yield server, Path(name)
        finally:
            server.end()


def until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.1)


def padded(clip: bytes, size: int) -> bytes:
    """An MP4 with a box at its end that every reader passes over."""
    more = max(8, size - len(clip))
    return clip + more.to_bytes(4, "big") + b"free" + bytes(more - 8)


def load(clip: Path, uploads: int) -> dict[str, Any]:
    content = padded(clip.read_bytes(), _UPLOAD)
    with served() as (server, _), ThreadPoolExecutor(uploads) as pool:
        first = server.upload(content)
        took: list[float] = []
        over = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=server.client.base_url) as client:
                while not over.wait(0.1):  # no more than the rate that one client may have
                    began = time.perf_counter()
                    client.get(f"/api/jobs/{first}").raise_for_status()
                    took.append(time.perf_counter() - began)

        asking = threading.Thread(target=ask)
        asking.start()
        began = time.perf_counter()
        jobs = [first, *pool.map(lambda _: server.upload(content), range(uploads))]
        handed_in = time.perf_counter() - began
        until(server.has_ended)
        over.set()
        asking.join()
        found = server.jobs()
        done = sum(job in found and found[job]["status"] == "done" for job in jobs)
    return {
        "uploads": len(jobs),
        "lost": len(jobs) - done,
        "seconds to hand in": round(handed_in, 2),
        "requests beside": len(took),
        "median ms": round(1000 * statistics.median(took), 1),
        "p99 ms": round(1000 * sorted(took)[int(0.99 * len(took))], 1),
    }


def kills(clip: Path, count: int, whom: str, seed: int) -> dict[str, Any]:
    chance, content = random.Random(seed), clip.read_bytes()
    jobs: list[str] = []
    results: dict[str, str] = {}  # as they were before a kill
    with tempfile.TemporaryDirectory() as name:
        server = Server(Path(name)).ready()
        for _ in range(count):
            jobs += [server.upload(content) for _ in range(2)]
            time.sleep(chance.uniform(0, 4))
            for job, state in server.jobs().items():
                if job not in results and state["status"] == "done":
                    results[job] = server.client.get(f"/api/jobs/{job}/result").text
            if whom == "server":
                server.end(signal.SIGKILL)
                server = Server(Path(name))
            elif (worker := server.worker()) is not None:
                os.kill(worker, signal.SIGKILL)
        until(server.has_ended)
        kept = sum(
            server.client.get(f"/api/jobs/{job}/result").text == text
            for job, text in results.items()
        )
        found = list(server.jobs().values())
        server.end()
    return {
        "kills": count,
        "jobs handed in": len(jobs),
        "jobs": len(found),
        "done": sum(job["status"] == "done" for job in found),
        "killed their worker twice": sum("2 times" in str(job["reason"]) for job in found),
        "finished before a kill": len(results),
        "of these kept": kept,
        "attempts at most": max(job["attempts"] for job in found),
    }


def overhead(clip: Path, rounds: int) -> dict[str, Any]:
    """Both sides in turn; the first round of each does not count."""
    with tempfile.TemporaryDirectory() as name:
        long = Path(name) / "long.mp4"
        make_clip(clip, long, 30, 720)
        content = long.read_bytes()
        command = [sys.executable, "-c", _PREDICT]
        predict = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert predict.stdin is not None
        assert predict.stdout is not None
        alone, drops, ends = [], [], []
        with served() as (server, _):
            for _ in range(rounds + 1):
                predict.stdin.write(f"{long}\n")
                alone.append(float(predict.stdout.readline().split()[0]))
                began = time.perf_counter()
                job = server.upload(content)
                said = 0.0
                with server.client.stream("GET", f"/api/jobs/{job}/events") as answer:
                    for line in answer.iter_lines():
                        if not said and '"evidence": "' in line:
                            said = time.perf_counter() - began
                drops.append(said)
                ends.append(time.perf_counter() - began)
                assert server.job(job)["status"] == "done"
        predict.communicate()
    pairs = [drop / one for drop, one in zip(drops[1:], alone[1:], strict=True)]
    return {
        "rounds": rounds,
        "predict s": round(statistics.median(alone[1:]), 2),
        "drop to verdict s": round(statistics.median(drops[1:]), 2),
        "drop to report s": round(statistics.median(ends[1:]), 2),
        "ratio": round(statistics.median(pairs), 2),
        "ratio range": [round(min(pairs), 2), round(max(pairs), 2)],
    }


def history(count: int, rounds: int) -> dict[str, Any]:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        store = JobStore(data / "jobs.sqlite3")
        outcome = Outcome("real", "weak", 0.2, None, "small", "0" * 64, "1" * 64)
        for number in range(count):
            store.add([NewJob(f"{number:032x}", f"clip {number}.mp4")])
            task = store.claim(60)
            assert task is not None
            store.finish(task, outcome)
            (data / "jobs" / task.id).mkdir(parents=True)
        store.close()
        server = Server(data).ready()
        took = []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            for _ in range(rounds + 1):
                page = browser.new_page()
                began = time.perf_counter()
                page.goto(str(server.client.base_url))
                page.wait_for_selector("#jobs > li:nth-child(20)")
                took.append(time.perf_counter() - began)
                page.close()
            browser.close()
        server.end()
    return {"jobs": count, "median ms to the list": round(1000 * statistics.median(took[1:]), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clip", type=Path)
    parts = ("load", "kills", "overhead", "history")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--uploads", type=int, default=50)
    parser.add_argument("--kills", type=int, default=20, help="of the worker, and of the server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--history", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found: dict[str, Any] = {}
    if "load" in args.parts:
        found["load"] = load(args.clip, args.uploads)
    if "kills" in args.parts:
        found["kills of the worker"] = kills(args.clip, args.kills, "worker", args.seed)
        found["kills of the server"] = kills(args.clip, args.kills, "server", args.seed)
    if "overhead" in args.parts:
        found["overhead"] = overhead(args.clip, args.rounds)
    if "history" in args.parts:
        found["history"] = history(args.history, args.rounds)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
