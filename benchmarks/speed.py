"""Seconds and ratios against the design typed in literally, on the same clip, in turn.

    PYTHONPATH=.venv/yardstick python benchmarks/speed.py --source CLIP.mp4 --baseline BASELINE.py

The measuring clip is SOURCE played forwards and backwards for 30 seconds, 30 fps, H.264 crf 23, in
each height that is asked for. Both sides run in processes of their own, A B A B..., and time the
work itself (models loaded, no interpreter start). `predict` uses ResNeXt50 + BiGRU with random
weights on both sides, `predict-small` the shipped model on ours, both with the backend that "auto"
takes; the number of windows differs with the model. The baseline script needs facenet-pytorch on
the PYTHONPATH.
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

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.video.encoder import encode
from unmask.video.reader import Video

UNTRAINED = "untrained"


def make_clip(source: Path, target: Path, seconds: int, height: int) -> None:
    with Video(source) as video:
        frames = [_resized(frame.rgb, height) for frame in video.frames()]
    order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]

    def play() -> Iterator[NDArray[np.uint8]]:
        for number in range(30 * seconds):
            yield frames[order[number % len(order)]]

    encode(target, play(), Fraction(30), crf=23)


def _resized(rgb: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    width = 2 * round(rgb.shape[1] * height / rgb.shape[0] / 2)
    if (height, width) == rgb.shape[:2]:
        return rgb
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def make_untrained(folder: Path) -> None:
    """ResNeXt50 + BiGRU with random weights, and its ONNX file."""
    import torch

    from unmask.detection.export import export
    from unmask.models import (
        Bundle,
        BundleConfig,
        DeepfakeNet,
        ModelConfig,
        load_bundle,
        save_bundle,
    )
    from unmask.models.bundle import GRAPH

    torch.manual_seed(0)
    save_bundle(folder, Bundle(BundleConfig("untrained"), DeepfakeNet(ModelConfig()).eval()))
    export(load_bundle(folder), folder / GRAPH)


def ours(job: str, clip: Path, out: Path) -> dict[str, Any]:
    """One run of our side, in a process of its own."""
    from unmask.data.preprocessor import VideoPreprocessor
    from unmask.detection.detector import Detector
    from unmask.models import find_model

    VideoPreprocessor()  # imports what is imported late; the literal side has all at its top
    started = time.perf_counter()
    if job in ("preprocess", "exact"):
        video = VideoPreprocessor(exact=job == "exact").save_video(clip, out)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "windows": len(video.windows)}
    model = find_model("small") if job == "predict-small" else out.parent / UNTRAINED
    detector = Detector.from_pretrained(model)
    assert detector.preprocessor  # the literal side has loaded its MTCNN, too
    started = time.perf_counter()
    prediction = detector.predict(clip)
    return {"seconds": time.perf_counter() - started, "windows": len(prediction.windows)}


def run(command: list[str], **environment: str) -> dict[str, Any]:
    env = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert isinstance(result, dict)
    return result


def literal(baseline: Path, job: str, clip: Path, out: Path) -> dict[str, Any]:
    verb = "predict" if job.startswith("predict") else "preprocess"
    arguments = [str(clip), str(out)] if verb == "preprocess" else [str(clip)]
    result = run([sys.executable, "-W", "ignore", str(baseline), verb, *arguments])
    seconds = result.get("s") or result["preprocess_s"] + result["model_s"]
    return {"seconds": seconds, "windows": result["windows"]}


def compare(baseline: Path, job: str, clip: Path, folder: Path, runs: int) -> dict[str, Any]:
    mine, theirs, windows = [], [], set()
    out = folder / "ours.pt"
    for number in range(runs + 1):  # the first pair warms the caches and does not count
        command = [sys.executable, __file__, "--one", job, "--clip", str(clip), "--out", str(out)]
        a = run(command, THP_MEM_ALLOC_ENABLE="1")  # as the command sets it
        b = literal(baseline, job, clip, folder / "literal.pt")
        windows |= {a["windows"], b["windows"]}
        if number:
            mine.append(a["seconds"])
            theirs.append(b["seconds"])
    ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
    return {
        "job": job,
        "clip": clip.stem,
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
    parser.add_argument("--heights", nargs="+", type=int, default=[720])
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
        for height in args.heights:
            clip = folder / f"{height}p.mp4"
            make_clip(args.source, clip, args.seconds, height)
            if "predict" in args.jobs and not (folder / UNTRAINED).exists():
                make_untrained(folder / UNTRAINED)
            for job in args.jobs:
                print(json.dumps(compare(args.baseline, job, clip, folder, args.runs)), flush=True)
                if job == "exact":
                    print(json.dumps({"job": "size of the .pt", **sizes(folder)}), flush=True)


if __name__ == "__main__":
    main()
