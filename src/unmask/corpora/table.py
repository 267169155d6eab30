"""The one table that every corpus becomes: a row a video."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

from unmask.atomic import write_text
from unmask.documents import STRICT, By, read_jsonl
from unmask.errors import CorpusError

TABLE = "videos.jsonl"  # its name inside a split or preprocessed tree
TRUTH = "truth.jsonl"  # beside synthesised fakes: which seconds are manipulated

SPLITS = ("train", "val", "test")
CATEGORIES = ("real", "fake")  # by label, where a corpus has no names of its own

_LABELS = {
    "celeb-real": 0,
    "youtube-real": 0,
    "real": 0,
    "celeb-synthesis": 1,
    "fake": 1,
}


def _category(name: object) -> object:
    if name in ("", ".", "..") or set("/\\\0") & set(str(name)):
        raise ValueError("should be the name of a folder")
    return name


def _split(name: object) -> object:
    if name not in (None, *SPLITS):
        raise ValueError(f"should be {', '.join(SPLITS[:-1])} or {SPLITS[-1]}")
    return name


Split = Annotated[str | None, By(_split)]


@dataclass(frozen=True)
class VideoRecord:
    """What is known of one video of a corpus.

    Attributes:
        path: the file.
        label: 0 real, 1 fake.
        category: its folder in the corpus, e.g. "Celeb-real".
        identities: who is to be seen in it or lent their face to it; empty if unknown.
        source: name of the recording that a fake was made from, or of the recording itself.
        method: how a fake was made.
        split: "train", "val" or "test" where that is settled.
        segments: (start, end) in seconds of what is manipulated; None if unknown.
        footage: what it shows as others do, told by its faces (see data.fingerprints); None if
            nobody looked, or nothing is shared.
    """

    path: Path
    label: Annotated[int, Ge(0), Le(1)]
    category: Annotated[str, By(_category)]
    identities: tuple[str, ...] = ()
    source: str | None = None
    method: str | None = None
    split: Split = None
    segments: tuple[tuple[float, float], ...] | None = None
    footage: str | None = None

    __pydantic_config__ = STRICT

    @property
    def kin(self) -> list[tuple[str, str]]:
        """What ties it to others: ("identity", name) of its people, ("source", name), "footage"."""
        kinds = (("source", self.source), ("footage", self.footage))
        own = [(kind, name) for kind, name in kinds if name]
        return [("identity", name) for name in self.identities] + own


def label_of(category: str) -> int | None:
    """0 (real) or 1 (fake) for the name of a category's folder; None if it names neither."""
    return _LABELS.get(category.lower())


def inside(root: Path, name: str | Path, table: Path) -> Path:
    """root / name, where that lies below root whatever links there are in it.

    Args:
        root: the folder that nothing may leave.
        name: of a file, as a row has it.
        table: with that row, for the error.

    Raises:
        CorpusError: it leaves the folder, or is the folder.
    """
    place, top = (root / name).absolute(), root.absolute()
    if ".." in Path(name).parts or place == top or not place.is_relative_to(top):
        cause = f"should be a file below {top}, or a link there"
        raise CorpusError(table, f"the row of {str(name)!r}: {cause}")
    return root / name


def write_table(path: str | Path, records: Iterable[VideoRecord]) -> None:
    """Write JSON lines; paths are relative to the table's folder.

    Raises:
        CorpusError: a video lies outside of that folder.
    """
    root, lines = Path(path).parent.absolute(), []
    for record in records:
        place = record.path.absolute()
        if not place.is_relative_to(root):
            raise CorpusError(path, f"{place}: should be a file below {root}")
        row = asdict(record) | {"path": place.relative_to(root).as_posix()}
        lines.append(json.dumps(row) + "\n")
    write_text(path, "".join(lines))


def read_table(path: str | Path) -> list[VideoRecord]:
    """Read what `write_table` wrote.

    Raises:
        CorpusError: not such a table, or one of videos outside of its folder.
    """
    path = Path(path)
    rows = read_jsonl(VideoRecord, path, CorpusError)
    return [replace(row, path=inside(path.parent, row.path, path)) for row in rows]
