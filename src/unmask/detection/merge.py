"""Predictions of several shards -> one file, as one run would have written it."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from unmask.atomic import write_text
from unmask.detection import formats
from unmask.errors import FileError, UsageError

MERGED = (".jsonl", ".csv", ".json")


class _Row(NamedTuple):
    """A prediction in a part: its key, its model's checksum if the format says it, its text."""

    part: str
    key: str
    model: str
    text: str


def merge(parts: Sequence[str | Path], out: str | Path) -> int:
    """Join what `predict --shard` wrote, in the order of the inputs; of JSON lines, as they ended.

    A prediction that stands in several parts is taken once.

    Args:
        parts: files of one format, in the order of the shards.
        out: the file to write, whole or not at all; `.jsonl`, `.csv` or `.json`, as the parts.

    Returns:
        How many predictions it holds.

    Raises:
        UsageError: another format, or parts of different ones.
        FileError: a part cannot be read, or two of them do not belong together.
    """
    suffix = Path(out).suffix.lower()
    if suffix not in MERGED or any(Path(part).suffix.lower() != suffix for part in parts):
        raise UsageError(f"merge takes files of one kind, {', '.join(MERGED)}, and writes it")
    rows: dict[str, _Row] = {}
    # Shards take turns, so their rows do.
    for turn in zip_longest(*[list(_read(Path(part), suffix)) for part in parts]):
        for row in filter(None, turn):
            first = rows.setdefault(row.key, row)
            if first.text != row.text:
                raise FileError(row.part, f"says something else of a video than {first.part}")
    models = {row.model: row.part for row in rows.values()}
    if len(models) > 1:
        one, other, *_ = models.values()
        raise FileError(other, f"is of another model than {one}: score all shards with the same")
    texts = [row.text for row in rows.values()]
    if suffix == ".json":
        write_text(out, json.dumps([json.loads(text) for text in texts], indent=2) + "\n")
    else:
        head = [formats.csv_lines([formats.CSV_COLUMNS])] if suffix == ".csv" else []
        write_text(out, "".join(head + texts))
    return len(texts)


def _read(part: Path, suffix: str) -> Iterator[_Row]:
    try:
        text = part.read_text(encoding="utf-8", errors="surrogateescape")
        if suffix == ".csv":
            head, *lines = csv.reader(io.StringIO(text, newline=""))
            if tuple(head) != formats.CSV_COLUMNS:
                raise ValueError("other columns")
            for cells in lines:
                key = dict(zip(formats.CSV_COLUMNS, cells, strict=True))["key"]
                yield _Row(str(part), key, "", formats.csv_lines([cells]))
            return
        found = json.loads(text) if suffix == ".json" else map(json.loads, text.splitlines())
        for row in found if not isinstance(found, dict) else [found]:
            model, line = str(row["model"]["sha256"]), json.dumps(row) + "\n"
            yield _Row(str(part), str(row["key"]), model, line)
    except OSError as error:
        raise FileError(part, f"cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, RecursionError, csv.Error) as error:
        raise FileError(part, "holds no predictions, or an unfinished line: let that shard go on "
                        "with --resume, and merge again") from error  # fmt: skip
