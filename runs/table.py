"""Tables for runs/small.sh and runs/weights.sh: choose clips, or put labels beside predictions.

table.py clips.csv --role train --label real [--photos FOLDER] -> a corpus as .csv
table.py chosen.csv --predictions predictions.json -> video,label,score,category,reason

clips.csv has the columns file, label, role, identity, and may have manipulation, pair (the same in
a recording and what was made of it) and source_repo.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from unmask.atomic import replacing
from unmask.video.encoder import encode
from unmask.video.reader import VIDEO_SUFFIXES

SPLITS = {"train": "train", "dev": "val"}
GENERATED = (
    "talking",
    "image-to-video",
    "animation",
    "avatar",
    "portrait",
    "image)",
    "dubbing (Inf",
)


def kind(manipulation: str) -> str:
    """What was done, in three words, with the method in brackets."""
    if not manipulation:
        return ""
    if "lip-sync" in manipulation:
        name = "lip-sync"
    else:
        whole = any(word in manipulation for word in GENERATED)
        name = "generated head" if whole else "face swap"
    method = manipulation.removeprefix(name).strip(" ()")
    return f"{name} ({method.replace('(', '').replace(')', '')})"


def choose(
    table: Path, role: str | None, label: str | None, photos: Path | None
) -> Iterator[dict[str, str]]:
    """The rows of a role and label; photographs as videos of two frames in the folder `photos`."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if role in (None, row["role"])]
    recorded = {
        row.get("pair") for row in rows if row["label"] == "real" and row["role"] == "train"
    }
    for row in rows:
        path, pair = (table.parent / row["file"]).resolve(), row.get("pair") or ""
        lip_sync = "lip-sync" in row.get("manipulation", "")
        if row["role"] == "train" and lip_sync and (not pair or pair not in recorded):
            continue  # without its recording it would count as generated throughout
        if label not in (None, row["label"]):
            continue
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            if photos is None:
                continue
            path = film(path, photos)
        # Clips of one source share cameras and codecs: what is fitted on dev clips is tried on
        # other sources, as if each were a person.
        source = row.get("source_repo", "") if row["role"] == "dev" else ""
        yield {
            "path": str(path),
            "label": row["label"],
            "identity": ";".join(filter(None, (row["identity"].partition(" <-")[0], source))),
            "method": kind(row.get("manipulation", "")),
            "source": pair,
            "split": SPLITS[row["role"]],
        }


def film(photo: Path, folder: Path) -> Path:
    """The photograph as a video of two frames, without loss."""
    path = (folder / f"{photo.stem}.mkv").resolve()
    if not path.exists():
        bgr = cv2.imread(str(photo))
        assert bgr is not None, photo
        rgb = np.ascontiguousarray(bgr[..., ::-1], np.uint8)
        with replacing(path) as temporary:
            encode(temporary, iter([rgb, rgb]), Fraction(3), crf=0, container="matroska")
    return path


def join(table: Path, predictions: Path) -> Iterator[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        known = {row["path"]: row for row in csv.DictReader(file)}
    for p in json.loads(predictions.read_text(encoding="utf-8")):
        row = known[p["video"]]
        yield {
            "video": Path(p["video"]).name,
            "label": row["label"],
            "score": "" if p["confidence"] is None else str(p["confidence"]),
            "category": row["method"] or "real",
            "reason": p["reason"] or "",
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--role")
    parser.add_argument("--label")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--predictions", type=Path)
    args = parser.parse_args()
    if args.predictions:
        rows = list(join(args.table, args.predictions))
    else:
        rows = list(choose(args.table, args.role, args.label, args.photos))
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
    main()
