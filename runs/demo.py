"""The whole road in small, offline: simulated clips, faces, a model, verdicts, segments.

A filmed face is what the product is for, but none may be shipped. So two public-domain
photographs (Grace Hopper, in matplotlib; Eileen Collins, in scikit-image) are filmed by a camera
that moves and is noisy, and part of some clips is manipulated by self-blending. That shows that
the road holds. It says nothing about how well real deepfakes are found.
"""

import argparse
import json
import logging
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import skimage.data
from numpy.typing import NDArray

from unmask.atomic import replacing
from unmask.corpora import VideoRecord, lay_out, write_table
from unmask.detector import Detector, Prediction
from unmask.encode import encode
from unmask.faces import MTCNN
from unmask.preprocess import VideoPreprocessor, preprocess_tree
from unmask.report import as_text, prediction_dict
from unmask.settings import make_config
from unmask.synth import SelfBlend
from unmask.train import train

FPS, SECONDS, SIDE = 10, 5.0, 256
VAL_TAKES = 3


def photographs() -> dict[str, NDArray[np.uint8]]:
    hopper = cv2.imread(str(Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg"))
    assert hopper is not None
    return {
        "hopper": np.ascontiguousarray(hopper[..., ::-1], dtype=np.uint8),
        "collins": np.ascontiguousarray(skimage.data.astronaut(), dtype=np.uint8),
    }


def film(
    photo: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    rng: np.random.Generator,
    segments: list[tuple[float, float]],
) -> Iterator[NDArray[np.uint8]]:
    """A moving, noisy camera on a photograph, manipulated within the segments."""
    blends = [SelfBlend.draw(rng) for _ in segments]
    face = landmarks.mean(axis=0)
    zoom = SIDE / (np.linalg.norm(landmarks[0] - landmarks[1]) * rng.uniform(4.5, 6.5))
    speed, phase = rng.uniform(0.4, 1.2, 4), rng.uniform(0, 2 * np.pi, 4)
    light, noise, mirror = rng.uniform(0.8, 1.15), rng.uniform(1, 5), rng.random() < 0.5
    for number in range(int(FPS * SECONDS)):
        clock = number / FPS
        rgb = photo
        for (start, end), blend in zip(segments, blends, strict=True):
            if start <= clock < end:
                rgb = blend.apply(photo, landmarks, clock)
        wave = np.sin(speed * clock + phase)
        angle, scale = 0.08 * wave[0], zoom * (1 + 0.08 * wave[1])
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        place = np.array([0.5, 0.5]) * SIDE + wave[2:] * SIDE * 0.06 - turn @ face
        frame = cv2.warpAffine(
            rgb, np.column_stack([turn, place]), (SIDE, SIDE),
            flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT,
        ).astype(np.float32)  # fmt: skip
        frame = frame * light + rng.normal(0, noise, frame.shape)
        frame = frame[:, ::-1] if mirror else frame
        yield np.ascontiguousarray(np.clip(frame, 0, 255).astype(np.uint8))


def make_clips(out: Path, takes: int, seed: int) -> list[VideoRecord]:
    """Real and fake clips of both photographs; the takes differ in camera, light and noise."""
    detector, records = MTCNN(), []
    for person, photo in photographs().items():
        landmarks = detector.detect([photo])[0][0].landmarks
        for take in range(takes):
            split = "test" if take == 0 else "val" if take <= VAL_TAKES else "train"
            for label, category in ((0, "real"), (1, "fake")):
                rng = np.random.default_rng((seed, take, label, len(person)))
                start = float(rng.uniform(0.7, 1.7))
                part = [(start, start + float(rng.uniform(1.7, 2.7)))]
                segments = part if label else []
                path = out / "clips" / category / f"{person}_{take}.mp4"
                with replacing(path) as temporary:
                    frames = film(photo, landmarks, rng, segments)
                    encode(temporary, frames, Fraction(FPS), crf=23)
                record = VideoRecord(path, label, category, (person,), path.stem)
                records.append(replace(record, split=split, segments=tuple(segments)))
    return records


def draw(path: Path, predictions: list[Prediction], truth: list[VideoRecord]) -> None:
    """Score curves with the found and the true segments."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6 * len(predictions)), layout="constrained")
    for axes, p, record in zip(
        figure.subplots(len(predictions), 1, squeeze=False)[:, 0], predictions, truth, strict=True
    ):
        axes.plot([f.time for f in p.timeline], [f.score for f in p.timeline], "k.-", label="score")
        for start, end in record.segments or ():
            axes.axvspan(start, end, 0, 0.5, color="#d55e00", alpha=0.35, label="true")
        for s in p.segments:
            axes.axvspan(s.start, s.end, 0.5, 1, color="#0072b2", alpha=0.35, label="found")
        name = f"{record.category}/{record.path.name} (simulated)"
        axes.set(title=f"{name}: {p.verdict}", xlabel="seconds", ylabel="score")
        axes.set_ylim(-0.05, 1.05)
        axes.legend(loc="upper right")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description="The whole road in small, on simulated clips.")
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--takes", type=int, default=18, help="clips of each photograph and class")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(format="  %(message)s", level=logging.WARNING)
    logging.getLogger("unmask").setLevel(logging.INFO)
    out, begun = args.out, time.perf_counter()
    shutil.rmtree(out, ignore_errors=True)

    def step(text: str) -> None:
        print(f"[{time.perf_counter() - begun:4.0f} s] {text}", file=sys.stderr, flush=True)

    print(
        "These are SIMULATED clips: two photographs under a moving camera, part of some altered\n"
        "by self-blending. The model is trained here, on other takes of the same photographs. It\n"
        "shows that the road holds, not how well real deepfakes are found.",
        flush=True,
    )
    step("filming")
    records = make_clips(out, args.takes, args.seed)
    split = lay_out(records, out / "split")
    step(f"preprocessing {len(split)} clips")
    preprocessor = VideoPreprocessor(image_size=112)  # small, for two minutes of training
    report = preprocess_tree(out / "split", out / "processed", preprocessor, workers=2)
    assert not report.failed, report.failed
    step("training")
    config = make_config("default", {"epochs": str(args.epochs), "seed": str(args.seed)})
    evaluated = train(out / "processed", out / "model", config)
    step("judging the test takes")
    detector = Detector.from_pretrained(out / "model")
    truth = [r for r in records if r.split == "test"]
    predictions = list(detector.predict_many(r.path for r in truth))
    for record, prediction in zip(truth, predictions, strict=True):
        true = ", ".join(f"{s:.1f} to {e:.1f} s" for s, e in record.segments or ()) or "none"
        print(f"\n{as_text(prediction)}  truth: {record.category}, manipulated: {true}")
    write_table(out / "truth.jsonl", records)
    with replacing(out / "predictions.json") as temporary:
        temporary.write_text(json.dumps([prediction_dict(p) for p in predictions], indent=2))
    draw(out / "curves.png", predictions, truth)
    assert evaluated is not None
    print(
        f"\npredictions  {out}/predictions.json\ncurves       {out}/curves.png\n"
        f"evaluation   {out}/model/evaluation/\nmodel        {out}/model\n"
    )
    step("done")


if __name__ == "__main__":
    main()
