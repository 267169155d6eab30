"""The one table that every corpus becomes: a row a video."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from unmask.atomic import write_text
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
    label: int
    category: str
    identities: tuple[str, ...] = ()
    source: str | None = None
    method: str | None = None
    split: str | None = None
    segments: tuple[tuple[float, float], ...] | None = None
    footage: str | None = None

    @property
    def kin(self) -> list[tuple[str, str]]:
        """What ties it to others: ("identity", name) of its people, ("source", name), "footage"."""
        kinds = (("source", self.source), ("footage", self.footage))
        own = [(kind, name) for kind, name in kinds if name]
        return [("identity", name) for name in self.identities] + own


def label_of(category: str) -> int | None:
    """0 (real) or 1 (fake) for the name of a category's folder; None if it names neither."""
    return _LABELS.get(category.lower())


def parse_label(text: object) -> int | None:
    """0 or 1 for what a table calls 0, 1, real or fake; None for anything else."""
    return {"0": 0, "real": 0, "1": 1, "fake": 1}.get(str(text).lower())


def write_table(path: str | Path, records: Iterable[VideoRecord]) -> None:
    """Write JSON lines; paths below the table's folder become relative to it."""
    root = Path(path).parent
    lines = []
    for record in records:
        row = asdict(record)
        inside = record.path.is_relative_to(root)
        row["path"] = (record.path.relative_to(root) if inside else record.path).as_posix()
        lines.append(json.dumps(row) + "\n")
    write_text(path, "".join(lines))


def read_table(path: str | Path) -> list[VideoRecord]:
    """Read what `write_table` wrote.

    Raises:
        CorpusError: not such a table.
    """
    path = Path(path)
    records = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = VideoRecord(**json.loads(line))
                segments = row.segments
                records.append(
                    replace(
                        row,
                        path=path.parent / row.path,
                        identities=tuple(row.identities),
                        segments=segments and tuple((float(a), float(b)) for a, b in segments),
                    )
                )
            except (TypeError, ValueError) as error:
                raise CorpusError(path, f"line {number} is no row of a video: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(path, f"cannot be read: {error}") from error
    return records
