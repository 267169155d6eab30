"""A video -> a verdict: the only way from pixels to scores."""

import logging
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.data import pt_file
from unmask.data.preprocessor import VideoPreprocessor
from unmask.data.pt_file import ProcessedVideo, Summary, coverage
from unmask.data.windows import Window, average_windows, make_windows
from unmask.detection.prediction import ModelId, Prediction, ScoredFace, ScoredTrack, ScoredWindow
from unmask.device import autocast, fast_precision, pick_device
from unmask.errors import FileError, StoreError
from unmask.faces import FaceCrop
from unmask.models import (
    Bundle,
    Decision,
    find_model,
    folded,
    load_bundle,
)
from unmask.parallel import batched, threaded
from unmask.segments import Segment, aggregate, find_segments, moving_average
from unmask.video.corruption import CLEAN, Corruption
from unmask.video.reader import Limits

log = logging.getLogger("unmask")
_TRIED = 2  # faces that are scored in both precisions
_TOLERANCE = 1e-2  # of a probability
_WINDOWS_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class _Encoded:
    """A track as the network's second half takes it: a row of features a face."""

    times: list[float]
    boxes: list[NDArray[np.float32]]
    features: list[Tensor]


class Detector:
    """Judges videos with a model.

    Args:
        bundle: the model.
        people: whose faces: "largest", "all" or a number; None is the model's own choice.
        device: "auto", "cpu", "cuda", "cuda:1", "mps"...
        limits: what a video may cost before it is refused.
    """

    def __init__(
        self,
        bundle: Bundle,
        people: str | int | None = None,
        device: str = "auto",
        limits: Limits = Limits(),  # noqa: B008
    ) -> None:
        self.bundle = bundle
        self.device = pick_device(device)
        self.model = ModelId(bundle.name, bundle.sha256)
        self._limits = limits
        self._net = deepcopy(bundle.net)
        self._net.cnn = folded(bundle.net.cnn)
        self._net.to(self.device).eval()
        # On CPUs a core for each group of faces; small groups stay in the cache.
        on_cpu = self.device.type == "cpu"
        self._threads, self._at_once = (torch.get_num_threads(), 16) if on_cpu else (1, 64)
        self._spec = replace(bundle.spec, people=people or bundle.decision.people)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        people: str | int | None = None,
        device: str = "auto",
        limits: Limits = Limits(),  # noqa: B008
    ) -> "Detector":
        """Load a model.

        Args:
            model: "small", which comes along; a bundle folder (as training leaves it), a
                `.safetensors` or a `.pth`; or one from the network (see find_model).
            people, device, limits: see Detector.

        Raises:
            ModelError: it cannot be loaded.
        """
        return cls(load_bundle(find_model(model)), people, device, limits)

    @cached_property
    def preprocessor(self) -> VideoPreprocessor:
        """Makes of a video what the model was trained on."""
        return VideoPreprocessor.from_spec(self._spec, str(self.device), self._limits)

    def predict(self, path: str | Path, corruption: Corruption = CLEAN) -> Prediction:
        """Judge a video, or a `.pt` file of its faces.

        A video in which no face is found has the verdict "failed" and no confidence.

        Args:
            path: of the file.
            corruption: what is done to the video first.

        Raises:
            VideoError, StoreError: the file cannot be used.
        """
        if Path(path).suffix == pt_file.SUFFIX:
            if corruption != CLEAN:
                raise StoreError(path, "holds faces; only a video can be corrupted")
            video = pt_file.read(path)
            wrong = video.spec.differences(self.bundle.spec)
            if wrong:
                raise StoreError(path, f"does not fit the model: made with {', '.join(wrong)}")
            return self.judge(video, str(path))
        stream = self.preprocessor.stream(path, corruption)
        groups = batched(stream, self._at_once)
        first = next(groups, [])
        precision = self._choose_precision([crop.rgb for crop in first])

        def encode(crops: list[FaceCrop]) -> tuple[list[FaceCrop], Tensor]:
            return crops, self._encode([crop.rgb for crop in crops], precision)

        tracks: dict[int, _Encoded] = {}
        for crops, features in threaded(encode, chain([first], groups), self._threads):
            for crop, row in zip(crops, features, strict=True):
                track = tracks.setdefault(crop.track, _Encoded([], [], []))
                track.times.append(crop.time)
                track.boxes.append(crop.box)
                track.features.append(row)
        summary = stream.summary
        return self._judge(str(path), summary, [tracks[track] for track in summary.kept])

    def predict_many(
        self, paths: Iterable[str | Path], corruption: Corruption = CLEAN
    ) -> Iterator[Prediction]:
        """Judge one video after the other; one that cannot be used has the verdict "failed"."""
        for path in paths:
            try:
                yield self.predict(path, corruption)
            except FileError as error:
                yield self._failed(str(path), error.cause)

    def judge(self, video: ProcessedVideo, name: str | None = None) -> Prediction:
        """Judge faces that are already cut out; `name` is the video's in the result."""
        crops = [crop for track in video.tracks for crop in track.crops]
        encode = partial(self._encode, precision=self._choose_precision(crops))
        groups = threaded(encode, batched(crops, self._at_once), self._threads)
        features = (row for group in groups for row in group)
        tracks = [
            _Encoded(list(track.times), list(track.boxes), list(islice(features, len(track))))
            for track in video.tracks
        ]
        return self._judge(name or video.video, video, tracks)

    def _judge(
        self, name: str, video: ProcessedVideo | Summary, tracks: "list[_Encoded]"
    ) -> Prediction:
        decision, notes = self.bundle.decision, list(video.warnings)
        judged = [self._judge_track(number, track, video) for number, track in enumerate(tracks)]
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
            coverage=coverage([np.array(track.times) for track in tracks], video.sampled),
            model=self.model,
            reason="; ".join(notes) or None,
        )

    def _judge_track(
        self, number: int, track: "_Encoded", video: ProcessedVideo | Summary
    ) -> tuple[ScoredTrack, list[ScoredFace], list[ScoredWindow], list[Segment]]:
        decision, spec = self.bundle.decision, video.spec
        times = np.array(track.times)
        windows = make_windows(len(times), spec.sequence_length, spec.overlap)
        scores, curves = self._score(track.features, windows)
        starts = [float(times[window.start]) for window in windows]
        ends = [float(times[window.stop - 1]) for window in windows]
        smooth = moving_average(scores, decision.smoothing)
        if curves is None:  # no frame head: a face has the mean score of its windows
            flat = [np.full(len(w.mask), s) for w, s in zip(windows, scores, strict=True)]
            curve = average_windows(len(times), windows, flat)
            segments = find_segments(starts, ends, smooth, decision.segment_threshold, number)
        else:
            curve = average_windows(len(times), windows, curves)
            step = 1 / spec.target_fps
            segments = find_segments(
                times,
                np.minimum(times + step, max(video.duration, times[-1])),
                moving_average(curve, decision.frame_smoothing),
                decision.segment_threshold,
                number,
                max_gap=1.5 * step,
            )
        confidence = aggregate(smooth, decision.aggregate)
        return (
            ScoredTrack(number, float(times[0]), float(times[-1]), confidence),
            [
                ScoredFace(float(time), float(score), number, _pixels(box))
                for time, score, box in zip(times, curve, track.boxes, strict=True)
            ],
            [
                ScoredWindow(start, end, float(score), number)
                for start, end, score in zip(starts, ends, scores, strict=True)
            ],
            segments,
        )

    @torch.inference_mode()
    def _encode(self, crops: list[NDArray[np.uint8]], precision: str) -> Tensor:
        """Faces, each (S, S, 3) uint8 -> (N, features), on the CPU."""
        if not crops:
            return torch.empty(0)
        faces = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        with autocast(self.device, precision):
            return self._net.encode(faces.to(self.device)).float().cpu()

    @torch.inference_mode()
    def _score(
        self, features: list[Tensor], windows: list[Window]
    ) -> tuple[NDArray[np.float64], list[NDArray[np.float64]] | None]:
        """Probabilities of windows (W,), and of the frames of each window (T,)."""
        scores: list[NDArray[np.float64]] = []
        curves: list[NDArray[np.float64]] = []
        for group in batched(windows, _WINDOWS_AT_ONCE):
            mask = torch.from_numpy(np.stack([window.mask for window in group]))
            batch = torch.zeros(*mask.shape, len(features[0]))
            for row, window in zip(batch, group, strict=True):
                faces = features[window.start : window.stop]
                row[: len(faces)] = torch.stack(faces)
            logits = self._net.judge(batch.to(self.device), mask.to(self.device))
            scores.append(self._probability(logits.window).cpu().numpy())
            if logits.frames is not None:
                curves += list(self._probability(logits.frames).cpu().numpy())
        return np.concatenate(scores), curves or None

    def _probability(self, logits: Tensor) -> Tensor:
        """Of any shape, float64."""
        logits, calibration = logits.double(), self.bundle.calibration
        if calibration is not None:
            logits = (logits + calibration.offset) / calibration.temperature
        return logits.sigmoid()

    @torch.inference_mode()
    def _choose_precision(self, crops: list[NDArray[np.uint8]]) -> str:
        """What the device is fast in, unless a video's first faces lose a score by it."""
        fast, scores = fast_precision(self.device), []
        if not crops:
            return fast
        for precision in ("float32", fast):
            features = self._encode(crops[:_TRIED], precision).to(self.device)
            logits = (part for part in self._net.judge(features[None]) if part is not None)
            scores.append(torch.cat([self._probability(part).flatten() for part in logits]))
        lost = float((scores[0] - scores[1]).abs().max())
        if lost <= _TOLERANCE:
            return fast
        log.debug("%s would move a score by %.3f: scoring in float32", fast, lost)
        return "float32"

    def _failed(self, name: str, reason: str) -> Prediction:
        return Prediction(name, "failed", None, (), (), (), (), 0.0, self.model, reason)


def _pixels(box: NDArray[np.float32]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (round(float(side), 1) for side in box)
    return x0, y0, x1, y1


def _verdict(confidence: float, decision: Decision) -> str:
    if confidence > decision.fake_above:
        return "fake"
    return "real" if confidence <= decision.real_below else "inconclusive"
