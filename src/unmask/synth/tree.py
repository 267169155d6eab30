"""A folder of real videos -> a Celeb-DF-shaped tree of reals and fakes with their truth."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray

from unmask.atomic import replacing, write_text
from unmask.corpora import LAYOUTS, TRUTH, VideoRecord, read_corpus, read_table, write_table
from unmask.engine import HERE, WHOLE, Engine, Progress, Shard, run, silent
from unmask.errors import CorpusError, UnmaskError, UsageError, VideoError
from unmask.faces import MTCNN, Face
from unmask.synth.families import FAMILIES, possible_families
from unmask.synth.manipulation import Altered, Manipulation, Scene
from unmask.synth.patch import Patch
from unmask.synth.redrawers import load_redrawers
from unmask.threads import threaded
from unmask.video.encoder import Encoder, encode
from unmask.video.reader import Frame, Video, find_videos

SETTINGS = "synth.json"
MASKS = "masks"
_LOOK_FPS = 6.0  # faces are looked for this often and interpolated in between
_MAX_GAP = 0.5  # seconds between two looks that may be interpolated
_MIN_WIDTH = 48  # pixels of face: smaller ones show nothing
Landmarks = NDArray[np.float32]


@dataclass(frozen=True)
class SynthSettings:
    """How fakes are made.

    Attributes:
        seed: of everything random.
        max_seconds, max_side: bounds of the clips; longer ones are cut, larger ones shrunk.
        families: names of FAMILIES, of which each recording gets one.
        redrawers: a folder of autoencoders for the family "redrawn"; without it there is none.
    """

    seed: int = 0
    max_seconds: float = 10.0
    max_side: int = 960
    families: tuple[str, ...] = tuple(FAMILIES)
    redrawers: str | None = None


@dataclass(frozen=True)
class _Job:
    """One recording and where its real and its fake go; the donor is another person's."""

    video: Path
    donor: Path | None
    family: str
    real: Path
    fake: Path
    number: int

    @property
    def truth(self) -> Path:
        return self.fake.with_suffix(".jsonl")

    @property
    def masks(self) -> Path:
        return self.fake.parents[1] / MASKS / f"{self.fake.stem}.nut"


@dataclass(frozen=True)
class SynthReport:
    """What became of the recordings: fakes in the tree, and recordings that made none."""

    fakes: list[VideoRecord]
    failed: list[UnmaskError]


def make_fakes(
    reals: str | Path,
    out: str | Path,
    settings: SynthSettings | None = None,
    engine: Engine = HERE,
    on_progress: Progress = silent,
    shard: Shard = WHOLE,
) -> SynthReport:
    """Make a fake of every recording, beside the recording itself.

    Both go through the same decoding, resizing and H.264 compression, so that only what was done
    to the face tells them apart. The truth stands in a table beside each fake and, for all of
    them, in `out/truth.jsonl`. What is finished is not made again.

    Args:
        reals: a folder of recordings, each of another person; or a corpus (see read_corpus),
            whose real videos are taken with their identities.
        out: gets `Celeb-real/idX_ZZZZ.mp4`, `Celeb-synthesis/idX_idY_ZZZZ.mp4` (idY is idX, or
            whose face was put in), and `masks/idX_idY_ZZZZ.nut`: of every frame of the fake what
            was replaced, grey from 0 to 255, without loss.
        settings: see SynthSettings.
        engine: where.
        on_progress: called after each recording.
        shard: the part of the recordings that is done; the others may be done at the same time.

    Raises:
        CorpusError: no recordings.
        UsageError: `out` holds fakes made with other settings or of other recordings, or there
            is nothing to make the families of.
    """
    settings, out = settings or SynthSettings(), Path(out)
    recordings = _recordings(Path(reals))
    jobs = _jobs(recordings, out, settings)
    _check_same(out / SETTINGS, settings, [video.name for video, _ in recordings])
    ours = shard.of(jobs)
    todo = [job for job in ours if not job.truth.exists()]
    failed: list[UnmaskError] = []
    on_progress(len(ours) - len(todo), len(ours), 0)
    outcomes = run(
        partial(_make, settings), todo, engine,
        timeout=3600 + 60 * settings.max_seconds, name=lambda job: job.video,
    )  # fmt: skip
    for finished, outcome in enumerate(outcomes, len(ours) - len(todo) + 1):
        if outcome.error is not None:
            failed.append(outcome.error)
        on_progress(finished, len(ours), len(failed))
    with FileLock(out / f".{TRUTH}.lock"):  # the last shard finds the truth of all
        fakes = [row for job in jobs if job.truth.exists() for row in read_table(job.truth)]
        write_table(out / TRUTH, fakes)
    return SynthReport(fakes, failed)


def _check_same(path: Path, settings: SynthSettings, recordings: list[str]) -> None:
    """What is drawn for a recording follows from its place among the others."""
    text = json.dumps(asdict(settings) | {"recordings": recordings}) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UsageError(
            f"{path.parent} holds fakes made with other settings or of other recordings; "
            "choose another"
        )
    write_text(path, text)


def _recordings(reals: Path) -> list[tuple[Path, str]]:
    """(video, person)."""
    try:
        records = [record for record in read_corpus(reals) if record.label == 0]
    except CorpusError:
        if not reals.is_dir() or any(layout.matches(reals) for layout in LAYOUTS.values()):
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


def _jobs(recordings: list[tuple[Path, str]], out: Path, settings: SynthSettings) -> list[_Job]:
    people: dict[str, int] = {}
    keys = [f"id{people.setdefault(person, len(people))}" for _, person in recordings]
    has = {"own", "frames"} | ({"other"} if len(people) > 1 else set())
    has |= {"redrawers"} if settings.redrawers else set()
    families = possible_families(settings.families, has)
    jobs = []
    for number, ((video, _), key) in enumerate(zip(recordings, keys, strict=True)):
        rng = np.random.default_rng((settings.seed, number, 1))
        family = families[int(rng.integers(len(families)))]
        donor = None
        if family.needs == "other":
            others = [k for k, other in enumerate(keys) if other != key]
            donor = others[int(rng.integers(len(others)))]
        lent = key if donor is None else keys[donor]
        jobs.append(
            _Job(
                video,
                None if donor is None else recordings[donor][0],
                family.method,
                out / "Celeb-real" / f"{key}_{number:04d}.mp4",
                out / "Celeb-synthesis" / f"{key}_{lent}_{number:04d}.mp4",
                number,
            )
        )
    return jobs


def _make(settings: SynthSettings, job: _Job) -> None:
    """Make one real and its fake; the truth is written last and marks them as finished."""
    rng = np.random.default_rng((settings.seed, job.number))
    looks, family = _look(job.video, settings), FAMILIES[job.family]
    scene = Scene(
        [look.patch for look in looks],
        [look.patch for look in _look(job.donor, settings)] if job.donor else (),
        load_redrawers(settings.redrawers) if settings.redrawers else (),
    )
    with Video(job.video) as video:
        fps = Fraction(video.info.fps or 25).limit_denominator(1001)
    crf = int(rng.integers(18, 31))
    with replacing(job.real) as temporary:
        pictures = (frame.rgb for frame in _frames(job.video, settings))
        count = encode(temporary, pictures, fps, crf, container="mp4")
    plan = [
        (start, end, family.draw(rng, scene)) for start, end in _segments(rng, count / float(fps))
    ]
    altered: list[bool] = []
    with replacing(job.fake) as temporary, replacing(job.masks) as grey:
        with (
            Encoder(temporary, fps, "libx264", crf, "mp4") as fake,
            Encoder(grey, fps, "ffv1", container="nut") as masks,
        ):
            for rgb, mask in _manipulated(_frames(job.video, settings), looks, plan, fps):
                fake.add(rgb)
                masks.add(mask)
                altered.append(bool(mask.any()))
        if not any(altered):
            raise VideoError(job.video, "no face to manipulate where a segment was to be")
    source, people = job.real.stem, job.fake.stem.split("_")[:2]
    record = VideoRecord(
        job.fake, 1, job.fake.parent.name, (people[0], people[1]), source, job.family,
        segments=_runs(altered, fps),
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


class _Look(NamedTuple):
    """The largest face at a time, in seconds."""

    time: float
    landmarks: Landmarks
    patch: Patch


def _look(path: Path, settings: SynthSettings) -> list[_Look]:
    """The largest face, wherever there is a clear one."""
    detector = MTCNN(min_face_size=40)
    looks = []

    def see(frame: Frame) -> tuple[Frame, list[Face]]:
        return frame, detector.detect([frame.rgb])[0]

    # A core each: so the last digits do not follow the number of cores.
    frames = _frames(path, settings, _LOOK_FPS)
    for frame, faces in threaded(see, frames, torch.get_num_threads()):
        if faces and faces[0].score > 0.9 and faces[0].box[2] - faces[0].box[0] >= _MIN_WIDTH:
            patch = Patch.cut(frame.rgb, faces[0].landmarks)
            if patch is not None:
                looks.append(_Look(frame.time, faces[0].landmarks, patch))
    if len(looks) < 2:
        raise VideoError(path, f"no face of {_MIN_WIDTH} pixels to manipulate")
    return looks


def _between(looks: list[_Look], time: float) -> Landmarks | None:
    """Landmarks at a time, interpolated; None where no face was seen around it."""
    times = [look.time for look in looks]
    after = int(np.searchsorted(times, time))
    if after == 0 or after == len(looks):
        nearest = min(after, len(looks) - 1)
        return looks[nearest].landmarks if abs(times[nearest] - time) < 1 / _LOOK_FPS else None
    (t0, a, _), (t1, b, _) = looks[after - 1], looks[after]
    jumped = np.linalg.norm(b - a, axis=1).max() > 0.5 * np.ptp(a, axis=0).max()
    if t1 - t0 > _MAX_GAP or jumped:
        return None
    return np.asarray(a + (b - a) * ((time - t0) / (t1 - t0)), dtype=np.float32)


def _segments(rng: np.random.Generator, duration: float) -> list[tuple[float, float]]:
    """(start, end): the whole clip, or one to three parts of it, in order."""
    if duration < 3 or rng.random() < 0.35:
        return [(0.0, float("inf"))]
    parts = int(rng.integers(1, 4)) if duration >= 6 else 1
    slot = duration / parts
    plan = []
    for part in range(parts):
        length = rng.uniform(min(1.5, 0.6 * slot), 0.7 * slot)
        start = part * slot + rng.uniform(0, slot - length)
        plan.append((float(start), float(start + length)))
    return plan


def _manipulated(
    frames: Iterator[Frame],
    looks: list[_Look],
    plan: list[tuple[float, float, Manipulation]],
    fps: Fraction,
) -> Iterator[Altered]:
    """The frames with the plan carried out."""
    for number, frame in enumerate(frames):
        clock = number / float(fps)  # time in the new file, whose rate is constant
        fake = next((fake for start, end, fake in plan if start <= clock < end), None)
        landmarks = _between(looks, frame.time) if fake else None
        if fake is None or landmarks is None:
            yield Altered(frame.rgb, np.zeros(frame.rgb.shape[:2], np.uint8))
        else:
            yield fake.apply(frame.rgb, landmarks, clock)


def _runs(altered: list[bool], fps: Fraction) -> tuple[tuple[float, float], ...]:
    """(start, end) in seconds of the runs of altered frames."""
    edges = np.flatnonzero(np.diff([False, *altered, False]))
    return tuple((float(a / fps), float(b / fps)) for a, b in edges.reshape(-1, 2).tolist())
