"""How well do near-duplicate faces tell footage apart? The figures behind the limit of 0.95.

    python benchmarks/footage.py PROCESSED VIDEOS [--clips 20]

Of PROCESSED, a preprocessed tree with a table of people and recordings: how alike the faces of
different people are, and those of a fake and its recording. Of VIDEOS, the first so many clips:
how alike a clip is to corrupted copies of itself.
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np

from unmask.corpora import read_corpus
from unmask.data.fingerprints import fingerprint
from unmask.data.preprocessor import VideoPreprocessor
from unmask.faces.duplicates import Fingerprints, describe
from unmask.video.corruption import CLEAN, Corruption
from unmask.video.reader import find_videos

COPIES = (CLEAN, Corruption("h264", 4), Corruption("jpeg", 5), Corruption("resize", 3))


def alike(one: Fingerprints, other: Fingerprints) -> float:
    """The closest pair of faces."""
    return float((one @ other.T).max()) if len(one) and len(other) else -1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("processed", type=Path)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--clips", type=int, default=20)
    args = parser.parse_args()
    records = [(record, fingerprint(record.path)) for record in read_corpus(args.processed)]
    strangers, own = [], []
    for (a, one), (b, other) in combinations(records, 2):
        if a.label == b.label == 0 and not set(a.identities) & set(b.identities):
            strangers.append(alike(one, other))
        elif a.label != b.label and a.source == b.source:
            own.append(alike(one, other))
    print(f"{len(strangers)} pairs of people: the closest {np.sort(strangers)[-3:].round(3)}")
    print(f"{len(own)} fakes and their recordings: the farthest {np.sort(own)[:3].round(3)}")
    preprocessor = VideoPreprocessor(image_size=112)
    copies = []
    for path in find_videos(args.videos)[: args.clips]:
        rows = [
            describe([c.rgb for c in preprocessor.opening(change.open).stream(path)])
            for change in COPIES
        ]
        copies += [alike(one, other) for one, other in combinations(rows, 2)]
    print(f"{len(copies)} pairs of copies: the farthest {np.sort(copies)[:3].round(3)}")


if __name__ == "__main__":
    main()
