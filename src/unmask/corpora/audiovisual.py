"""Corpora in which sound may be faked, too. The label here is that of the picture."""

import csv
from pathlib import Path
from typing import Any

from unmask.corpora.listed import first_of, present, read_json
from unmask.corpora.table import CATEGORIES, VideoRecord
from unmask.errors import CorpusError
from unmask.video.reader import find_videos

_FAKEAV = ("RealVideo-RealAudio", "RealVideo-FakeAudio", "FakeVideo-RealAudio",
           "FakeVideo-FakeAudio")  # fmt: skip
_SPLITS = {"train": "train", "dev": "val", "val": "val", "test": "test"}


def matches_fakeavceleb(path: Path) -> bool:
    """Whether one of the four folders is there."""
    return any((path / name).is_dir() for name in _FAKEAV)


def read_fakeavceleb(path: Path) -> list[VideoRecord]:
    """FakeAVCeleb (Khalid et al. 2021): the folders have label and person, the CSV the method.

    In `meta_data.csv` the column `path` holds the file's name, and the last, which has no name,
    the folder.
    """
    methods = _fakeavceleb_methods(path / "meta_data.csv")
    records = []
    for name in _FAKEAV:
        label = int(name.startswith("Fake"))
        for video in find_videos(path / name) if (path / name).is_dir() else []:
            person = video.parent.name
            method = methods.get((f"{name}/{'/'.join(video.parts[-4:-1])}", video.name))
            if name == "RealVideo-FakeAudio":
                method = None  # of the sound
            records.append(VideoRecord(video, label, CATEGORIES[label], (person,), person, method))
    return records


def _fakeavceleb_methods(file: Path) -> dict[tuple[str, str], str]:
    """(folder, file name) -> method."""
    if not file.exists():
        return {}
    with file.open(newline="", encoding="utf-8-sig") as lines:
        rows = list(csv.reader(lines))
    header = rows[0] if rows else []
    if "path" not in header or "method" not in header:
        raise CorpusError(file, "has no columns path and method")
    name, method = header.index("path"), header.index("method")
    found = {}
    for row in rows[1:]:
        if len(row) > max(name, method):
            folder = row[-1].strip("/").removeprefix("FakeAVCeleb/")
            found[folder, row[name]] = row[method]
    return found


def matches_lav_df(path: Path) -> bool:
    """Whether LAV-DF's table is there."""
    return (path / "metadata.min.json").is_file()


def read_lav_df(path: Path) -> list[VideoRecord]:
    """LAV-DF (Cai et al. 2022): fakes in time, with their periods; `dev` is our val."""
    file = path / "metadata.min.json"
    records = []
    for row in read_json(file, list):
        name = _field(file, row, "file")
        label = int(bool(row.get("modify_video")))
        original = row.get("original")
        records.append(
            VideoRecord(
                path / name,
                label,
                CATEGORIES[label],
                source=_stem(original or name),
                split=_SPLITS.get(str(row.get("split"))),
                segments=_periods(file, row.get("fake_periods")) if label else (),
            )
        )
    return present(path, records)


def matches_av_deepfake1m(path: Path) -> bool:
    """Whether one of AV-Deepfake1M's tables is there."""
    return any((path / f"{split}_metadata.json").is_file() for split in ("train", "val"))


def read_av_deepfake1m(path: Path) -> list[VideoRecord]:
    """AV-Deepfake1M (Cai et al. 2024): scored against what is faked of the picture."""
    records = []
    for split in ("train", "val"):
        file = path / f"{split}_metadata.json"
        for row in read_json(file, list) if file.exists() else []:
            name = _field(file, row, "file")
            periods = _periods(file, row.get("visual_fake_segments"))
            label = int(bool(periods))
            records.append(
                VideoRecord(
                    first_of(path, (split, ""), name),
                    label,
                    CATEGORIES[label],
                    identities=(Path(name).parts[0],),  # id00012/<clip>/<part>/<kind>.mp4
                    source=_stem(row.get("original") or name),
                    method=str(row.get("modify_type")) if label else None,
                    split=split,
                    segments=periods,
                )
            )
    return present(path, records)


def _field(file: Path, row: Any, key: str) -> str:
    if not isinstance(row, dict) or not isinstance(row.get(key), str):
        raise CorpusError(file, f"a row has no {key!r}")
    return str(row[key])


def _stem(name: str) -> str:
    """A name of a recording: all of its path, without the suffix."""
    return Path(name).with_suffix("").as_posix()


def _periods(file: Path, value: Any) -> tuple[tuple[float, float], ...]:
    try:
        return tuple((float(start), float(end)) for start, end in value or ())
    except (TypeError, ValueError) as error:
        raise CorpusError(file, f"periods are not pairs of seconds: {value!r}") from error
