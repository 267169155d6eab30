"""Every figure of speed, memory and load in the docs, by one command, as JSON and as a chart.

    make bench ARGS='--source CLIP.mp4 --short SHORT.mp4 --baseline literal_baseline.py'

SOURCE is a clip with a face, of any height; SHORT an MP4 of a few seconds; --faces are `.pt` files
of the model `small` for the comparison of backends. Takes an hour on two cores, on which nothing
else should run. A part that stands in OUT/figures.json already is not run again.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from unmask.atomic import replacing, write_text

HERE = Path(__file__).parent
Rows = list[dict[str, Any]]


def parts(args: argparse.Namespace) -> dict[str, list[str]]:
    """Scripts and their arguments, by name."""
    speed = ["speed.py", "--source", args.source, "--baseline", args.baseline]
    found = {
        "preprocess": [*speed, "--heights", "480", "720", "1080", "--jobs", "preprocess"],
        "predict": [*speed, "--heights", "720", "--jobs", "exact", "predict", "predict-small"],
        "backends, ResNeXt50 + BiGRU": ["backends.py", "--model", "untrained", "--faces", "16"],
        "memory": ["memory.py", args.source, "--minutes", "1", "60", "--model", "small"],
        "report": ["report.py", args.source],
        "serve": ["serve.py", args.short],
    }
    if args.faces:
        found["backends, small"] = ["backends.py", *args.faces]
    return found


def run(command: list[str]) -> Rows:
    """What a script prints as lines of JSON, or as one document."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, str(HERE / command[0]), *command[1:]],
        stdout=subprocess.PIPE, text=True, check=True, env=environment,
    )  # fmt: skip
    try:
        return [json.loads(done.stdout)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def draw(figures: dict[str, Rows], path: Path) -> None:
    """Ratios to the literal baseline, with the range of the pairs."""
    rows = [row for rows in figures.values() for row in rows if "ratio_range" in row]
    names = [f"{row['job']}, {row['clip']}" for row in rows]
    ratios = [row["ratio"] for row in rows]
    spread = [[abs(row["ratio"] - row["ratio_range"][side]) for row in rows] for side in (0, 1)]
    figure, axes = plt.subplots(figsize=(7, 0.5 + 0.45 * len(rows)), layout="constrained")
    axes.barh(names, ratios, xerr=spread, color="#4477aa", capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as the design typed in literally")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--source", required=True)
    parser.add_argument("--short", required=True)
    parser.add_argument("--baseline", required=True)
    parser.add_argument("--faces", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("figures"))
    args = parser.parse_args()
    target = args.out / "figures.json"
    figures: dict[str, Rows] = json.loads(target.read_text()) if target.exists() else {}
    for name, command in parts(args).items():
        if name not in figures:
            print(name, flush=True)
            figures[name] = run(command)
            write_text(target, json.dumps(figures, indent=2) + "\n")
    draw(figures, args.out / "figures.svg")


if __name__ == "__main__":
    main()
