"""How large is the page of a long clip? A short one, repeated, is judged and reported.

python benchmarks/report.py CLIP [--minutes 10]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import unmask
from unmask.video.encoder import encode
from unmask.video.reader import Video


def repeated(clip: Path, target: Path, seconds: float) -> None:
    with Video(clip) as video:
        fps = Fraction(video.info.fps or 25).limit_denominator(1001)
        pictures = [frame.rgb for frame in video.frames()]
    endless: Iterator[NDArray[np.uint8]] = cycle(pictures)
    encode(target, islice(endless, round(seconds * fps)), fps, 26)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    chosen = parser.parse_args()
    model = unmask.load_model("small")
    with tempfile.TemporaryDirectory() as folder:
        long = Path(folder) / "long.mp4"
        repeated(chosen.clip, long, 60 * chosen.minutes)
        begin = time.perf_counter()
        prediction = model.predict(long)
        judged = time.perf_counter()
        page = unmask.write_report(prediction, model, folder)
        written = time.perf_counter()
        row = {
            "minutes": chosen.minutes,
            "faces": len(prediction.timeline),
            "page_mb": round(page.stat().st_size / 1e6, 2),
            "judged_s": round(judged - begin, 1),
            "reported_s": round(written - judged, 1),
        }
        print(json.dumps(row))


if __name__ == "__main__":
    main()
