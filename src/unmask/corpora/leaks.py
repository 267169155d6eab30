"""What training knows of the videos that it is judged by."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from unmask.atomic import write_text
from unmask.corpora.table import SPLITS, VideoRecord

LEAKS = "leaks.json"


@dataclass(frozen=True)
class Leak:
    """A person, a recording or footage that occurs in more than one split.

    Attributes:
        kind: "identity", "source" or "footage".
        name: of the person, of the recording, or of the first video with that footage.
        videos: how many videos it occurs in, by split; only splits in which it occurs.
    """

    kind: str
    name: str
    videos: dict[str, int]


def find_leaks(records: Sequence[VideoRecord]) -> list[Leak]:
    """People and recordings that splits share; each a leak, by kind and name."""
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for record in records:
        if record.split is not None:
            for key in record.kin:
                counts[key][record.split] += 1
    return [
        Leak(kind, name, {split: found[split] for split in SPLITS if split in found})
        for (kind, name), found in sorted(counts.items())
        if len(found) > 1
    ]


def write_leaks(folder: str | Path, leaks: Sequence[Leak]) -> None:
    """Write `leaks.json`.

    Raises:
        FileError: it cannot be written.
    """
    rows = [asdict(leak) for leak in leaks]
    write_text(Path(folder) / LEAKS, json.dumps(rows, indent=1) + "\n")


def drop_leaks(records: Sequence[VideoRecord]) -> list[VideoRecord]:
    """Without the videos of the earlier of two splits that share a person or a recording.

    The test split stays whole; val loses what test has, and train what is left of val or test has.
    """
    kept: set[VideoRecord] = set()
    taken: set[tuple[str, str]] = set()
    for split in reversed(SPLITS):
        clean = [r for r in records if r.split == split and not taken & set(r.kin)]
        kept |= set(clean)
        taken |= {key for record in clean for key in record.kin}
    return [record for record in records if record in kept]


def shares(records: Sequence[VideoRecord], kind: str, split: str = "test") -> tuple[int, int]:
    """(how many people or recordings of a split others have, too; how many it has)."""
    here = {k for r in records if r.split == split for k in r.kin if k[0] == kind}
    elsewhere = {k for r in records if r.split not in (split, None) for k in r.kin}
    return len(here & elsewhere), len(here)
