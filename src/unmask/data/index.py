"""The `.pt` files of a preprocessed tree."""

from pathlib import Path

from unmask.corpora import TABLE, VideoRecord, label_of, read_table
from unmask.data import pt_file
from unmask.errors import CorpusError


def find_processed(root_dir: str | Path, split: str) -> list[VideoRecord]:
    """All `.pt` files of a split, by category, with what the table beside the tree knows.

    Raises:
        CorpusError: there is no such folder, no known category in it, or no file.
    """
    folder = Path(root_dir) / split
    if not folder.is_dir():
        raise CorpusError(folder, "no such folder; expected <split>/<category>/*.pt")
    table = Path(root_dir) / TABLE
    known = {row.path: row for row in read_table(table)} if table.exists() else {}
    records = []
    for category in sorted(path for path in folder.iterdir() if path.is_dir()):
        label = label_of(category.name)
        if label is None:
            continue
        for path in sorted(category.glob(f"*{pt_file.SUFFIX}")):
            fresh = VideoRecord(path, label, category.name, split=split)
            records.append(known.get(path, fresh))
    if not records:
        raise CorpusError(folder, "no .pt file in Celeb-real/, Celeb-synthesis/, real/ or fake/")
    return records
