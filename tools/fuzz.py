"""Break real clips in many ways and see what preprocessing makes of them.

    python tools/fuzz.py CLIPS --mutants 2000 --seed 0 --out fuzz.jsonl

A mutant is one of the clips with bits flipped, its end cut off, chunks swapped, a chunk zeroed or
doubled, or its header filled with noise. Each must end in a result or in an UnmaskError, without
a crash, within a minute and within 2 GiB. Mutant N of a seed is always the same; `--only N`
makes it again, and `--keep FILE` leaves it there.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

TIMEOUT = 60.0  # seconds for a mutant; twice as many for one that hangs
MAX_MIB = 2048
WAYS = ("flip", "truncate", "swap", "zero", "double", "header")


def mutate(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """(way, broken copy)."""
    way = rng.choice(WAYS)
    broken = bytearray(data)

    def chunk(most: int) -> slice:
        length = rng.randint(1, max(1, min(most, len(data) // 4)))
        start = rng.randrange(max(1, len(data) - length))
        return slice(start, start + length)

    if way == "flip":
        for _ in range(rng.choice((1, 10, 100, 1000))):
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
    elif way == "truncate":
        del broken[rng.randrange(1, len(broken)) :]
    elif way == "swap":
        for _ in range(rng.randint(1, 8)):
            a = chunk(65536)
            b = slice((at := rng.randrange(len(data) - (a.stop - a.start))), at + a.stop - a.start)
            broken[a], broken[b] = broken[b], broken[a]
    elif way == "zero":
        part = chunk(len(data))
        broken[part] = bytes(part.stop - part.start)
    elif way == "double":
        part = chunk(65536)
        broken[part.stop : part.stop] = broken[part]
    else:
        for _ in range(rng.randint(1, 32)):
            broken[rng.randrange(min(2048, len(broken)))] = rng.randrange(256)
    return way, bytes(broken)


def make(clips: list[Path], seed: int, number: int) -> tuple[Path, str, bytes]:
    rng = random.Random(f"{seed} {number}")
    clip = rng.choice(clips)
    return (clip, *mutate(clip.read_bytes(), rng))


def work(clips: list[Path], seed: int, numbers: list[int]) -> None:
    """Go through mutants, saying before each which one, after each how it ended."""
    import torch

    from unmask.data.preprocessor import VideoPreprocessor
    from unmask.errors import UnmaskError
    from unmask.video.reader import Limits

    torch.set_num_threads(1)
    preprocessor = VideoPreprocessor(image_size=64, faces="all", limits=Limits(timeout=TIMEOUT))
    with tempfile.TemporaryDirectory() as name:
        for number in numbers:
            clip, way, data = make(clips, seed, number)
            path = Path(name) / f"mutant{clip.suffix}"
            path.write_bytes(data)
            print(json.dumps({"number": number, "clip": clip.name, "way": way}), flush=True)
            started = time.perf_counter()
            try:
                video = preprocessor.save_video(path, Path(name) / "mutant.pt")
                end = "damage reported" if video.warnings else "result"
                said = "; ".join(video.warnings)
            except UnmaskError as error:
                end, said = "error", str(error).removeprefix(f"{path}: ")
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            seconds = round(time.perf_counter() - started, 2)
            print(json.dumps({"end": end, "said": said, "s": seconds, "mib": peak}), flush=True)


def drive(arguments: list[str], numbers: list[int], results: list[dict[str, Any]]) -> None:
    """Keep a worker going through `numbers`; what kills or hangs it is a result too."""
    while numbers:
        command = [sys.executable, __file__, *arguments, "--work", ",".join(map(str, numbers))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            current: dict[str, Any] | None = None
            for line in process.stdout:
                said = json.loads(line)
                if "number" in said:
                    current = said
                    watch = threading.Timer(2 * TIMEOUT, process.kill)
                    watch.start()
                elif current is not None:
                    watch.cancel()
                    results.append({**current, **said})
                    numbers = [number for number in numbers if number != current["number"]]
                    current = None
        if current is not None:
            watch.cancel()
            hung = process.returncode == -9
            results.append({**current, "end": "hang" if hung else "crash",
                            "said": f"exit {process.returncode}"})  # fmt: skip
            numbers = [number for number in numbers if number != current["number"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clips", type=Path, help="folder of clips; the smallest of each kind")
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=max(1, os.cpu_count() or 1))
    parser.add_argument("--each", type=int, default=4, help="clips of each kind of file")
    parser.add_argument("--out", type=Path, default=Path("fuzz.jsonl"))
    parser.add_argument("--only", type=int, help="just this mutant")
    parser.add_argument("--keep", type=Path, help="with --only: leave the mutant here")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    clips = pick(args.clips, args.each)
    if args.work or args.only is not None:
        if args.keep:
            args.keep.write_bytes(make(clips, args.seed, args.only)[2])
        numbers = [args.only] if args.work is None else list(map(int, args.work.split(",")))
        work(clips, args.seed, numbers)
        return 0
    arguments = [str(args.clips), "--seed", str(args.seed), "--each", str(args.each)]
    results: list[dict[str, Any]] = []
    threads = [
        threading.Thread(
            target=drive, args=(arguments, list(range(k, args.mutants, args.workers)), results)
        )
        for k in range(args.workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.sort(key=lambda result: result["number"])
    args.out.write_text("".join(json.dumps(result) + "\n" for result in results))
    return table(results, len(clips))


def pick(folder: Path, each: int) -> list[Path]:
    """The smallest clips of each suffix."""
    from unmask.video.reader import find_videos

    clips: list[Path] = []
    found = sorted(find_videos(folder), key=lambda path: path.stat().st_size)
    for suffix in sorted({path.suffix for path in found}):
        clips += [path for path in found if path.suffix == suffix][:each]
    return clips


def table(results: list[dict[str, Any]], clips: int) -> int:
    ends = ("result", "damage reported", "error", "crash", "hang")
    count = Counter((result["way"], result["end"]) for result in results)
    print(f"{len(results)} mutants of {clips} clips")
    print("| broken by |", " | ".join(ends), "|\n|---" * 1 + "|---" * len(ends) + "|")
    for way in WAYS:
        print(f"| {way} |", " | ".join(str(count[way, end]) for end in ends), "|")
    slowest = max(result.get("s", 0) for result in results)
    largest = max(result.get("mib", 0) for result in results)
    print(f"slowest {slowest:.1f} s, most memory {largest} MiB")
    bad = sum(count[way, end] for way in WAYS for end in ("crash", "hang"))
    return 1 if bad or largest > MAX_MIB or slowest > TIMEOUT + 5 else 0


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
