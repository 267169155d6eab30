"""A table of videos -> train, val and test, on disk as links."""

import random
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unmask.atomic import replacing
from unmask.corpora.table import SPLITS, TABLE, VideoRecord, inside, write_table
from unmask.errors import CorpusError, UsageError

WAYS = ("official", "identity", "source", "random")


def split_records(
    records: Sequence[VideoRecord],
    by: str | None = None,
    ratios: tuple[float, float, float] = (0.7, 0.15, 0.15),
    seed: int = 0,
) -> list[VideoRecord]:
    """Give every video a split.

    Args:
        records: the corpus.
        by: "official" keeps the corpus's own splits and fills the rest into train and val;
            "identity" keeps whole groups of people who are connected through fakes together;
            "source" keeps a recording and its fakes together; "random" keeps nothing together.
            None is "official" where the corpus has a test list, else "identity".
        ratios: shares of train, val and test.
        seed: of the shuffle.

    Returns:
        The same videos with `split` set. The label balance of each split is kept as far as
        whole groups allow.
    """
    official = any(record.split for record in records)
    by = by or ("official" if official else "identity")
    if by not in WAYS:
        raise UsageError(f"by must be one of {', '.join(WAYS)}, not {by!r}")
    if min(ratios) < 0 or sum(ratios) <= 0:
        raise UsageError(f"ratios must be positive, not {ratios}")
    if by == "official":
        if not official:
            raise CorpusError(records[0].path.parent.parent, "has no official split")
        settled = [record for record in records if record.split]
        rest = [record for record in records if not record.split]
        only = {r.split for r in settled}
        shares = tuple(0.0 if s in only else r for s, r in zip(SPLITS, ratios, strict=True))
        return settled + (_assign(related(rest, "source"), shares, seed) if rest else [])
    return _assign(related(records, by), ratios, seed)


def related(records: Sequence[VideoRecord], by: str) -> list[list[VideoRecord]]:
    """Videos that hang together: the connected components over what they share.

    Args:
        records: the videos.
        by: "identity" for people, recordings and footage, "source" for the last two only,
            "random" for nothing.
    """
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(key: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    kinds = {
        "identity": ("identity", "source", "footage"),
        "source": ("source", "footage"),
        "random": (),
    }[by]

    def keys(index: int, record: VideoRecord) -> list[tuple[str, str]]:
        return [key for key in record.kin if key[0] in kinds] or [("video", str(index))]

    for index, record in enumerate(records):
        first, *others = keys(index, record)
        for other in others:
            parent[root(other)] = root(first)
    groups: dict[tuple[str, str], list[VideoRecord]] = defaultdict(list)
    for index, record in enumerate(records):
        groups[root(keys(index, record)[0])].append(record)
    return list(groups.values())


def _assign(
    groups: list[list[VideoRecord]], ratios: Sequence[float], seed: int
) -> list[VideoRecord]:
    """Largest group first, each to the split that lacks most of that group's labels."""
    if sum(ratios) <= 0:
        raise UsageError("no split is left for the videos that the official list leaves out")
    totals = [sum(r.label == label for g in groups for r in g) for label in (0, 1)]
    wanted = {
        split: [total * ratio / sum(ratios) for total in totals]
        for split, ratio in zip(SPLITS, ratios, strict=True)
        if ratio > 0
    }
    random.Random(seed).shuffle(groups)
    assigned = []
    for group in sorted(groups, key=len, reverse=True):
        have = [sum(r.label == label for r in group) for label in (0, 1)]
        lack = {
            split: sum(w / (t or 1) * h for w, t, h in zip(want, totals, have, strict=True))
            for split, want in wanted.items()
        }
        split = max(lack, key=lambda name: lack[name])
        wanted[split] = [w - h for w, h in zip(wanted[split], have, strict=True)]
        assigned += [replace(record, split=split) for record in group]
    return assigned


def lay_out(
    records: Sequence[VideoRecord], target: str | Path, copy: bool = False
) -> list[VideoRecord]:
    """Make `target/<split>/<category>/<file>` as links (or copies) and the table beside them.

    Running it again leaves what already stands as it should and removes links of an earlier
    split that would put a video into two splits.

    Returns:
        The records with their new paths.
    """
    target = Path(target)
    earlier = {p for s in SPLITS for p in (target / s).glob("*/*") if p.is_symlink()}
    placed: dict[Path, VideoRecord] = {}
    for record in records:
        if record.split is None:
            raise UsageError(f"{record.path} has no split")
        if not record.path.exists():
            raise CorpusError(record.path, "no such file")
        folder, name = f"{record.split}/{record.category}", record.path.name
        place = inside(target, f"{folder}/{name}", record.path)
        if place in placed:  # same name in another folder of the corpus
            apart = (record.method or record.path.parent.name).replace("/", "-")
            place = target / folder / f"{apart}__{name}"
        if place in placed:
            raise CorpusError(record.path, f"and {placed[place].path} have the same name")
        placed[place] = record
    for stale in earlier - set(placed):
        stale.unlink()
    for place, record in placed.items():
        _place(record.path, place, copy)
    moved = [replace(record, path=place) for place, record in placed.items()]
    write_table(target / TABLE, moved)
    return moved


def _place(source: Path, place: Path, copy: bool) -> None:
    if copy:
        same = place.is_file() and not place.is_symlink()
        if same and place.stat().st_size == source.stat().st_size:
            return
        with replacing(place) as temporary:
            shutil.copy2(source, temporary)
    elif not (place.is_symlink() and place.resolve() == source.resolve()):
        with replacing(place) as temporary:
            temporary.symlink_to(source.resolve())
