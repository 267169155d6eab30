"""What each part of the model and of the training is worth, one at a time.

    python benchmarks/ablation.py PROCESSED --out FOLDER [--seeds 0 1 2] [--epochs 6]

PROCESSED is a preprocessed tree, split by identity, of recordings and fakes made of them. Every
variant differs from the first by what its name says; each is trained with every seed, chosen by the
val split and measured once on the test split. Run again to go on after an interrupt: what is
finished is read from FOLDER. The table says the mean over the seeds and the smallest and largest.
"""

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from unmask.errors import UsageError
from unmask.training.config import RunConfig, make_config
from unmask.training.loop import train

# The design's own settings, but for a backbone whose ImageNet weights come as a package, a width
# and a rate that suit it, and short windows counted: the clips are short.
BASE = {
    "backbone": "tf_efficientnet_lite0", "hidden": "128", "layers": "1", "head_hidden": "128",
    "lr": "1e-3", "short": "pad", "monitor": "val_auc", "weights": "imagenet",
}  # fmt: skip
PAIRS = {"pairs": "true"}
FRAMES = {"frame_head": "true", "frame_loss": "1", "targets": "segments"}
# Without pairs the default network had learned nothing from so few recordings, so that what else
# is worth something could not have been seen: all the others are measured on top of pairs.
VARIANTS: dict[str, dict[str, str]] = {
    "baseline (BiGRU, last state)": {},
    "pairs": PAIRS,
    "pairs, pooling mean": {**PAIRS, "pooling": "mean"},
    "pairs, pooling attention": {**PAIRS, "pooling": "attention"},
    "pairs, frame head": {**PAIRS, **FRAMES},
    "pairs, augmentation web": {**PAIRS, "augment": "web"},
    "pairs, temporal: mean": {**PAIRS, "temporal": "mean", "pooling": "mean"},
    "pairs, temporal: transformer": {**PAIRS, "temporal": "transformer", "pooling": "mean"},
    "pairs, attention, frame head": {**PAIRS, **FRAMES, "pooling": "attention"},
}


def configure(changes: dict[str, str], seed: int, epochs: int) -> RunConfig:
    settings = {**BASE, **changes, "seed": str(seed), "epochs": str(epochs)}
    config = make_config("baseline", settings)
    # All are measured alike: every person counts, by the mean of the windows.
    return replace(
        config,
        training=replace(config.training, workers=2, keep=1),
        decision=replace(config.decision, faces="all"),
    )


def measure(data: Path, out: Path, config: RunConfig) -> dict[str, Any]:
    """Train and evaluate, or read what was found before."""
    result = out / "result.json"
    if result.exists():
        found = json.loads(result.read_text())
        assert isinstance(found, dict)
        return found
    report = train(data, out, config, resume=True)
    if report is None:
        raise UsageError(f"{data} has no test split that could be scored")
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    found = {"test_auc": report.metrics.auc_roc, "val_auc": max(row["val_auc"] for row in rows)}
    result.write_text(json.dumps(found))
    for checkpoint in out.glob("model_epoch_*.pth"):
        checkpoint.unlink()
    return found


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    lines = ["| variant | test AUC, mean (range) | best val AUC, mean (range) | seeds |"]
    lines += ["|---|---|---|---|"]
    for name, rows in results.items():
        cells = []
        for key in ("test_auc", "val_auc"):
            values = [row[key] for row in rows]
            mean = sum(values) / len(values)
            cells.append(f"{mean:.3f} ({min(values):.3f} to {max(values):.3f})")
        lines.append(f"| {name} | {' | '.join(cells)} | {len(rows)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("processed", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    for seed in args.seeds:
        for number, (name, changes) in enumerate(VARIANTS.items()):
            print(f"{name}, seed {seed}", flush=True)
            config = configure(changes, seed, args.epochs)
            found = measure(args.processed, args.out / f"{number}_{seed}", config)
            results[name].append(found)
            (args.out / "table.md").write_text(
                table({name: rows for name, rows in results.items() if rows}) + "\n"
            )
    print(table(results))


if __name__ == "__main__":
    main()
