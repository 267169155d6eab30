"""The history as one file: a table for spreadsheets, or everything as JSON."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from unmask.serve.jobs import Job

_COLUMNS = (
    "name", "status", "verdict", "evidence", "confidence", "reason", "model", "model_sha256",
    "sha256", "created", "started", "finished", "id",
)  # fmt: skip
_TIMES = ("created", "started", "finished")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(jobs: list[Job]) -> Iterator[str]:
    """A line for each job; times are UTC."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_COLUMNS)
    for job in jobs:
        lines.writerow(_cell(name, getattr(job, name)) for name in _COLUMNS)
    yield text.getvalue()


def _cell(name: str, value: object) -> object:
    if name in _TIMES and isinstance(value, float):
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")
    # A spreadsheet would compute what a client has called a file.
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def as_json(jobs: list[Job], results: Iterator[Path]) -> Iterator[str]:
    """A list of the jobs, each with its `result` as `unmask predict` has it; None if there is none.

    Args:
        jobs: to list.
        results: the file of each.
    """
    before = "[\n"
    for job, path in zip(jobs, results, strict=True):
        try:
            result = json.loads(path.read_text(encoding="utf-8")) if job.status == "done" else None
        except (OSError, ValueError):  # deleted in the meantime
            result = None
        yield before + json.dumps(asdict(job) | {"result": result})
        before = ",\n"
    yield "[]\n" if not jobs else "\n]\n"
