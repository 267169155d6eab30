"""The `.pt` files of a preprocessed tree, as files or in shards."""

from dataclasses import replace
from pathlib import Path

from unmask import storage
from unmask.corpora import TABLE, VideoRecord, label_of, read_table
from unmask.data import pt_file, shards
from unmask.errors import CorpusError


def has_split(root_dir: str | Path, split: str) -> bool:
    """Whether a tree has `.pt` files, or room for them, in a split."""
    root = shards.tree_path(root_dir)
    return (root / split).is_dir() or bool(_packed(root, split))


def holds_faces(root_dir: str | Path, split: str) -> bool:
    """Whether a split holds `.pt` files."""
    root = shards.tree_path(root_dir)
    return any((root / split).glob(f"*/*{pt_file.SUFFIX}")) or bool(_packed(root, split))


def find_processed(root_dir: str | Path, split: str) -> list[VideoRecord]:
    """All `.pt` files of a split, by category, with what the table beside the tree knows.

    Args:
        root_dir: the tree; its path, or the address of one in shards.
        split: "train", "val" or "test".

    Raises:
        CorpusError: there is no such folder, no known category in it, or no file; or a shard has
            an index that cannot be used.
        StorageError: the address cannot be read.
    """
    root = shards.tree_path(root_dir)
    folder = root / split
    if not has_split(root, split):
        unfinished = sorted(root.glob(f"{split}-*{shards.SUFFIX}"))
        if unfinished:
            raise CorpusError(unfinished[0], "has no index (.tar.json) beside it: copy that, too")
        raise CorpusError(folder, "no such folder; expected <split>/<category>/*.pt, or shards")
    known = _table(root)
    paths = {root / name for name in _packed(root, split)}
    paths |= set(folder.glob(f"*/*{pt_file.SUFFIX}"))
    records = []
    for path in sorted(paths):
        category = path.parent.name
        label = label_of(category)
        if label is not None:
            records.append(known.get(path, VideoRecord(path, label, category, split=split)))
    if not records:
        raise CorpusError(folder, "no .pt file in Celeb-real/, Celeb-synthesis/, real/ or fake/")
    return records


def _packed(root: Path, split: str) -> list[str]:
    return [name for name in shards.members(root) if name.startswith(f"{split}/")]


def _table(root: Path) -> dict[Path, VideoRecord]:
    """What the table beside a tree knows of its files."""
    table = storage.join(shards.place_of(root), TABLE)
    if not storage.exists(table):
        return {}
    with storage.fetched(table) as file:
        rows = read_table(file)
        return {
            (path := root / row.path.relative_to(file.parent)): replace(row, path=path)
            for row in rows
        }
