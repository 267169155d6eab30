"""How long does a corpus of the size of Celeb-DF v2 take to index, and a window of it to read?

    python benchmarks/index.py PROCESSED [--videos 6529] [--reads 500]

The `.pt` files of PROCESSED stand in for the corpus, as links under so many names. The first
indexing reads every file, the later ones the manifest. Windows are read at random, and copied,
from files that are in the page cache.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from unmask.training.dataset import DeepfakeWindowDataset


def lay_out(files: list[Path], root: Path, videos: int) -> None:
    """So many links to the files, one in seven of them real."""
    for number in range(videos):
        file = files[number % len(files)]
        folder = root / "train" / ("Celeb-real" if number % 7 == 0 else "Celeb-synthesis")
        folder.mkdir(parents=True, exist_ok=True)
        os.link(file, folder / f"{number:05d}.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("processed", type=Path)
    parser.add_argument("--videos", type=int, default=6529)
    parser.add_argument("--reads", type=int, default=500)
    args = parser.parse_args()
    files = sorted(args.processed.rglob("*.pt"))
    with tempfile.TemporaryDirectory(dir=args.processed) as folder:
        lay_out(files, Path(folder), args.videos)
        seconds = []
        for _ in range(6):
            begun = time.perf_counter()
            dataset = DeepfakeWindowDataset(folder, "train")
            seconds.append(time.perf_counter() - begun)
        print(f"{args.videos} videos, {len(dataset)} windows of {dataset.spec.image_size} px")
        print(f"first indexing {seconds[0]:.2f} s")
        print(f"with manifest  {statistics.median(seconds[1:]):.3f} s (median of 5)")
        rng = random.Random(0)
        picked = [rng.randrange(len(dataset)) for _ in range(args.reads)]
        times = []
        for index in [*picked, *picked]:  # the first round fills the page cache
            begun = time.perf_counter()
            dataset.sample(index).faces.clone()
            times.append(time.perf_counter() - begun)
        ordered = sorted(times[args.reads :])
        print(
            f"random window  {1e3 * statistics.median(ordered):.2f} ms "
            f"(9 of 10 within {1e3 * ordered[int(0.9 * len(ordered))]:.2f} ms)"
        )


if __name__ == "__main__":
    main()
