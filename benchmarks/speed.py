"""Seconds and ratios against the design typed in literally, on the same clip, in turn.

    make bench ARGS='--source CLIP.mp4 --baseline literal_baseline.py'

The measuring clip is SOURCE played forwards and backwards for 30 seconds, 30 fps, H.264 crf 23.
Both sides run in processes of their own, A B A B..., and time the work itself (models loaded, no
interpreter start). Predict uses ResNeXt50 + BiGRU with random weights on both sides: it measures
time and nothing else. The baseline script needs facenet-pytorch on the PYTHONPATH.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.encode import encode
from unmask.video import Video


def make_clip(source: Path, target: Path, seconds: int) -> None:
    with Video(source) as video:
        frames = [frame.rgb for frame in video.frames()]
    order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]

    def play() -> Iterator[NDArray[np.uint8]]:
        for number in range(30 * seconds):
            yield frames[order[number % len(order)]]

    encode(target, play(), Fraction(30), crf=23)


def ours(job: str, clip: Path, out: Path) -> dict[str, Any]:
    """One run of our side, in a process of its own."""
    import torch

    from unmask.detector import Detector
    from unmask.models import Bundle, Decision, DeepfakeNet, ModelConfig
    from unmask.preprocess import VideoPreprocessor
    from unmask.spec import FaceSpec

    started = time.perf_counter()
    if job == "preprocess":
        video = VideoPreprocessor().save_video(clip, out)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "windows": len(video.windows)}
    torch.manual_seed(0)
    bundle = Bundle("untrained", DeepfakeNet(ModelConfig()).eval(), FaceSpec(), Decision())
    detector = Detector(bundle)
    started = time.perf_counter()
    prediction = detector.predict(clip)
    return {"seconds": time.perf_counter() - started, "windows": len(prediction.windows)}


def run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert isinstance(result, dict)
    return result


def literal(baseline: Path, job: str, clip: Path, out: Path) -> dict[str, Any]:
    arguments = [str(clip), str(out)] if job == "preprocess" else [str(clip)]
    result = run([sys.executable, "-W", "ignore", str(baseline), job, *arguments])
    seconds = result.get("s") or result["preprocess_s"] + result["model_s"]
    return {"seconds": seconds, "windows": result["windows"]}


def compare(baseline: Path, job: str, clip: Path, folder: Path, runs: int) -> dict[str, Any]:
    mine, theirs, windows = [], [], set()
    for number in range(runs + 1):  # the first pair warms the caches and does not count
        a = run([sys.executable, __file__, "--one", job, "--clip", str(clip), "--out",
                 str(folder / "ours.pt")])  # fmt: skip
        b = literal(baseline, job, clip, folder / "literal.pt")
        windows |= {a["windows"], b["windows"]}
        if number:
            mine.append(a["seconds"])
            theirs.append(b["seconds"])
    ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
    return {
        "job": job,
        "ours_s": round(statistics.median(mine), 2),
        "literal_s": round(statistics.median(theirs), 2),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "runs": runs,
        "windows": sorted(windows),
    }


def sizes(folder: Path) -> dict[str, Any]:
    """Bytes of both files, and whether ours holds the same pixels."""
    import torch

    a = torch.load(folder / "ours.pt", weights_only=True)["windows"]
    b = torch.load(folder / "literal.pt", weights_only=True)["windows"]
    a = torch.stack(list(a)).float()
    off = (a - (b * 128 + 127.5)).abs()
    small, large = (os.path.getsize(folder / name) for name in ("ours.pt", "literal.pt"))  # noqa: PTH202
    return {
        "ours_bytes": small,
        "literal_bytes": large,
        "ratio": round(large / small, 2),
        "pixels_off_mean": round(float(off.mean()), 4),
        "pixels_off_share_over_1": round(float((off > 1.01).float().mean()), 6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--source", type=Path, help="clip to make the measuring clip from")
    parser.add_argument("--baseline", type=Path, help="literal_baseline.py")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--jobs", nargs="+", default=["preprocess", "predict"])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--clip", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(ours(args.one, args.clip, args.out)))
        return
    if not (args.source and args.baseline):
        parser.error("--source and --baseline are needed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = folder / "clip.mp4"
        make_clip(args.source, clip, args.seconds)
        for job in args.jobs:
            print(json.dumps(compare(args.baseline, job, clip, folder, args.runs)), flush=True)
        if "preprocess" in args.jobs:
            print(json.dumps({"job": "size of the .pt", **sizes(folder)}))


if __name__ == "__main__":
    main()
