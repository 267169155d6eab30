"""Which corpus is it? Recognised by looking, or named."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unmask.corpora import audiovisual, celeb, dfdc, faceforensics, folders
from unmask.corpora.table import VideoRecord
from unmask.errors import CorpusError, UsageError


@dataclass(frozen=True)
class Layout:
    """How a corpus lies on disk.

    Attributes:
        looks_for: what makes it known, for people.
        matches: whether a folder or file is of this layout.
        read: makes the table; raises CorpusError if it cannot.
    """

    looks_for: str
    matches: Callable[[Path], bool]
    read: Callable[[Path], list[VideoRecord]]


LAYOUTS = {
    "celeb-df": Layout("Celeb-real/, YouTube-real/ or Celeb-synthesis/", celeb.matches, celeb.read),
    "faceforensics": Layout(
        "original_sequences/ or manipulated_sequences/", faceforensics.matches, faceforensics.read
    ),
    "dfdc": Layout(
        "dfdc_train_part_*/metadata.json, metadata.json or labels.csv", dfdc.matches, dfdc.read
    ),
    "dfdc-preview": Layout("dataset.json", dfdc.matches_preview, dfdc.read_preview),
    "fakeavceleb": Layout(
        "{Real,Fake}Video-{Real,Fake}Audio/",
        audiovisual.matches_fakeavceleb,
        audiovisual.read_fakeavceleb,
    ),
    "lav-df": Layout("metadata.min.json", audiovisual.matches_lav_df, audiovisual.read_lav_df),
    "av-deepfake1m": Layout(
        "train_metadata.json or val_metadata.json",
        audiovisual.matches_av_deepfake1m,
        audiovisual.read_av_deepfake1m,
    ),
    "folders": Layout(
        "real/ or fake/, also below train/, val/, test/", folders.matches, folders.read
    ),
    "csv": Layout("a .csv with the columns path and label", folders.matches_csv, folders.read_csv),
}


def read_corpus(path: str | Path, name: str | None = None) -> list[VideoRecord]:
    """Read a corpus, recognised by looking unless its layout is named.

    Raises:
        CorpusError: no layout fits, or several do, or what is there holds no videos.
        UsageError: there is no layout of that name.
    """
    path = Path(path)
    if name is not None and name not in LAYOUTS:
        raise UsageError(f"unknown corpus {name!r}; there are {', '.join(LAYOUTS)}")
    if not path.exists():
        raise CorpusError(path, "no such file or folder")
    fitting = [name] if name else [key for key, layout in LAYOUTS.items() if layout.matches(path)]
    if not fitting:
        raise CorpusError(path, f"no known layout: {_looked_for()}; found {_found(path)}")
    if len(fitting) > 1:
        raise CorpusError(
            path,
            f"fits {' and '.join(fitting)}: {_looked_for(fitting)}; say which with --corpus",
        )
    layout = LAYOUTS[fitting[0]]
    records = layout.read(path)
    if not records:
        raise CorpusError(path, f"no videos; looked for {layout.looks_for}; found {_found(path)}")
    return records


def _looked_for(names: list[str] | None = None) -> str:
    chosen = {name: LAYOUTS[name] for name in names or LAYOUTS}
    return "looked for " + "; ".join(f"{layout.looks_for} ({n})" for n, layout in chosen.items())


def _found(path: Path) -> str:
    if not path.is_dir():
        return f"a file {path.name}"
    names = sorted(entry.name for entry in path.iterdir())
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more or "nothing"
