"""A folder of real videos -> a Celeb-DF-shaped tree of reals and fakes with their truth."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask import engine
from unmask.atomic import replacing, write_text
from unmask.corpora import TRUTH, VideoRecord, read_corpus, read_table, write_table
from unmask.encode import encode
from unmask.errors import CorpusError, UnmaskError, UsageError, VideoError
from unmask.faces import MTCNN
from unmask.synth.blend import SelfBlend
from unmask.video import Frame, Video, find_videos

SETTINGS = "synth.json"
METHOD = "self-blending"
_LOOK_FPS = 6.0  # faces are looked for this often and interpolated in between
_MAX_GAP = 0.5  # seconds between two looks that may be interpolated
_MIN_WIDTH = 48  # pixels of face: smaller ones show nothing
Landmarks = NDArray[np.float32]


@dataclass(frozen=True)
class SynthSettings:
    """How fakes are made: the seed of everything random, and the bounds of the clips."""

    seed: int = 0
    max_seconds: float = 10.0
    max_side: int = 960


@dataclass(frozen=True)
class _Job:
    """One recording and where its real and its fake go."""

    video: Path
    real: Path
    fake: Path
    number: int

    @property
    def truth(self) -> Path:
        return self.fake.with_suffix(".jsonl")


@dataclass(frozen=True)
class SynthReport:
    """What became of the recordings: fakes in the tree, and recordings that made none."""

    fakes: list[VideoRecord]
    failed: list[UnmaskError]


def make_fakes(
    reals: str | Path,
    out: str | Path,
    settings: SynthSettings | None = None,
    workers: int = 1,
    on_progress: Callable[[int, int], None] = lambda finished, total: None,
) -> SynthReport:
    """Make a fake of every recording, beside the recording itself.

    Both go through the same decoding, resizing and H.264 compression, so that only what was done
    to the face tells them apart. The truth stands in a table beside each fake and, for all of
    them, in `out/truth.jsonl`. What is finished is not made again.

    Args:
        reals: a folder of recordings, each of another person; or a corpus (see read_corpus),
            whose real videos are taken with their identities.
        out: gets `Celeb-real/idX_ZZZZ.mp4` and `Celeb-synthesis/idX_idX_ZZZZ.mp4`.
        settings: see SynthSettings.
        workers: processes.
        on_progress: called with (finished, total) after each recording.

    Raises:
        CorpusError: no recordings.
        UsageError: `out` holds fakes made with other settings.
    """
    settings, out = settings or SynthSettings(), Path(out)
    _check_settings(out / SETTINGS, settings)
    jobs = _jobs(_recordings(Path(reals)), out)
    todo = [job for job in jobs if not job.truth.exists()]
    failed: list[UnmaskError] = []
    on_progress(len(jobs) - len(todo), len(jobs))
    outcomes = engine.run(partial(_make, settings), todo, workers)
    for finished, outcome in enumerate(outcomes, len(jobs) - len(todo) + 1):
        if outcome.error is not None:
            failed.append(outcome.error)
        on_progress(finished, len(jobs))
    fakes = [row for job in jobs if job.truth.exists() for row in read_table(job.truth)]
    write_table(out / TRUTH, fakes)
    return SynthReport(fakes, failed)


def _check_settings(path: Path, settings: SynthSettings) -> None:
    text = json.dumps(settings.__dict__) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UsageError(f"{path.parent} holds fakes made with other settings; choose another")
    write_text(path, text)


def _recordings(reals: Path) -> list[tuple[Path, str]]:
    """(video, person)."""
    try:
        records = [record for record in read_corpus(reals) if record.label == 0]
    except CorpusError:
        if not reals.is_dir():
            raise
        videos = find_videos(reals)
        if not videos:
            raise CorpusError(reals, "holds no videos") from None
        return [(video, str(number)) for number, video in enumerate(videos)]
    if not records:
        raise CorpusError(reals, "holds no real videos")
    return [
        (record.path, record.identities[0] if record.identities else str(record.path))
        for record in records
    ]


def _jobs(recordings: list[tuple[Path, str]], out: Path) -> list[_Job]:
    people: dict[str, int] = {}
    jobs = []
    for number, (video, person) in enumerate(recordings):
        key = f"id{people.setdefault(person, len(people))}"
        real = out / "Celeb-real" / f"{key}_{number:04d}.mp4"
        fake = out / "Celeb-synthesis" / f"{key}_{key}_{number:04d}.mp4"
        jobs.append(_Job(video, real, fake, number))
    return jobs


def _make(settings: SynthSettings, job: _Job) -> None:
    """Make one real and its fake; the truth is written last and marks them as finished."""
    rng = np.random.default_rng((settings.seed, job.number))
    looks = _look(job.video, settings)
    with Video(job.video) as video:
        fps = Fraction(video.info.fps or 25).limit_denominator(1001)
    crf = int(rng.integers(18, 31))
    with replacing(job.real) as temporary:
        count = encode(temporary, (f.rgb for f in _frames(job.video, settings)), fps, crf)
    blends = _plan(rng, count / float(fps))
    altered: list[bool] = []
    with replacing(job.fake) as temporary:
        frames = _blended(_frames(job.video, settings), looks, blends, fps, altered)
        encode(temporary, frames, fps, crf)
        if not any(altered):
            raise VideoError(job.video, "no face to manipulate where a segment was to be")
    source, (person, *_) = job.real.stem, job.real.stem.split("_")
    record = VideoRecord(
        job.fake, 1, job.fake.parent.name, (person, person), source, METHOD,
        segments=_runs(altered, float(fps)),
    )  # fmt: skip
    write_table(job.truth, [record])


def _frames(path: Path, settings: SynthSettings, fps: float | None = None) -> Iterator[Frame]:
    """Frames within the bounds of the settings."""
    with Video(path) as video:
        for frame in video.frames(fps):
            if frame.time >= settings.max_seconds:
                return
            height, width = frame.rgb.shape[:2]
            scale = settings.max_side / max(height, width)
            if scale >= 1:
                yield frame
                continue
            size = (round(width * scale), round(height * scale))
            small = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
            yield Frame(frame.index, frame.time, np.asarray(small, dtype=np.uint8))


def _look(path: Path, settings: SynthSettings) -> list[tuple[float, Landmarks]]:
    """(time, landmarks) of the largest face, wherever there is a clear one."""
    detector = MTCNN(min_face_size=40)
    looks = []
    for frame in _frames(path, settings, _LOOK_FPS):
        (faces,) = detector.detect([frame.rgb])
        if faces and faces[0].score > 0.9 and faces[0].box[2] - faces[0].box[0] >= _MIN_WIDTH:
            looks.append((frame.time, faces[0].landmarks))
    if len(looks) < 2:
        raise VideoError(path, f"no face of {_MIN_WIDTH} pixels to manipulate")
    return looks


def _between(looks: list[tuple[float, Landmarks]], time: float) -> Landmarks | None:
    """Landmarks at a time, interpolated; None where no face was seen around it."""
    times = [look[0] for look in looks]
    after = int(np.searchsorted(times, time))
    if after == 0 or after == len(looks):
        nearest = min(after, len(looks) - 1)
        return looks[nearest][1] if abs(times[nearest] - time) < 1 / _LOOK_FPS else None
    (t0, a), (t1, b) = looks[after - 1], looks[after]
    jumped = np.linalg.norm(b - a, axis=1).max() > 0.5 * np.ptp(a, axis=0).max()
    if t1 - t0 > _MAX_GAP or jumped:
        return None
    return np.asarray(a + (b - a) * ((time - t0) / (t1 - t0)), dtype=np.float32)


def _plan(rng: np.random.Generator, duration: float) -> list[tuple[float, float, SelfBlend]]:
    """(start, end, manipulation): the whole clip, or one or two parts of it, in order."""
    if duration < 3 or rng.random() < 0.35:
        return [(0.0, float("inf"), SelfBlend.draw(rng))]
    parts = int(rng.integers(1, 3)) if duration >= 6 else 1
    slot = duration / parts
    plan = []
    for part in range(parts):
        length = rng.uniform(min(1.5, 0.6 * slot), 0.7 * slot)
        start = part * slot + rng.uniform(0, slot - length)
        plan.append((float(start), float(start + length), SelfBlend.draw(rng)))
    return plan


def _blended(
    frames: Iterator[Frame],
    looks: list[tuple[float, Landmarks]],
    plan: list[tuple[float, float, SelfBlend]],
    fps: Fraction,
    altered: list[bool],
) -> Iterator[NDArray[np.uint8]]:
    """The frames with the plan carried out; `altered` gets one entry a frame."""
    for number, frame in enumerate(frames):
        clock = number / float(fps)  # time in the new file, whose rate is constant
        blend = next((blend for start, end, blend in plan if start <= clock < end), None)
        landmarks = _between(looks, frame.time) if blend else None
        altered.append(landmarks is not None)
        if blend is None or landmarks is None:
            yield frame.rgb
        else:
            yield blend.apply(frame.rgb, landmarks, clock)


def _runs(altered: list[bool], fps: float) -> tuple[tuple[float, float], ...]:
    """(start, end) in seconds of the runs of altered frames."""
    edges = np.flatnonzero(np.diff([False, *altered, False]))
    return tuple((float(a / fps), float(b / fps)) for a, b in edges.reshape(-1, 2))
