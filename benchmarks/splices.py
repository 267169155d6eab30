"""Partly faked clips, spliced from fakes and their own recordings: how well are segments found?

splices.py CLIPS.csv OUT [--split val] [--seed 0], then

    unmask evaluate OUT --split all --model MODEL

CLIPS.csv is a corpus in which a fake names its recording (column source). OUT becomes a corpus of
its own: each recording, re-encoded, with its fake's pictures in place of its own for a fifth to a
half of the time. A fake that does not show its recording picture by picture (other sizes of the
frame by more than a tenth, another length by more than a fifth) is left out.
"""

import argparse
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.atomic import replacing
from unmask.corpora import VideoRecord, read_corpus, write_table
from unmask.video.encoder import encode
from unmask.video.reader import Video

SECONDS, CRF = 20.0, 20
SHORTEST = 3.0  # seconds of a clip


def pictures(path: Path) -> tuple[list[NDArray[np.uint8]], float]:
    """The first seconds of a video, and its rate."""
    with Video(path) as video:
        fps = video.info.fps or 25.0
        return [frame.rgb for frame in video.frames() if frame.time < SECONDS], fps


def splice(fake: VideoRecord, real: VideoRecord, out: Path, seed: int) -> list[VideoRecord]:
    """The recording, and the recording with a part of the fake; nothing where they do not fit."""
    (one, fps), (other, other_fps) = pictures(real.path), pictures(fake.path)
    length = min(len(one), len(other))
    sizes = np.array([one[0].shape[:2], other[0].shape[:2]], float)
    if (
        length < SHORTEST * fps
        or abs(len(one) - len(other)) > 0.2 * length
        or abs(fps - other_fps) > 0.1
        or (np.abs(sizes[0] / sizes[1] - 1) > 0.1).any()
    ):
        return []
    rng = np.random.default_rng((seed, length))
    part = int(length * rng.uniform(0.2, 0.5))
    start = int(rng.integers(0, length - part + 1))
    height, width = one[0].shape[:2]
    mixed = [*one[:length]]
    for k in range(start, start + part):
        sized = cv2.resize(other[k], (width, height), interpolation=cv2.INTER_AREA)
        mixed[k] = np.asarray(sized, np.uint8)
    rate = Fraction(fps).limit_denominator(1001)
    rows = []
    for label, frames in enumerate((one[:length], mixed)):
        category = ("real", "fake")[label]
        path = out / category / f"{fake.path.stem}.mp4"
        with replacing(path) as temporary:
            encode(temporary, iter(frames), rate, CRF, container="mp4")
        period = ((float(start / rate), float((start + part) / rate)),) if label else ()
        method = fake.method if label else None
        rows.append(VideoRecord(path, label, category, fake.identities, fake.source, method,
                                segments=period))  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    records = [record for record in read_corpus(args.corpus) if record.split == args.split]
    reals = {record.source: record for record in records if not record.label}
    rows = []
    for number, fake in enumerate(record for record in records if record.label):
        if fake.source in reals:
            rows += splice(fake, reals[fake.source], args.out, args.seed + number)
    write_table(args.out / "videos.jsonl", rows)
    print(f"{len(rows) // 2} spliced clips and their recordings in {args.out}")


if __name__ == "__main__":
    main()
