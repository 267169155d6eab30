"""Corpora whose videos are listed in a table: what their readers share."""

import json
import logging
from pathlib import Path
from typing import Any

from unmask.corpora.table import VideoRecord, parse_label
from unmask.errors import CorpusError

log = logging.getLogger("unmask")


def read_json(file: Path, kind: type) -> Any:
    """A JSON file of a kind; a CorpusError names one that is not."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(file, f"cannot be read: {error}") from error
    if not isinstance(content, kind):
        raise CorpusError(file, f"holds no {'list' if kind is list else 'table'} of videos")
    return content


def label_in(file: Path, name: str, text: object) -> int:
    """0 or 1 for what a table calls real or fake."""
    label = parse_label(text)
    if label is None:
        raise CorpusError(file, f"{name} is neither real nor fake: {text!r}")
    return label


def first_of(root: Path, folders: tuple[str, ...], name: str) -> Path:
    """The first of root/folder/name that exists; else the first."""
    places = [root / folder / name for folder in folders]
    return next((place for place in places if place.exists()), places[0])


def present(path: Path, records: list[VideoRecord]) -> list[VideoRecord]:
    """Those whose file is there; how many are not is said."""
    here = [record for record in records if record.path.exists()]
    missing = len(records) - len(here)
    if missing:
        log.warning("%s: %d of %d listed videos are not here", path, missing, len(records))
    return here
