"""Tables for runs/small.sh: choose clips from clips.csv, or put labels beside predictions.

table.py clips.csv --role train --label real      -> path,label,identity,method
table.py chosen.csv --predictions predictions.json -> video,label,score,category,reason
"""

import argparse
import csv
import json
import sys
from pathlib import Path


def choose(table: Path, role: str | None, label: str | None) -> list[dict[str, str]]:
    rows = []
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if role in (None, row["role"]) and label in (None, row["label"]):
                rows.append(
                    {
                        "path": str((table.parent / row["file"]).resolve()),
                        "label": row["label"],
                        "identity": row["identity"],
                        "method": row["manipulation"],
                    }
                )
    return rows


def join(table: Path, predictions: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        known = {row["path"]: row for row in csv.DictReader(file)}
    return [
        {
            "video": Path(p["video"]).name,
            "label": known[p["video"]]["label"],
            "score": "" if p["confidence"] is None else str(p["confidence"]),
            "category": known[p["video"]]["method"] or "real",
            "reason": p["reason"] or "",
        }
        for p in json.loads(predictions.read_text(encoding="utf-8"))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--role")
    parser.add_argument("--label")
    parser.add_argument("--predictions", type=Path)
    args = parser.parse_args()
    if args.predictions:
        rows = join(args.table, args.predictions)
    else:
        rows = choose(args.table, args.role, args.label)
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
    main()
