"""Which videos of a corpus show the same footage? Told by their faces."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from unmask.corpora import VideoRecord
from unmask.data import pt_file
from unmask.data.preprocessor import VideoPreprocessor
from unmask.engine import HERE, Engine, Outcome, Progress, run, silent
from unmask.faces.duplicates import WIDTH, Fingerprints, describe, same_footage

_TIMEOUT = 3660.0  # seconds a file; the reader gives up a minute earlier, and says more


def fingerprint(path: Path) -> Fingerprints:
    """(n, 256) float32, a row a face, of up to 8 faces of a `.pt` file or a video.

    Raises:
        VideoError, StoreError: the file cannot be used.
    """
    if path.suffix == pt_file.SUFFIX:
        video = pt_file.read(path)
    else:
        video = VideoPreprocessor(target_fps=1, image_size=64).process_video(path)
    return describe([crop for track in video.tracks for crop in track.crops])


def find_footage(
    records: Sequence[VideoRecord],
    engine: Engine = HERE,
    on_progress: Progress = silent,
) -> tuple[list[VideoRecord], list[Outcome[Path, Fingerprints]]]:
    """Give every video the name of the footage that it shares with others.

    Args:
        records: `.pt` files, which is quick, or videos, in which faces are searched for first.
        engine: where.
        on_progress: called after each video.

    Returns:
        The same videos, with `footage` set where they share some; and what could not be read.
    """
    paths = [record.path for record in records]
    found: dict[Path, Fingerprints] = {}
    failed = []
    for finished, outcome in enumerate(run(fingerprint, paths, engine, timeout=_TIMEOUT), 1):
        if outcome.result is None:
            failed.append(outcome)
        else:
            found[outcome.item] = outcome.result
        on_progress(finished, len(paths), len(failed))
    empty = np.zeros((0, WIDTH), np.float32)
    groups = same_footage([found.get(path, empty) for path in paths])
    videos = Counter(groups)
    names = {group: f"footage of {paths[group].stem}" for group in videos}
    return [
        replace(record, footage=names[group]) if videos[group] > 1 else record
        for record, group in zip(records, groups, strict=True)
    ], failed
