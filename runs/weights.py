"""Steps of runs/weights.sh that are no command of unmask's.

weights.py parts CLIPS.csv                     who trains, who chooses, who is reported
weights.py links PARTS.csv OUT                 the clips that train, as a tree of videos
weights.py chosen PARTS.csv PART               the table of one part's recordings
weights.py tree POOL PARTS.csv OUT [--fold K]  their faces, as unmask train takes them
weights.py autoencoders TREE OUT               networks for the family "redrawn"
"""

import argparse
import csv
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np

from unmask.corpora import TABLE, VideoRecord, write_table
from unmask.data import pt_file
from unmask.synth.autoencoder import AutoencoderConfig, save_autoencoder, train_autoencoder

HELD_OUT = {"test": 16, "val": 12}  # identities of recordings of which there are no fakes
# Generators of true fakes that are left out together, by what their methods' names hold.
FOLDS = (
    ("FantasyTalking", "StableAvatar", "AniPortrait"),
    ("InfiniteTalk", "LatentSync", "MimicMotion", "MagicDance", "Moore"),
)
AUTOENCODERS = {
    "swap": AutoencoderConfig(64, "shuffle", people=6),
    "transposed": AutoencoderConfig(128, "transposed"),
    "nearest": AutoencoderConfig(96, "nearest", latent=16),
    "variational": AutoencoderConfig(128, "bilinear", variational=True),
}
STEPS = 900


def parts(table: Path, seed: int) -> list[dict[str, str]]:
    """The clips with their part (train, val, test or dev), and the fold that leaves them out.

    A fold is a group of generators with the people that they show, and half of the val part.
    """
    with table.open(newline="", encoding="utf-8") as file:
        clips = list(csv.DictReader(file))
    fakes = {clip["identity"] for clip in clips if clip["label"] == "fake"}
    people = sorted({c["identity"] for c in clips if c["role"] == "train"} - fakes)
    order = iter(np.random.default_rng(seed).permutation(people).tolist())
    held = {next(order): part for part, count in HELD_OUT.items() for _ in range(count)}
    watching = [person for person, part in held.items() if part == "val"]
    folds = {person: number % len(FOLDS) for number, person in enumerate(watching)}
    for clip in clips:
        for number, names in enumerate(FOLDS):
            if any(name in clip["manipulation"] for name in names):
                folds.setdefault(clip["identity"], number)
    return [
        {
            "path": str((table.parent / clip["file"]).resolve()),
            "label": clip["label"],
            "identity": clip["identity"],
            "method": clip["manipulation"],
            "part": "dev" if clip["role"] == "dev" else held.get(clip["identity"], "train"),
            "fold": str(folds.get(clip["identity"], "")),
        }
        for clip in clips
    ]


def link(target: Path, source: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_symlink():
        target.symlink_to(source.resolve())


def tree(pool: Path, clips: list[dict[str, str]], out: Path, fold: str | None) -> None:
    """Link preprocessed clips; with a fold, what is not of the test part is val or train by it."""
    records = []
    for clip in clips:
        split, label = clip["part"], clip["label"]
        if split == "dev":
            continue
        if fold is not None and split != "test":
            split = "val" if clip["fold"] == fold else "train"
        name = f"{Path(clip['path']).stem}{pt_file.SUFFIX}"
        target = out / split / label / name
        link(target, pool / label / name)
        records.append(
            VideoRecord(
                target, int(label == "fake"), label, (clip["identity"],), Path(clip["path"]).stem,
                clip["method"] or None, split,
            )
        )  # fmt: skip
    write_table(out / TABLE, records)


def autoencoders(root: Path, out: Path, seed: int) -> None:
    """Train those that are not there yet on the train split's recordings."""
    videos = [pt_file.read(path) for path in sorted((root / "train" / "real").glob("*.pt"))]
    tracks = [video.tracks[0].crops for video in videos if video.tracks]
    tracks.sort(key=len, reverse=True)  # those with a decoder of their own show most
    for name, config in AUTOENCODERS.items():
        path = out / f"{name}.safetensors"
        if not path.exists():
            logging.info("autoencoder %s", name)
            save_autoencoder(path, train_autoencoder(config, tracks, STEPS, seed))


def read(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(rows: list[dict[str, str]]) -> None:
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    steps: Any = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("parts")
    step.add_argument("table", type=Path)
    step = steps.add_parser("links")
    step.add_argument("table", type=Path)
    step.add_argument("out", type=Path)
    step = steps.add_parser("chosen")
    step.add_argument("table", type=Path)
    step.add_argument("part")
    step = steps.add_parser("tree")
    step.add_argument("pool", type=Path)
    step.add_argument("table", type=Path)
    step.add_argument("out", type=Path)
    step.add_argument("--fold")
    step = steps.add_parser("autoencoders")
    step.add_argument("root", type=Path)
    step.add_argument("out", type=Path)
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    if args.step == "parts":
        write(parts(args.table, args.seed))
    elif args.step == "links":
        for clip in read(args.table):
            if clip["part"] != "dev":
                link(args.out / clip["label"] / Path(clip["path"]).name, Path(clip["path"]))
    elif args.step == "chosen":
        keys = ("path", "label", "identity", "method")
        rows = [c for c in read(args.table) if c["part"] == args.part and c["label"] == "real"]
        write([{key: row[key] for key in keys} for row in rows])
    elif args.step == "tree":
        tree(args.pool, read(args.table), args.out, args.fold)
    else:
        autoencoders(args.root, args.out, args.seed)


if __name__ == "__main__":
    main()
