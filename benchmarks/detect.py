"""Frames a second in which faces are found, on a device or by several backends in turn.

    python benchmarks/detect.py VIDEO --device cuda
    python benchmarks/detect.py VIDEO --device cpu --follow --backends torch onnx openvino

The frames are decoded beforehand and every one is searched, in batches on a GPU; with --follow they
are sampled three times a second, and faces are followed from search to search, as `preprocess` does
on a CPU. Median of five rounds after one that does not count.
"""

import argparse
import statistics
import time
from itertools import islice
from pathlib import Path

import torch

from unmask.backends import BACKENDS
from unmask.faces import MTCNN, FaceFinder
from unmask.video.reader import Video


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("video", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=["auto"])
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--frames", type=int, default=320)
    args = parser.parse_args()
    with Video(args.video) as video:
        frames = list(islice(video.frames(3 if args.follow else None), args.frames))
    finders = {}
    for backend in args.backends:
        started = time.perf_counter()
        detector = MTCNN(device=args.device, backend=backend)
        finders[backend] = FaceFinder(detector, exact=not args.follow, largest=args.follow)
        print(f"{backend}: {time.perf_counter() - started:.2f} s to load")
    seconds: dict[str, list[float]] = {backend: [] for backend in finders}
    for number in range(6):
        for backend, finder in finders.items():
            started = time.perf_counter()
            faces = sum(len(sighting.faces) for sighting in finder.find(frames))
            if torch.device(args.device).type == "cuda":
                torch.cuda.synchronize()
            if number:
                seconds[backend].append(time.perf_counter() - started)
            else:
                print(f"{backend}: {faces} faces")
    height, width = frames[0].rgb.shape[:2]
    print(f"{len(frames)} frames of {width}x{height} on {args.device}")
    for backend, taken in seconds.items():
        median = statistics.median(taken)
        spread = f"({min(taken):.2f} to {max(taken):.2f})"
        print(f"{backend}: {median:.2f} s {spread}, {len(frames) / median:.0f} a second")


if __name__ == "__main__":
    main()
