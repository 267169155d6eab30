"""Can real and fake be told apart by anything but the manipulation?

    python benchmarks/balance.py FAKES...

FAKES are folders that `unmask synth` left. Classifiers learn, on the pairs of other recordings,
from what should say nothing: the file (size, bit rate, resolution, length, rate), and the pixels
that the manipulation did not touch (brightness, contrast, sharpness, noise, change over time).
AUC of the pairs left out in turn, with an interval clustered by recording; 0.5 is chance.
"""

import argparse
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold, cross_val_predict

from unmask.corpora import read_table
from unmask.evaluation.measures import auc_roc, intervals
from unmask.synth.tree import MASKS
from unmask.video.reader import Video

FRAMES = 12  # spread over a clip


def of_file(path: Path) -> list[float]:
    with Video(path) as video:
        info = video.info
        size, seconds = path.stat().st_size, info.duration or 1.0
        return [size, size / seconds, info.width, info.height, seconds, info.fps or 0.0]


def touched(path: Path) -> NDArray[np.bool_]:
    """(H, W): replaced in any frame of the fake."""
    with av.open(str(path)) as file:
        masks = (frame.to_ndarray(format="gray") > 0 for frame in file.decode(video=0))
        found = next(masks)
        for mask in masks:
            found |= mask
    return cv2.dilate(found.astype(np.uint8), np.ones((33, 33), np.uint8)) > 0  # codec's blocks


def of_pixels(path: Path, where: NDArray[np.bool_]) -> list[float]:
    with Video(path) as video:
        frames = [frame.rgb for frame in video.frames()]
    rows, before = [], None
    for number in np.linspace(1, len(frames) - 1, FRAMES).astype(int):
        grey = cv2.cvtColor(frames[number], cv2.COLOR_RGB2GRAY).astype(np.float32)
        before = cv2.cvtColor(frames[number - 1], cv2.COLOR_RGB2GRAY).astype(np.float32)
        inside = ~where[: grey.shape[0], : grey.shape[1]]
        detail = cv2.Laplacian(grey, cv2.CV_32F)[inside]
        noise = (grey - cv2.medianBlur(grey, 3))[inside]
        change = np.abs(grey - before)[inside]
        values = grey[inside]
        rows.append([values.mean(), values.std(), detail.std(), noise.std(), change.mean()])
    return [float(value) for value in np.mean(rows, axis=0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fakes", type=Path, nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    features: dict[str, list[list[float]]] = {"file": [], "untouched pixels": []}
    labels, recordings = [], []
    for folder in args.fakes:
        for record in read_table(folder / "truth.jsonl"):
            real = folder / "Celeb-real" / f"{record.source}.mp4"
            where = touched(folder / MASKS / f"{record.path.stem}.nut")
            if where.mean() > 0.9:
                continue  # a face that fills the picture leaves nothing to look at
            for label, path in enumerate((real, record.path)):
                features["file"].append(of_file(path))
                features["untouched pixels"].append(of_pixels(path, where))
                labels.append(label)
                recordings.append(str(record.source))
    y = np.array(labels)
    print(f"{len(y) // 2} pairs of {len(set(recordings))} recordings")
    for name, rows in features.items():
        forest = RandomForestClassifier(300, min_samples_leaf=3, random_state=args.seed)
        scores = cross_val_predict(
            forest, np.array(rows), y, groups=recordings, cv=GroupKFold(5), method="predict_proba"
        )[:, 1]
        between = intervals(y, scores, recordings, ["auc_roc"])["auc_roc"]
        print(f"{name:18} AUC {auc_roc(y, scores):.3f} ({between.low:.3f}-{between.high:.3f})")


if __name__ == "__main__":
    main()
