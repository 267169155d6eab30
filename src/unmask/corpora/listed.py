"""Corpora whose videos are listed in a table: what their readers share."""

import logging
from pathlib import Path

from unmask.corpora.table import VideoRecord

log = logging.getLogger("unmask")


def first_of(places: list[Path]) -> Path:
    """The first that exists; else the first."""
    return next((place for place in places if place.exists()), places[0])


def present(path: Path, records: list[VideoRecord]) -> list[VideoRecord]:
    """Those whose file is there; how many are not is said."""
    here = [record for record in records if record.path.exists()]
    missing = len(records) - len(here)
    if missing:
        log.warning("%s: %d of %d listed videos are not here", path, missing, len(records))
    return here
