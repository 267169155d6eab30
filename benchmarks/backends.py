"""Every backend: milliseconds a face, and what it changes of the scores.

    backends.py FACES... [--model small] [--faces 48] [--runs 5]

FACES are `.pt` files of the model, or folders of them; those whose path holds "fake" are fakes.
Each backend encodes the same faces on one core, in turn, the median of several rounds; then the
scores of all files are compared with those of torch in float32. With --model untrained the network
is ResNeXt50 + BiGRU with random weights and random faces, and only the time counts. A line of JSON
a backend.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from unmask.backends import Backend
from unmask.data import pt_file
from unmask.data.pt_file import ProcessedVideo
from unmask.detection.decide import decide
from unmask.detection.detector import Detector
from unmask.detection.export import export
from unmask.models import (
    Bundle,
    BundleConfig,
    DeepfakeNet,
    ModelConfig,
    find_model,
    load_bundle,
    save_bundle,
)
from unmask.models.bundle import GRAPH

BACKENDS: tuple[Backend, ...] = ("torch", "onnx", "openvino")


def open_detectors(model: str, folder: Path, faces: list[Path]) -> dict[str, Detector]:
    """Backends, and those of the file in 8-bit integers, by name."""
    if model == "untrained":
        torch.manual_seed(0)
        bundle = Bundle(BundleConfig("untrained"), DeepfakeNet(ModelConfig()).eval())
        save_bundle(folder, bundle)
        export(load_bundle(folder), folder / GRAPH)
        bundle = load_bundle(folder)
    else:
        bundle = load_bundle(find_model(model))
    found: dict[str, Detector] = {name: Detector(bundle, backend=name) for name in BACKENDS}
    if faces:
        small = folder / "int8.onnx"
        export(bundle, small, faces[:8], int8=True)
        eight = replace(bundle, graph=small)
        found |= {f"{name} int8": Detector(eight, backend=name) for name in BACKENDS[1:]}
    return found


def milliseconds(detectors: dict[str, Detector], faces: np.ndarray, runs: int) -> dict[str, float]:
    """A face, by "backend precision"; the backends in turn."""
    ways = [
        (f"{name} {precision}", detector, precision)
        for name, detector in detectors.items()
        for precision in detector.runtime.precisions
    ]
    taken: dict[str, list[float]] = {name: [] for name, _, _ in ways}
    for number in range(runs + 1):  # the first round warms the caches and does not count
        for name, detector, precision in ways:
            begun = time.perf_counter()
            for at in range(0, len(faces), 16):
                detector.runtime.encode(faces[at : at + 16], precision)
            if number:
                taken[name].append((time.perf_counter() - begun) / len(faces) * 1000)
    return {name: statistics.median(values) for name, values in taken.items()}


def scores(detector: Detector, videos: list[ProcessedVideo], precision: str) -> np.ndarray:
    """Confidences as `predict` has them."""
    judged = []
    for video in videos:
        logits = detector.score_video(video, precision=precision)
        judged.append(decide(logits, detector.decision, detector.model).confidence)
    return np.array(judged, float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sources", nargs="*", type=Path, metavar="FACES")
    parser.add_argument("--model", default="small")
    parser.add_argument("--faces", type=int, default=48, help="that are timed")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    paths = [
        path
        for source in args.sources
        for path in (sorted(source.rglob("*.pt")) if source.is_dir() else [source])
    ]
    videos = [video for video in map(pt_file.read, paths) if video.tracks]
    labels = ["fake" in str(path) for path in paths if pt_file.read(path).tracks]
    with tempfile.TemporaryDirectory() as folder:
        detectors = open_detectors(args.model, Path(folder), paths)
        size = detectors["torch"].bundle.spec.image_size
        crops = [crop for video in videos for track in video.tracks for crop in track.crops]
        faces = (
            np.stack(crops[:: max(1, len(crops) // args.faces)][: args.faces])
            if crops
            else np.random.default_rng(0).integers(
                0, 256, (args.faces, size, size, 3), dtype=np.uint8
            )
        )
        exact = scores(detectors["torch"], videos, "float32")
        for name, taken in milliseconds(detectors, faces, args.runs).items():
            row: dict[str, object] = {
                "model": args.model, "backend": name, "ms_a_face": round(taken, 2)
            }  # fmt: skip
            if videos:
                backend, _, precision = name.rpartition(" ")
                found = scores(detectors[backend], videos, precision)
                row |= {
                    "videos": len(videos),
                    "largest_change": round(float(np.abs(found - exact).max()), 4),
                    "auc": round(float(roc_auc_score(labels, found)), 4),
                }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
