"""Datasets of videos -> one table of videos; splits."""

from unmask.corpora.layouts import read_corpus
from unmask.corpora.splits import SPLITS, lay_out, split_records
from unmask.corpora.table import TABLE, TRUTH, VideoRecord, label_of, read_table, write_table

__all__ = [
    "SPLITS",
    "TABLE",
    "TRUTH",
    "VideoRecord",
    "label_of",
    "lay_out",
    "read_corpus",
    "read_table",
    "split_records",
    "write_table",
]
