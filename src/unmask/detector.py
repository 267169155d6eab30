"""A video -> a verdict: the only way from pixels to scores."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unmask import store
from unmask.corpora import VideoRecord
from unmask.data import find_processed
from unmask.errors import FileError, StoreError, UsageError
from unmask.models import Bundle, Decision, autocast, load_bundle
from unmask.preprocess import VideoPreprocessor
from unmask.segments import Segment, find_segments, moving_average
from unmask.store import ProcessedVideo
from unmask.windows import Window, average_windows

_FACES_AT_ONCE = 32  # encoded together


@dataclass(frozen=True)
class ScoredFace:
    """The score of one sampled face: time in seconds, score 0 (real) to 1 (fake)."""

    time: float
    score: float
    track: int


@dataclass(frozen=True)
class ScoredWindow:
    """The score of one window; start and end in seconds."""

    start: float
    end: float
    score: float
    track: int


@dataclass(frozen=True)
class ScoredTrack:
    """One person's confidence, and from when to when they were seen, in seconds."""

    id: int
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class ModelId:
    """Which model judged: its name and the SHA-256 of its weights."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Prediction:
    """What is known of a video afterwards.

    Attributes:
        video: its path as it was given.
        verdict: "fake", "real", "inconclusive", or "failed" where nothing could be scored.
        confidence: probability that the video is fake, 0 to 1; None if failed.
        segments: where it looks manipulated.
        timeline: a score for every sampled face.
        windows: a score for every window.
        tracks: a score for every person; the worst one is the video's.
        coverage: share of the sampled frames with a scored face, 0 to 1.
        model: who says so.
        reason: why it failed, or what to keep in mind; None if there is nothing to say.
    """

    video: str
    verdict: str
    confidence: float | None
    segments: tuple[Segment, ...]
    timeline: tuple[ScoredFace, ...]
    windows: tuple[ScoredWindow, ...]
    tracks: tuple[ScoredTrack, ...]
    coverage: float
    model: ModelId
    reason: str | None = None

    @property
    def is_fake(self) -> bool | None:
        """True or False for the verdicts "fake" and "real", else None."""
        return {"fake": True, "real": False}.get(self.verdict)


class Detector:
    """Judges videos with a model.

    Args:
        bundle: the model.
        people: whose faces: "largest", "all" or a number; None is the model's own choice.
        device: "auto", "cpu", "cuda", "cuda:1", "mps"...
    """

    def __init__(
        self, bundle: Bundle, people: str | int | None = None, device: str = "auto"
    ) -> None:
        self.bundle = bundle
        self.device = pick_device(device)
        self.model = ModelId(bundle.name, bundle.sha256)
        self._net = bundle.net.to(self.device).eval()
        self._spec = replace(bundle.spec, people=people or bundle.decision.people)

    @classmethod
    def from_pretrained(
        cls, model: str | Path, people: str | int | None = None, device: str = "auto"
    ) -> "Detector":
        """Load a model: a bundle folder (as training leaves it), a `.safetensors` or a `.pth`.

        Raises:
            ModelError: it cannot be loaded.
        """
        return cls(load_bundle(model), people, device)

    @cached_property
    def _preprocessor(self) -> VideoPreprocessor:
        return VideoPreprocessor.from_spec(self._spec, device=str(self.device))

    def predict(self, path: str | Path) -> Prediction:
        """Judge a video, or a `.pt` file of its faces.

        A video in which no face is found has the verdict "failed" and no confidence.

        Raises:
            VideoError, StoreError: the file cannot be used.
        """
        if Path(path).suffix == store.SUFFIX:
            video = store.read(path)
            wrong = video.spec.differences(self.bundle.spec)
            if wrong:
                raise StoreError(path, f"does not fit the model: made with {', '.join(wrong)}")
        else:
            video = self._preprocessor.process_video(path)
        return self.judge(video, str(path))

    def predict_many(self, paths: Iterable[str | Path]) -> Iterator[Prediction]:
        """Judge one video after the other; one that cannot be used has the verdict "failed"."""
        for path in paths:
            try:
                yield self.predict(path)
            except FileError as error:
                yield self._failed(str(path), error.cause)

    def predict_split(
        self, root_dir: str | Path, split: str
    ) -> Iterator[tuple[VideoRecord, Prediction]]:
        """Judge all `.pt` files of a split of a preprocessed tree, by category."""
        records = find_processed(root_dir, split)
        predictions = self.predict_many(record.path for record in records)
        yield from zip(records, predictions, strict=True)

    def judge(self, video: ProcessedVideo, name: str | None = None) -> Prediction:
        """Judge faces that are already cut out; `name` is the video's in the result."""
        name = name or video.video
        decision, notes = self.bundle.decision, list(video.warnings)
        judged = [self._judge_track(video, index) for index in range(len(video.tracks))]
        if not judged:
            notes.append(f"no face found in {video.sampled} sampled frames")
            return self._failed(name, "; ".join(notes))
        confidence = max(track.confidence for track, *_ in judged)
        return Prediction(
            video=name,
            verdict=_verdict(confidence, decision),
            confidence=confidence,
            segments=tuple(s for *_, segments in judged for s in segments),
            timeline=tuple(f for _, faces, *_ in judged for f in faces),
            windows=tuple(w for _, _, windows, _ in judged for w in windows),
            tracks=tuple(track for track, *_ in judged),
            coverage=video.coverage,
            model=self.model,
            reason="; ".join(notes) or None,
        )

    def _judge_track(
        self, video: ProcessedVideo, index: int
    ) -> tuple[ScoredTrack, list[ScoredFace], list[ScoredWindow], list[Segment]]:
        track, decision = video.tracks[index], self.bundle.decision
        times = track.times
        windows = [window for owner, window in video.windows if owner == index]
        scores, curves = self._score(track.crops, windows)
        starts = [float(times[window.start]) for window in windows]
        ends = [float(times[window.stop - 1]) for window in windows]
        smooth = moving_average(scores, decision.smoothing)
        if curves is None:  # no frame head: a face has the mean score of its windows
            flat = [np.full(len(w.mask), s) for w, s in zip(windows, scores, strict=True)]
            curve = average_windows(len(track), windows, flat)
            segments = find_segments(starts, ends, smooth, decision.segment_threshold, track.id)
        else:
            curve = average_windows(len(track), windows, curves)
            step = 1 / video.spec.target_fps
            segments = find_segments(
                times,
                np.minimum(times + step, max(video.duration, times[-1])),
                moving_average(curve, decision.frame_smoothing),
                decision.segment_threshold,
                track.id,
                max_gap=1.5 * step,
            )
        confidence = float(smooth.max() if decision.aggregate == "max" else smooth.mean())
        return (
            ScoredTrack(track.id, float(times[0]), float(times[-1]), confidence),
            [ScoredFace(float(t), float(s), track.id) for t, s in zip(times, curve, strict=True)],
            [
                ScoredWindow(start, end, float(score), track.id)
                for start, end, score in zip(starts, ends, scores, strict=True)
            ],
            segments,
        )

    @torch.inference_mode()
    def _score(
        self, crops: NDArray[np.uint8], windows: list[Window]
    ) -> tuple[NDArray[np.float64], list[NDArray[np.float64]] | None]:
        """Probabilities of windows (W,), and of the frames of each window (T,).

        Every face is encoded once, however many windows it stands in.
        """
        faces = torch.from_numpy(crops).permute(0, 3, 1, 2)
        mask = torch.from_numpy(np.stack([window.mask for window in windows])).to(self.device)
        with autocast(self.device):
            features = torch.cat(
                [self._net.encode(part.to(self.device)) for part in faces.split(_FACES_AT_ONCE)]
            )
            batch = features.new_zeros(len(windows), mask.shape[1], features.shape[1])
            for row, window in enumerate(windows):
                batch[row, : window.stop - window.start] = features[window.start : window.stop]
            logits = self._net.judge(batch, mask)
        scores = logits.window.double().sigmoid().cpu().numpy()
        if logits.frames is None:
            return scores, None
        return scores, list(logits.frames.double().sigmoid().cpu().numpy())

    def _failed(self, name: str, reason: str) -> Prediction:
        return Prediction(name, "failed", None, (), (), (), (), 0.0, self.model, reason)


def _verdict(confidence: float, decision: Decision) -> str:
    if confidence > decision.fake_above:
        return "fake"
    return "real" if confidence <= decision.real_below else "inconclusive"


def pick_device(device: str) -> torch.device:
    """A torch device by name; "auto" is the GPU where there is one.

    Raises:
        UsageError: there is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
        torch.zeros(1, device=picked)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r} is not to be had here") from error
    return picked
