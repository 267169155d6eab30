"""Datasets of videos -> one table of videos; splits."""

from unmask.corpora.layouts import LAYOUTS, read_corpus
from unmask.corpora.leaks import Leak, drop_leaks, find_leaks, shares, write_leaks
from unmask.corpora.splits import lay_out, related, split_records
from unmask.corpora.table import (
    SPLITS,
    TABLE,
    TRUTH,
    VideoRecord,
    label_of,
    read_table,
    write_table,
)

__all__ = [
    "LAYOUTS",
    "SPLITS",
    "TABLE",
    "TRUTH",
    "Leak",
    "VideoRecord",
    "drop_leaks",
    "find_leaks",
    "label_of",
    "lay_out",
    "read_corpus",
    "read_table",
    "related",
    "shares",
    "split_records",
    "write_leaks",
    "write_table",
]
