"""How long does a corpus of the size of Celeb-DF v2 take to index, and a window of it to read?

    python benchmarks/index.py PROCESSED [--videos 6529] [--reads 500] [--shards 1G]

The `.pt` files of PROCESSED stand in for the corpus, as links under so many names. The first
indexing reads every file, the later ones the manifest. Windows are read at random, and copied,
from files that are in the page cache. With --shards, all of it is measured again once the files
are packed, which takes as much of the disk as they would without links.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from unmask.data import pt_file, shards
from unmask.data.packing import Packer
from unmask.storage import parse_size
from unmask.training.dataset import DeepfakeWindowDataset


def lay_out(files: list[Path], root: Path, videos: int) -> None:
    """So many links to the files, one in seven of them real."""
    for number in range(videos):
        file = files[number % len(files)]
        folder = root / "train" / ("Celeb-real" if number % 7 == 0 else "Celeb-synthesis")
        folder.mkdir(parents=True, exist_ok=True)
        os.link(file, folder / f"{number:05d}.pt")


def measure(folder: str, reads: int) -> None:
    seconds = []
    for _ in range(6):
        shards.forget()
        begun = time.perf_counter()
        dataset = DeepfakeWindowDataset(folder, "train")
        seconds.append(time.perf_counter() - begun)
    print(f"{len(dataset.paths)} videos, {len(dataset)} windows of {dataset.spec.image_size} px")
    print(f"first indexing {seconds[0]:.2f} s")
    print(f"later          {statistics.median(seconds[1:]):.3f} s (median of 5)")
    rng = random.Random(0)
    picked = [rng.randrange(len(dataset)) for _ in range(reads)]
    times = []
    for index in [*picked, *picked]:  # the first round fills the page cache
        begun = time.perf_counter()
        dataset.sample(index).faces.clone()
        times.append(time.perf_counter() - begun)
    ordered = sorted(times[reads:])
    print(
        f"random window  {1e3 * statistics.median(ordered):.2f} ms "
        f"(9 of 10 within {1e3 * ordered[int(0.9 * len(ordered))]:.2f} ms)"
    )


def pack(folder: str, size: int) -> None:
    outputs = sorted(Path(folder).rglob("*.pt"))
    packer = Packer(Path(folder), outputs, size, pt_file.read(outputs[0]).spec)
    for out in outputs:
        packer.settle(out)
    packer.finish()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("processed", type=Path)
    parser.add_argument("--videos", type=int, default=6529)
    parser.add_argument("--reads", type=int, default=500)
    parser.add_argument("--shards", metavar="SIZE")
    args = parser.parse_args()
    files = sorted(args.processed.rglob("*.pt"))
    with tempfile.TemporaryDirectory(dir=args.processed) as folder:
        lay_out(files, Path(folder), args.videos)
        measure(folder, args.reads)
        if args.shards:
            pack(folder, parse_size(args.shards, "--shards"))
            print(f"in shards of {args.shards}:")
            measure(folder, args.reads)


if __name__ == "__main__":
    main()
