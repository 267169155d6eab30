"""Training against the design typed in literally: windows a second, and epochs of a frozen CNN.

    python benchmarks/train.py CLIP.mp4 --baseline literal_baseline.py [--batch 4 32] [--frozen]

CLIP is preprocessed by both sides; four copies of its windows, two of each class, are an epoch.
Without --frozen all of ResNeXt50 + BiGRU learns, at each batch size (on a GPU in float16 on both
sides). With it the CNN stays as it is, and ours is the second epoch, which reads the features
that the first has kept. Each run is a process of its own, in turn; the median of --runs counts.
The baseline script needs facenet-pytorch on the PYTHONPATH.
"""

import argparse
import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COPIES = {"real": 2, "fake": 2}


def literal(script: Path) -> Any:
    """The literal script as a module."""
    spec = importlib.util.spec_from_file_location("literal", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def theirs(script: Path, data: Path, batch: int, frozen: bool) -> None:
    """One epoch; the batch size and the freezing, which the script has not, come from here."""
    import torch

    module, loader = literal(script), torch.utils.data.DataLoader
    network = module.ResNeXtGRU

    def build() -> Any:
        net = network()
        net.cnn.requires_grad_(not frozen)
        return net

    def load(*args: Any, **kwargs: Any) -> Any:
        return loader(*args, **{**kwargs, "batch_size": batch})

    module.ResNeXtGRU = build
    torch.utils.data.DataLoader = load  # type: ignore[assignment, misc]
    module.epoch(str(data))


def ours(data: Path, out: Path, batch: int, frozen: bool) -> None:
    """The second of two epochs."""
    import torch

    from unmask.training.config import make_config
    from unmask.training.loop import train
    from unmask.training.run import Progress

    settings = {"batch_size": str(batch), "freeze_cnn": str(frozen), "weights": "random",
                "epochs": "2", "workers": "2"}  # fmt: skip
    times: dict[int, list[tuple[float, int]]] = {1: [], 2: []}

    def note(progress: Progress) -> None:
        times[progress.epoch].append((time.perf_counter(), progress.windows))

    train(data, out, make_config("baseline", settings), on_step=note)
    # From the first batch's end, so that validation and the start of workers are not in it; the
    # literal side counts the start of its workers, some tenths of a second.
    (begun, before), (ended, after) = times[2][0], times[2][-1]
    rate = (after - before) / (ended - begun)
    memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    print(
        json.dumps({"windows": after, "s": after / rate, "windows_per_s": rate, "memory": memory})
    )


def prepare(clip: Path, script: Path, folder: Path) -> None:
    """`literal/{real,fake}/*.pt` and `ours/{train,val}/{real,fake}/*.pt` of the same clip."""
    from unmask.data.preprocessor import VideoPreprocessor

    one, other = folder / "ours.pt", folder / "literal.pt"
    VideoPreprocessor(exact=True).save_video(clip, one)
    command = [sys.executable, "-W", "ignore", str(script), "preprocess", str(clip), str(other)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for label, copies in COPIES.items():
        for number in range(copies):
            for source, place in ((other, "literal"), (one, "ours/train"), (one, "ours/val")):
                target = folder / place / label / f"{number}.pt"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--baseline", type=Path, required=True)
    parser.add_argument("--batch", nargs="+", type=int, default=[4])
    parser.add_argument("--frozen", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--side", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side == "theirs":
        theirs(args.baseline, args.clip, args.batch[0], args.frozen)
        return
    if args.side == "ours":
        ours(args.clip, args.clip.parent / "run", args.batch[0], args.frozen)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(args.clip, args.baseline, folder)
        for batch in args.batch:
            found: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
            for _ in range(args.runs):
                for side, data in (("ours", "ours"), ("theirs", "literal")):
                    shutil.rmtree(folder / "run", ignore_errors=True)
                    command = [
                        sys.executable, "-W", "ignore", __file__, str(folder / data),
                        "--baseline", str(args.baseline), "--batch", str(batch), "--side", side,
                        *(["--frozen"] if args.frozen else []),
                    ]  # fmt: skip
                    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                    found[side].append(json.loads(done.stdout.strip().splitlines()[-1]))
            rates = {k: [row["windows_per_s"] for row in rows] for k, rows in found.items()}
            ratios = [a / b for a, b in zip(rates["ours"], rates["theirs"], strict=True)]
            print(json.dumps({
                "batch": batch, "frozen": args.frozen, "runs": args.runs,
                "windows": found["ours"][0]["windows"],
                "ours_windows_per_s": round(statistics.median(rates["ours"]), 2),
                "literal_windows_per_s": round(statistics.median(rates["theirs"]), 3),
                "ratio": round(statistics.median(ratios), 2),
                "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
                "memory": found["ours"][0]["memory"],
            }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
