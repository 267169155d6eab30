"""FaceForensics++ (Rössler et al. 2019, ICCV) and, in the same tree, the DeepFakeDetection set."""

import logging
import re
from dataclasses import replace
from pathlib import Path

from unmask.corpora.table import VideoRecord
from unmask.documents import read_json
from unmask.errors import CorpusError
from unmask.video.reader import find_videos

log = logging.getLogger("unmask")
_REAL, _FAKE = "original_sequences", "manipulated_sequences"
_COMPRESSIONS = ("c23", "c40", "raw")  # the first that is there
_PAIR = re.compile(r"(\d+)_(\d+)")  # target, source of the face
_ACTORS = re.compile(r"(\d+)_(\d+)__(.+)__\w{8}")  # target, source, scene of the target
_ACTOR = re.compile(r"(\d+)__(.+)")  # actor, scene
_SPLITS = {"train.json": "train", "val.json": "val", "test.json": "test"}


def matches(path: Path) -> bool:
    """Whether originals or manipulations are there."""
    return (path / _REAL).is_dir() or (path / _FAKE).is_dir()


def read(path: Path) -> list[VideoRecord]:
    """One compression of every sequence: c23 where it is there, else c40, else raw.

    A recording's number stands for the person in it. The split is that of train.json, val.json and
    test.json (lists of pairs, both orders of which are fakes), beside the sequences or in splits/.
    """
    compression = next((c for c in _COMPRESSIONS if list(path.glob(f"*_sequences/*/{c}"))), None)
    if compression is None:
        raise CorpusError(path, f"no <sequence>/<method>/{{{','.join(_COMPRESSIONS)}}}/videos/")
    others = {c for c in _COMPRESSIONS if c != compression and list(path.glob(f"*/*/{c}"))}
    if others:
        log.info("%s: %s is read, not %s", path, compression, ", ".join(sorted(others)))
    splits = _read_splits(path)
    records = []
    for label, sequences in ((0, _REAL), (1, _FAKE)):
        for folder in sorted((path / sequences).glob(f"*/{compression}/videos")):
            method = folder.parent.parent.name
            for video in find_videos(folder):
                category = "fake" if label else "real"
                record = VideoRecord(video, label, category, method=method if label else None)
                records.append(_named(record, splits))
    return records


def _named(record: VideoRecord, splits: dict[str, str]) -> VideoRecord:
    stem = record.path.stem
    if match := _ACTORS.fullmatch(stem):
        target, donor, scene = match.groups()
        people = (f"actor {target}", f"actor {donor}")
        return replace(record, identities=people, source=f"{target}__{scene}")
    if match := _ACTOR.fullmatch(stem):
        return replace(record, identities=(f"actor {match[1]}",), source=stem)
    if match := _PAIR.fullmatch(stem):
        both = replace(record, identities=match.groups(), source=match[1])
        return replace(both, split=splits.get(match[1]))
    return replace(record, identities=(stem,), source=stem, split=splits.get(stem))


def _read_splits(path: Path) -> dict[str, str]:
    """The split of every recording that an official list names."""
    found: dict[str, str] = {}
    for name, split in _SPLITS.items():
        file = next((f for f in (path / name, path / "splits" / name) if f.exists()), None)
        if file is None:
            continue
        for pair in read_json(list[tuple[str, str]], file, CorpusError):
            for recording in pair:
                if found.setdefault(recording, split) != split:
                    raise CorpusError(file, f"{recording} is in two splits")
    return found
