"""The faces that are followed against those that a search of every sample finds.

    python benchmarks/faces.py CLIPS [--seconds 12]

For every clip: both ways at 3 samples a second. A face is found where a box overlaps by more than
0.3; a person is a track that counts (see Tracker) among the faces of the exact search.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from unmask.faces import MTCNN, Face, FaceFinder, Sighting, Tracker
from unmask.video.reader import Frame, Video, find_videos

FPS = 3


def overlap(a: Face, b: Face) -> float:
    """Intersection over union."""
    low, high = np.maximum(a.box[:2], b.box[:2]), np.minimum(a.box[2:], b.box[2:])
    inter = float(np.prod(np.maximum(high - low, 0)))
    return inter / float(np.prod(a.box[2:] - a.box[:2]) + np.prod(b.box[2:] - b.box[:2]) - inter)


def people(sightings: list[Sighting]) -> list[dict[float, Face]]:
    """The exact faces of each person that counts, by time."""
    tracker, crops = Tracker("all", size=16, exact=True), []
    faces = {}
    for sighting in sightings:
        for face in sighting.faces:
            faces[sighting.frame.time, tuple(face.box)] = face
        crops += tracker.add(sighting)
    crops += tracker.finish()
    return [
        {c.time: faces[c.time, tuple(c.box)] for c in crops if c.track == track}
        for track in tracker.kept
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--seconds", type=float, default=12)
    args = parser.parse_args()
    detector = MTCNN()
    frames = exact_count = fast_count = found = 0
    overlaps, landmarks, losses = [], [], []
    seen = missed = 0
    for clip in find_videos(args.clips):
        with Video(clip) as video:
            kept: list[Frame] = [f for f in video.frames(FPS) if f.time <= args.seconds]
        exact = list(FaceFinder(detector, exact=True).find(kept))
        fast = list(FaceFinder(detector).find(kept))
        frames += len(kept)
        near: dict[tuple[float, int], Face] = {}
        for one, other in zip(exact, fast, strict=True):
            exact_count += len(one.faces)
            fast_count += len(other.faces)
            for face in one.faces:
                best = max(other.faces, key=partial(overlap, face), default=None)
                if best is None or overlap(face, best) <= 0.3:
                    continue
                found += 1
                near[one.frame.time, id(face)] = best
                overlaps.append(overlap(face, best))
                eyes = float(np.linalg.norm(face.landmarks[0] - face.landmarks[1]))
                off = np.linalg.norm(face.landmarks - best.landmarks, axis=1).max()
                landmarks.append(float(off) / max(eyes, 1))
        for person in people(exact):
            run = 0
            for time, face in sorted(person.items()):
                run = 0 if (time, id(face)) in near else run + 1
                seen, missed = seen + 1, missed + (run > 0)
                width = face.box[2] - face.box[0]
                if run > 1:
                    where = f"{clip.name} at {time:.1f} s, {run} samples"
                    losses.append(f"{where}, {width:.0f} px wide, score {face.score:.2f}")
    print(f"{frames} frames, {exact_count} faces by search, {fast_count} by following")
    print(f"found again: {found / exact_count:.2%}")
    print(f"overlap: median {np.median(overlaps):.4f}, 5 % below {np.percentile(overlaps, 5):.3f}")
    print(
        f"landmarks, of the eye distance: median {np.median(landmarks):.2%}, "
        f"5 % above {np.percentile(landmarks, 95):.1%}"
    )
    print(f"faces of people that count: {seen}, missed {missed} ({missed / seen:.2%})")
    print(f"missed in more than one sample in a row: {len(losses)}")
    for loss in losses:
        print("  ", loss)


if __name__ == "__main__":
    main()
