"""Workers here and on Ray: what a second one brings, what Ray costs, many small tasks. JSON lines.

    python benchmarks/engines.py CLIPS [--parts clips tasks] [--clips 40] [--rounds 5]

`clips`: clips of a folder, drawn at random, are preprocessed by one local worker, by two, and by
two on Ray, with a core each; the cluster is started before, the workers are not. `tasks`: tasks of
1 ms on two workers, how many a second, and how much memory the driver has after a tenth of them and
at the end.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

from unmask.data.preprocessor import VideoPreprocessor
from unmask.data.tree import preprocess_tree
from unmask.engine import Engine, run
from unmask.engine.worker import resident
from unmask.video.reader import find_videos

LIMIT = 2**40  # bytes: with a limit even one worker is a process
ENGINES = {
    "1 local": Engine(1, memory=LIMIT),
    "2 local": Engine(2, memory=LIMIT),
    "2 Ray": Engine(2, "ray", memory=LIMIT),
}


def nap(number: int) -> int:
    time.sleep(0.001)
    return number


def clips(folder: Path, count: int, rounds: int, seed: int) -> None:
    drawn = random.Random(seed).sample(find_videos(folder), count)
    took: dict[str, list[float]] = {name: [] for name in ENGINES}
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "clips"
        source.mkdir()
        for path in drawn:
            (source / path.name).symlink_to(path)
        for number in range(rounds):
            for engine, where in ENGINES.items():
                # A core a worker: one alone would decode on a second.
                cores = where.workers or 1
                os.cpu_count = partial(int, cores)
                os.sched_setaffinity(0, range(cores))
                began = time.perf_counter()
                out = Path(name) / f"{engine} {number}"
                report = preprocess_tree(source, out, VideoPreprocessor(), where)
                took[engine].append(time.perf_counter() - began)
                assert len(report.done) == count
    pairs = {
        "gain of a second worker": ("1 local", "2 local"),
        "time on Ray against local": ("2 Ray", "2 local"),
    }
    for what, (a, b) in pairs.items():
        ratios = [x / y for x, y in zip(took[a], took[b], strict=True)]
        row = {"clips": count, "rounds": rounds, "median": round(statistics.median(ratios), 3)}
        print(json.dumps({what: row | {"range": [round(f(ratios), 3) for f in (min, max)]}}))
    print(json.dumps({"seconds": {k: round(statistics.median(v), 1) for k, v in took.items()}}))


def tasks(count: int) -> None:
    from engines import nap as task  # by this name the workers find it, too

    for name in ("2 local", "2 Ray"):
        began, early, done = time.perf_counter(), 0, 0
        for done, outcome in enumerate(run(task, range(count), ENGINES[name]), 1):
            assert outcome.error is None
            if done == count // 10:
                early = resident(os.getpid())
        seconds = time.perf_counter() - began
        late = resident(os.getpid())
        row = {"tasks of 1 ms": name, "done": done, "a second": round(done / seconds)}
        row |= {"MB after a tenth": early >> 20, "MB at the end": late >> 20}
        print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--parts", nargs="+", choices=["clips", "tasks"], default=["clips", "tasks"]
    )
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", type=int, default=100_000)
    args = parser.parse_args()
    import ray  # late: workers import this file, and on one machine they need no Ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    if "tasks" in args.parts:
        tasks(args.tasks)
    if "clips" in args.parts:
        clips(args.folder, args.clips, args.rounds, args.seed)


if __name__ == "__main__":
    main()
