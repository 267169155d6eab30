"""The main job, offline: two simulated clips, their verdicts, and where the fake is.

A filmed face is what the product is for, but none may be shipped. So two public-domain
photographs (Eileen Collins, in scikit-image; Grace Hopper, in matplotlib) are filmed by a camera
that moves and is noisy; for most of the second clip Hopper's face is replaced by Collins's. That
shows what a verdict looks like. It says nothing about how well real deepfakes are found:
`unmask info small` does.
"""

import argparse
import json
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

from unmask.atomic import replacing, write_text
from unmask.corpora import VideoRecord, write_table
from unmask.detection.detector import Detector
from unmask.detection.formats import as_text
from unmask.detection.heatmap import save_heatmaps
from unmask.detection.prediction import Prediction
from unmask.faces import MTCNN
from unmask.synth.manipulation import Scene
from unmask.synth.patch import Patch
from unmask.synth.swap import FaceSwap
from unmask.video.encoder import encode

FPS, SECONDS, SIDE = 12, 10.0, 360
MANIPULATED = (1.0, 9.7)


def photographs() -> dict[str, NDArray[np.uint8]]:
    hopper = cv2.imread(str(Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg"))
    assert hopper is not None
    return {
        "collins": np.ascontiguousarray(skimage.data.astronaut(), dtype=np.uint8),
        "hopper": np.ascontiguousarray(hopper[..., ::-1], dtype=np.uint8),
    }


def film(
    photo: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    rng: np.random.Generator,
    segments: tuple[tuple[float, float], ...],
    swap: FaceSwap,
) -> Iterator[NDArray[np.uint8]]:
    """A moving, noisy camera on a photograph, its face swapped within the segments."""
    face = landmarks.mean(axis=0)
    zoom = SIDE / (np.linalg.norm(landmarks[0] - landmarks[1]) * rng.uniform(4.5, 6.5))
    speed, phase = rng.uniform(0.4, 1.2, 4), rng.uniform(0, 2 * np.pi, 4)
    noise = rng.uniform(1, 3)
    for number in range(int(FPS * SECONDS)):
        clock = number / FPS
        rgb = photo
        if any(start <= clock < end for start, end in segments):
            rgb = swap.apply(photo, landmarks, clock).rgb
        wave = np.sin(speed * clock + phase)
        angle, scale = 0.08 * wave[0], zoom * (1 + 0.08 * wave[1])
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        place = np.array([0.5, 0.5]) * SIDE + wave[2:] * SIDE * 0.06 - turn @ face
        frame = cv2.warpAffine(
            rgb, np.column_stack([turn, place]), (SIDE, SIDE),
            flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT,
        ).astype(np.float32)  # fmt: skip
        frame += rng.normal(0, noise, frame.shape)
        yield np.ascontiguousarray(np.clip(frame, 0, 255).astype(np.uint8))


def make_clips(out: Path, seed: int) -> list[VideoRecord]:
    """One clip as the camera saw it, one manipulated for some seconds."""
    photos, records = photographs(), []
    found = MTCNN().detect(list(photos.values()))
    faces = {person: faces[0].landmarks for person, faces in zip(photos, found, strict=True)}
    donor = Patch.cut(photos["collins"], faces["collins"])
    assert donor is not None
    swap = FaceSwap.draw(np.random.default_rng(seed), Scene(other=[donor]))
    swap = replace(swap, mask=replace(swap.mask, region="face", ratio=1.0), changes=())
    for label, (person, photo) in enumerate(photos.items()):
        category = ("real", "fake")[label]
        path = out / "clips" / category / f"{person}.mp4"
        segments = (MANIPULATED,) if label else ()
        with replacing(path) as temporary:
            rng = np.random.default_rng((seed, label))
            frames = film(photo, faces[person], rng, segments, swap)
            encode(temporary, frames, Fraction(FPS), crf=20, container="mp4")
        records.append(VideoRecord(path, label, category, (person,), person, segments=segments))
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
        figure.savefig(temporary, dpi=110, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description="Two simulated clips and their verdicts.")
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--model", default="small")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    out, begun = args.out, time.perf_counter()
    shutil.rmtree(out, ignore_errors=True)
    print(
        "These are SIMULATED clips: two photographs under a moving camera, in one of them the\n"
        "face swapped for some seconds. They show what a verdict looks like; how well real\n"
        "deepfakes are found, and which are not, stands in `unmask info small`.",
        flush=True,
    )
    records = make_clips(out, args.seed)
    detector = Detector.from_pretrained(args.model)
    predictions = list(detector.predict(record.path for record in records))
    for record, prediction in zip(records, predictions, strict=True):
        true = ", ".join(f"{s:.1f} to {e:.1f} s" for s, e in record.segments or ()) or "none"
        print(f"\n{as_text(prediction)}  truth: {record.category}, manipulated: {true}")
    write_table(out / "truth.jsonl", records)
    write_text(out / "predictions.json", json.dumps([p.to_dict() for p in predictions]))
    draw(out / "curves.png", predictions, records)
    save_heatmaps(predictions[1], detector.bundle.spec, out / "heatmap.png")
    print(f"\npredictions  {out}/predictions.json\ncurves       {out}/curves.png")
    print(f"heatmap      {out}/heatmap.png")
    print(f"{time.perf_counter() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
