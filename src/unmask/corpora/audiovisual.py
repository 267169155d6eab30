"""Corpora in which sound may be faked, too. The label here is that of the picture."""

from dataclasses import dataclass
from pathlib import Path

from unmask.corpora.listed import first_of, present
from unmask.corpora.table import CATEGORIES, VideoRecord, inside
from unmask.documents import FOREIGN, read_csv, read_json
from unmask.errors import CorpusError
from unmask.video.reader import find_videos

_FAKEAV = ("RealVideo-RealAudio", "RealVideo-FakeAudio", "FakeVideo-RealAudio",
           "FakeVideo-FakeAudio")  # fmt: skip
_SPLITS = {"train": "train", "dev": "val", "val": "val", "test": "test"}


Periods = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _FakeAVCeleb:
    """A row of FakeAVCeleb's meta_data.csv: `path` is the file's name, the last the folder."""

    path: str
    method: str | None
    unnamed: str = ""


@dataclass(frozen=True)
class _LavDf:
    """A row of LAV-DF's metadata.min.json."""

    file: str
    modify_video: bool
    original: str | None = None
    split: str | None = None
    fake_periods: Periods | None = None

    __pydantic_config__ = FOREIGN


@dataclass(frozen=True)
class _AVDeepfake1M:
    """A row of AV-Deepfake1M's <split>_metadata.json."""

    file: str
    visual_fake_segments: Periods | None
    original: str | None = None
    modify_type: str | None = None

    __pydantic_config__ = FOREIGN


def matches_fakeavceleb(path: Path) -> bool:
    """Whether one of the four folders is there."""
    return any((path / name).is_dir() for name in _FAKEAV)


def read_fakeavceleb(path: Path) -> list[VideoRecord]:
    """FakeAVCeleb (Khalid et al. 2021): the folders have label and person, the CSV the method."""
    table = path / "meta_data.csv"
    methods = {
        (row.unnamed.strip("/").removeprefix("FakeAVCeleb/"), row.path): row.method
        for row in (read_csv(_FakeAVCeleb, table, CorpusError) if table.exists() else [])
    }
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


def matches_lav_df(path: Path) -> bool:
    """Whether LAV-DF's table is there."""
    return (path / "metadata.min.json").is_file()


def read_lav_df(path: Path) -> list[VideoRecord]:
    """LAV-DF (Cai et al. 2022): fakes in time, with their periods; `dev` is our val."""
    file = path / "metadata.min.json"
    records = []
    for row in read_json(list[_LavDf], file, CorpusError):
        label = int(row.modify_video)
        records.append(
            VideoRecord(
                inside(path, row.file, file),
                label,
                CATEGORIES[label],
                source=_stem(row.original or row.file),
                split=_SPLITS.get(str(row.split)),
                segments=(row.fake_periods or ()) if label else (),
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
        for row in read_json(list[_AVDeepfake1M], file, CorpusError) if file.exists() else []:
            label = int(bool(row.visual_fake_segments))
            folders = (path / split, path)
            records.append(
                VideoRecord(
                    first_of([inside(root, row.file, file) for root in folders]),
                    label,
                    CATEGORIES[label],
                    identities=(Path(row.file).parts[0],),  # id00012/<clip>/<part>/<kind>.mp4
                    source=_stem(row.original or row.file),
                    method=row.modify_type if label else None,
                    split=split,
                    segments=row.visual_fake_segments or (),
                )
            )
    return present(path, records)


def _stem(name: str) -> str:
    """A name of a recording: all of its path, without the suffix."""
    return (Path(name).parent / Path(name).stem).as_posix()
