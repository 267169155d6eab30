"""A model over labelled videos -> scores beside their labels."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unmask.atomic import write_text
from unmask.corpora import VideoRecord, read_corpus
from unmask.data import pt_file
from unmask.data.index import find_processed, holds_faces
from unmask.detection.batch import Judge, predictions
from unmask.detection.detector import Detector
from unmask.detection.prediction import Prediction
from unmask.engine import HERE, Engine
from unmask.errors import CorpusError, FileError
from unmask.evaluation import FrameScore, ScoredVideo, WindowScore, read_scores
from unmask.evaluation.robustness import Cell, summarise
from unmask.evaluation.scores import detailed_row
from unmask.models import Decision
from unmask.video.corruption import Corruption
from unmask.video.reader import Video


def labelled_videos(root: str | Path, split: str = "test") -> list[VideoRecord]:
    """The videos of a split: `.pt` files of a preprocessed tree, or the videos of any corpus.

    Args:
        root: the tree or the corpus.
        split: "train", "val", "test", or "all" of a corpus.

    Raises:
        CorpusError: it is neither, or has no such split.
    """
    if holds_faces(root, split):
        return find_processed(root, split)
    root = Path(root)
    records = [r for r in read_corpus(root) if split in ("all", r.split)]
    if not records:
        raise CorpusError(root, f"has no {split} split; --split all takes every video")
    return records


class _Trial(NamedTuple):
    """A video to judge, under a corruption or as it is."""

    number: int
    path: Path
    corruption: Corruption | None = None


@dataclass(frozen=True)
class _Judged:
    """A detector with another decision that can be sent to a process."""

    judge: Judge
    decision: Decision

    def __call__(self, trial: _Trial) -> Prediction:
        return _judged(self.judge.detector.deciding(self.decision), trial)


def _judged(detector: Detector, trial: _Trial) -> Prediction:
    if trial.corruption is not None:
        detector = detector.under(trial.corruption)
    (prediction,) = detector.predict([trial.path])
    return prediction


@dataclass(frozen=True)
class Scorer:
    """A detector over labelled videos, and where it works.

    Attributes:
        detector: the judge.
        judge: how workers make the same one, up to its decision; without it there are none.
        engine: where they are.
    """

    detector: Detector
    judge: Judge | None = None
    engine: Engine = HERE

    def predict(self, trials: Iterable[_Trial]) -> Iterator[tuple[_Trial, Prediction]]:
        """Judge videos, in any order; those that cannot be judged have the verdict "failed"."""
        function: Callable[[_Trial], Prediction] = partial(_judged, self.detector)
        engine = HERE
        if self.judge is not None and not self.engine.is_here:
            function, engine = _Judged(self.judge, self.detector.decision), self.engine
        return predictions(function, trials, self.detector, engine)


def score_videos(
    scorer: Scorer,
    records: list[VideoRecord],
    on_progress: Callable[[int, int], None] = lambda finished, total: None,
    root: str | Path = "",
) -> list[ScoredVideo]:
    """Judge labelled videos of a tree; those that cannot be scored have a reason and no score."""
    scored: dict[int, ScoredVideo] = {}
    trials = (_Trial(number, record.path) for number, record in enumerate(records))
    for trial, prediction in scorer.predict(trials):
        scored[trial.number] = scored_video(records[trial.number], prediction, root)
        on_progress(len(scored), len(records))
    return [scored[number] for number in range(len(records))]


def score_grid(
    scorer: Scorer,
    records: list[VideoRecord],
    corruptions: Sequence[Corruption],
    threshold: float,
    out: str | Path,
    on_progress: Callable[[int, int], None] = lambda finished, total: None,
) -> list[Cell]:
    """Judge the videos under every corruption.

    What is finished is kept in `out/corrupted/`, and taken from there when it is run again with
    the same model and videos; so several may share the corruptions between them.

    Args:
        scorer: the judge.
        records: the videos; of `.pt` files none can be scored.
        corruptions: see unmask.corruption.
        threshold: a score above it counts as fake.
        out: folder of the evaluation.
        on_progress: called with (finished, total) videos.
    """
    origin = _origin(scorer.detector, records)
    files = {c: Path(out) / "corrupted" / f"{c.kind}_{c.level}.json" for c in corruptions}
    found = {c: videos for c in corruptions if (videos := _finished(files[c], origin)) is not None}
    parts: dict[Corruption, dict[int, ScoredVideo]] = {c: {} for c in corruptions if c not in found}
    trials = (_Trial(number, r.path, c) for c in parts for number, r in enumerate(records))
    finished = len(found) * len(records)
    on_progress(finished, len(corruptions) * len(records))
    for trial, prediction in scorer.predict(trials):
        c = trial.corruption
        assert c is not None
        parts[c][trial.number] = scored_video(records[trial.number], prediction)
        if len(parts[c]) == len(records):
            found[c] = [parts[c][number] for number in range(len(records))]
            rows = [detailed_row(video, threshold) for video in found[c]]
            content = {"origin": origin, "per_video_predictions": rows}
            write_text(files[c], json.dumps(content) + "\n")
        finished += 1
        on_progress(finished, len(corruptions) * len(records))
    return [summarise(c.kind, c.level, c.parameter, found[c], threshold) for c in corruptions]


def _origin(detector: Detector, records: list[VideoRecord]) -> str:
    """A checksum of what scores follow from: the model, and the videos with their truth."""
    bundle = detector.bundle
    model = (bundle.sha256, bundle.spec, detector.decision)
    files = [(r, r.path.resolve(), r.path.exists() and r.path.stat().st_size) for r in records]
    return hashlib.sha256(repr((model, files)).encode()).hexdigest()


def _finished(file: Path, origin: str) -> list[ScoredVideo] | None:
    """The scores in a file if they are of this origin."""
    try:
        same = json.loads(file.read_text(encoding="utf-8"))["origin"] == origin
        return read_scores(file) if same else None
    except (OSError, ValueError, LookupError, TypeError, CorpusError):  # not there, or not whole
        return None


def scored_video(record: VideoRecord, prediction: Prediction, root: str | Path = "") -> ScoredVideo:
    """A prediction beside its label, with what is known of the video, a part of the tree `root`."""
    inside = record.path.is_relative_to(root)
    file = record.path.relative_to(root) if inside else record.path
    faces: dict[float, float] = {}
    for face in prediction.timeline:
        faces[face.time] = max(face.score, faces.get(face.time, 0.0))
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (f.box for f in prediction.timeline)]
    return ScoredVideo(
        name=record.path.stem,
        label=record.label,
        score=prediction.confidence,
        category=record.category,
        segments=prediction.segments,
        num_windows=len(prediction.windows),
        coverage=prediction.coverage,
        reason=prediction.reason,
        input_type="preprocessed" if record.path.suffix == pt_file.SUFFIX else "video",
        cluster=next(iter(record.identities), record.source),
        method=record.method,
        truth=record.segments,
        windows=tuple(WindowScore(w.start, w.end, w.score) for w in prediction.windows),
        frames=tuple(FrameScore(*item) for item in sorted(faces.items())),
        resolution=_resolution(record.path),
        face_size=float(np.median(np.sqrt(np.maximum(areas, 0)))) if areas else None,
        path=record.path,
        file=file.with_suffix("").as_posix(),
        recording=record.source,
    )


def _resolution(path: Path) -> int | None:
    """Shorter side of the frames in pixels, where the file tells."""
    try:
        if path.suffix == pt_file.SUFFIX:
            return pt_file.read(path).resolution
        with Video(path) as stream:
            return min(stream.info.width, stream.info.height)
    except FileError:
        return None


def telling_faces(
    detector: Detector, video: ScoredVideo, threshold: float = 0.5, count: int = 5
) -> Iterator[NDArray[np.uint8]]:
    """Up to `count` faces of a scored video that speak for its score, in order of time.

    Those with the highest scores where it lies above the threshold, else with the lowest; each
    (S, S, 3) uint8 RGB. Videos are searched for faces once more.
    """
    if video.path is None or video.score is None:
        return
    sign = -1 if video.score > threshold else 1
    best = sorted(video.frames, key=lambda frame: sign * frame.score)[:count]
    preprocessed = video.path.suffix == pt_file.SUFFIX
    read = pt_file.read if preprocessed else detector.preprocessor.process_video
    tracks = read(video.path).tracks
    for time in sorted(frame.time for frame in best):
        for track in tracks:
            (found,) = np.nonzero(track.times == time)
            if len(found):
                yield np.ascontiguousarray(track.crops[found[0]])
                break
