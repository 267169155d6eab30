"""Break files in many ways and see what becomes of them.

    python tools/fuzz.py CLIPS --mutants 10000 --seed 0 --out fuzz

A mutant is a file of `fuzz/inputs` (see fuzz_inputs.py) with bits flipped, numbers set to extremes,
noise written into it, chunks zeroed, doubled or swapped, or its end cut off. A video is
preprocessed, a `.pt` file and a model are loaded. Each mutant must end in a result or in an
UnmaskError: no crash, which any other exception is too, no two minutes without an end, no more
than 2 GiB.

Mutant N of a seed is always the same; `--only N` makes it again and says how it ends, `--keep FILE`
leaves it there. `fuzz/results.jsonl` has a line for each, and a run that was ended goes on where it
ends; a mutant whose line is deleted is done again.
"""

import argparse
import faulthandler
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuzz_inputs import BUNDLE, checksum, prepare

if TYPE_CHECKING:
    from unmask.data.preprocessor import VideoPreprocessor

TIMEOUT = 60.0  # seconds for a mutant; twice as many for one that hangs
MAX_MIB = 2048  # of the whole process
EDGE = 2048  # bytes at either end of a file, where its structure often is
WAYS = ("flip", "number", "noise", "zero", "double", "swap", "truncate")
ENDS = ("result", "damage reported", "error", "crash", "hang", "memory")
_MODELS = frozenset({".json", ".safetensors", ".pth", ".onnx"})


def mutate(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """(way, broken copy)."""
    way = rng.choice(WAYS)
    broken = bytearray(data)

    def part(most: int) -> slice:
        """Up to `most` bytes: anywhere, or near an end."""
        length = rng.randint(1, max(1, min(most, len(data) // 4)))
        last = len(data) - length
        near = rng.randrange(min(EDGE, last + 1))
        start = rng.choice((rng.randint(0, last), near, last - near))
        return slice(start, start + length)

    if way == "flip":
        for _ in range(rng.choice((1, 10, 100, 1000))):
            broken[part(1).start] ^= 1 << rng.randrange(8)
    elif way == "number":
        for _ in range(rng.randint(1, 8)):
            size = rng.choice((1, 2, 4, 8))
            most = 256**size - 1
            value = rng.choice((0, 1, most // 2, most // 2 + 1, most))
            start = part(1).start
            broken[start : start + size] = value.to_bytes(size, rng.choice(("big", "little")))
    elif way == "noise":
        for _ in range(rng.randint(1, 32)):
            broken[part(1).start] = rng.randrange(256)
    elif way == "zero":
        where = part(len(data))
        broken[where] = bytes(where.stop - where.start)
    elif way == "double":
        where = part(65536)
        broken[where.stop : where.stop] = broken[where]
    elif way == "swap":
        for _ in range(rng.randint(1, 8)):
            a = part(65536)
            b = slice(at := rng.randint(0, len(data) - (a.stop - a.start)), at + a.stop - a.start)
            broken[a], broken[b] = broken[b], broken[a]
    else:
        del broken[rng.randrange(1, len(broken)) :]
    return way, bytes(broken)


def make(inputs: list[Path], seed: int, number: int) -> tuple[Path, str, bytes]:
    """(input, way, mutant)."""
    rng = random.Random(f"{seed} {number}")
    path = rng.choice(inputs)
    return (path, *mutate(path.read_bytes(), rng))


def use(path: Path, folder: Path) -> list[str]:
    """Do with a file what users do; the warnings."""
    from unmask.api import load_model
    from unmask.data import pt_file

    if path.suffix in _MODELS or path.is_dir():
        load_model(path, device="cpu")
        return []
    if path.suffix == pt_file.SUFFIX:
        video = pt_file.read(path)
        for track, window in video.windows:  # what lies on disk is read only now
            pt_file.window_faces(video, track, window).sum()
        return list(video.warnings)
    return list(_preprocessor().save_video(path, folder / "mutant.pt").warnings)


@cache  # its detector is loaded once a process
def _preprocessor() -> "VideoPreprocessor":
    from unmask.data.preprocessor import VideoPreprocessor
    from unmask.video.reader import Limits

    return VideoPreprocessor(image_size=64, faces="all", limits=Limits(timeout=TIMEOUT))


def end(inputs: list[Path], seed: int, number: int, folder: Path) -> dict[str, Any]:
    """How a mutant ends; `folder` is for its files."""
    from unmask.errors import InternalError, UnmaskError

    source, way, data = make(inputs, seed, number)
    path = folder / f"mutant{source.suffix}"
    if source.parent.name == BUNDLE:
        shutil.copytree(source.parent, folder / BUNDLE, dirs_exist_ok=True)
        (folder / BUNDLE / source.name).write_bytes(data)
        path = folder / BUNDLE
    else:
        path.write_bytes(data)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is this mutant's
    started = time.perf_counter()
    try:
        said = "; ".join(use(path, folder))
        ended = "damage reported" if said else "result"
    except UnmaskError as error:
        ended, said = "error", str(error).replace(str(folder), "")
        if isinstance(error, InternalError):
            ended = "crash"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
        ended = "crash"
    seconds = round(time.perf_counter() - started, 2)
    peak = memory(os.getpid(), "VmHWM")
    ended = "memory" if peak > MAX_MIB and ended != "crash" else ended
    about = {"number": number, "input": source.name, "way": way}
    return {**about, "end": ended, "said": said[:300], "s": seconds, "mib": peak}


def memory(pid: int, key: str) -> int:
    """MiB of a process: VmRSS, or VmHWM, its peak; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(key)), 0)


def work(inputs: list[Path], seed: int, connection: Connection) -> None:
    """Take numbers of mutants and send how they end."""
    import torch

    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        connection.send(None)  # ready
        while True:
            try:
                connection.send(end(inputs, seed, connection.recv(), Path(name)))
            except (EOFError, BrokenPipeError):
                return


class Worker:
    """A process that does one mutant after another."""

    def __init__(self, inputs: list[Path], seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(inputs, seed, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._connection.recv()

    def do(self, number: int) -> dict[str, Any] | None:
        """How a mutant ends, also where the process dies of it; None if it was ended by hand."""
        self._connection.send(number)
        started, pid = time.monotonic(), self._process.pid
        assert pid is not None
        ended = "crash"
        while not self._connection.poll(0.05):
            over = memory(pid, "VmRSS") > MAX_MIB
            if over or time.monotonic() - started > 2 * TIMEOUT:
                ended = "memory" if over else "hang"
                self._process.kill()
                break
        try:
            answer: dict[str, Any] = self._connection.recv()
            return answer
        except (EOFError, ConnectionError):
            self._process.join()
        code = self._process.exitcode
        if code == -signal.SIGTERM:
            return None
        seconds = round(time.monotonic() - started, 2)
        return {"number": number, "end": ended, "said": f"exit {code}", "s": seconds, "lost": True}


def drive(
    inputs: list[Path], seed: int, numbers: Iterator[int], write: Callable[[dict[str, Any]], None]
) -> None:
    """Keep a worker going."""
    worker = Worker(inputs, seed)
    for number in numbers:
        result = worker.do(number)
        if result is None:
            return
        if result.pop("lost", False):
            path, way, _ = make(inputs, seed, number)
            result = {"number": number, "input": path.name, "way": way, **result}
            worker = Worker(inputs, seed)
        write(result)


def read(path: Path, header: dict[str, Any]) -> list[dict[str, Any]]:
    """The results so far, of a file that is begun if there is none.

    Raises:
        SystemExit: it is of another run.
    """
    if not path.exists():
        path.write_text(json.dumps(header) + "\n")
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]  # the last line may have been cut off
    first, *lines = map(json.loads, whole.splitlines())
    if first != header:
        sys.exit(f"{path} is of another run: {first}, this one is {header}")
    if whole != text:
        os.truncate(path, len(whole.encode()))
    return lines


def run(inputs: list[Path], seed: int, mutants: int, workers: int, path: Path) -> list[Any]:
    """Do the mutants that have no line yet."""
    versions = [version(name) for name in ("unmask", "av", "torch", "onnx")]
    header = {"seed": seed, "inputs": len(inputs), "sha256": checksum(inputs), "of": versions}
    results = read(path, header)
    done = {result["number"] for result in results}
    numbers = iter([number for number in range(mutants) if number not in done])
    with path.open("a") as file:

        def write(result: dict[str, Any]) -> None:
            results.append(result)
            file.write(json.dumps(result) + "\n")
            file.flush()
            if len(results) % 100 == 0:
                print(f"{len(results)} of {mutants}", file=sys.stderr, flush=True)

        arguments = (inputs, seed, numbers, write)
        threads = [
            threading.Thread(target=drive, args=arguments, daemon=True) for _ in range(workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return results


def table(results: list[dict[str, Any]]) -> int:
    """Print it; 1 if there is something to mend."""
    keys: dict[str, Callable[[dict[str, Any]], str]] = {
        "file": lambda result: str(result["input"]).rpartition(".")[2],
        "broken by": lambda result: str(result["way"]),
    }
    for name, key in keys.items():
        rows = Counter((key(result), result["end"]) for result in results)
        total = Counter(key(result) for result in results)
        print(f"| {name} | mutants | {' | '.join(ENDS)} |\n{'|---' * (len(ENDS) + 2)}|")
        for row, count in sorted(total.items()):
            print(f"| {row} | {count} |", " | ".join(str(rows[row, end]) for end in ENDS), "|")
    slowest = max(result["s"] for result in results)
    largest = max(result.get("mib", 0) for result in results)
    print(f"{len(results)} mutants, slowest {slowest:.1f} s, most memory {largest} MiB")
    bad = [result for result in results if result["end"] in ("crash", "hang", "memory")]
    for result in bad:
        print(json.dumps(result))
    return 1 if bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clips", type=Path, help="folder of clips")
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=max(1, os.cpu_count() or 1))
    parser.add_argument("--out", type=Path, default=Path("fuzz"), help="folder of the run")
    parser.add_argument("--only", type=int, help="just this mutant")
    parser.add_argument("--keep", type=Path, help="with --only: leave the mutant here")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(1))  # the workers notice
    inputs = prepare(args.clips, args.out / "inputs")
    if args.only is None:
        path = args.out / "results.jsonl"
        return table(run(inputs, args.seed, args.mutants, args.workers, path))
    if args.keep:
        args.keep.write_bytes(make(inputs, args.seed, args.only)[2])
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(end(inputs, args.seed, args.only, Path(name))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
