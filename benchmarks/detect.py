"""Sampled frames a second that the face detector searches on a device.

    python benchmarks/detect.py VIDEO --device cuda

The frames are decoded beforehand and searched in batches, as `FaceFinder` does it on a GPU; median
of five runs after one that does not count.
"""

import argparse
import statistics
import time
from itertools import islice
from pathlib import Path

import torch

from unmask.faces import MTCNN, FaceFinder
from unmask.video.reader import Video


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("video", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--frames", type=int, default=320)
    args = parser.parse_args()
    with Video(args.video) as video:
        frames = list(islice(video.frames(), args.frames))
    finder, speeds, faces = FaceFinder(MTCNN(device=args.device), exact=True), [], 0
    for _ in range(6):
        started = time.perf_counter()
        faces = sum(len(sighting.faces) for sighting in finder.find(frames))
        if torch.device(args.device).type == "cuda":
            torch.cuda.synchronize()
        speeds.append(len(frames) / (time.perf_counter() - started))
    height, width = frames[0].rgb.shape[:2]
    print(f"{len(frames)} frames of {width}x{height}, {faces} faces: "
          f"{statistics.median(speeds[1:]):.0f} a second on {args.device}")  # fmt: skip


if __name__ == "__main__":
    main()
