"""Raw scores and a decision -> a prediction. Every verdict is made here."""

import numpy as np
from numpy.typing import NDArray

from unmask.data.pt_file import coverage
from unmask.data.windows import average_windows
from unmask.detection.prediction import (
    ModelId,
    Prediction,
    ScoredFace,
    ScoredTrack,
    ScoredWindow,
    Thresholds,
)
from unmask.detection.scores import TrackLogits, VideoLogits
from unmask.models import Decision
from unmask.segments import (
    Segment,
    Step,
    aggregate,
    find_segments,
    find_step,
    moving_average,
    stretches,
)


def decide(scored: VideoLogits, decision: Decision, model: ModelId) -> Prediction:
    """What a decision makes of a video's raw scores; without a face the verdict is "failed"."""
    notes = list(scored.warnings)
    if not scored.tracks:
        notes.append(f"no face found in {scored.sampled} sampled frames")
        return failed(scored.video, "; ".join(notes), model)
    judged = [
        _Judged(number, track, scored, decision) for number, track in enumerate(scored.tracks)
    ]
    confidence = max(person.confidence for person in judged)
    segments = tuple(segment for person in judged for segment in person.segments())
    verdict = decision.verdict(confidence)
    if verdict == "real" and segments and decision.segment_contrast is not None:
        verdict = "inconclusive"
        notes.append("scores like a real video, but for the segments")
    return Prediction(
        video=scored.video,
        verdict=verdict,
        confidence=confidence,
        segments=segments,
        timeline=tuple(face for person in judged for face in person.faces()),
        windows=tuple(window for person in judged for window in person.windows()),
        tracks=tuple(person.summary() for person in judged),
        coverage=coverage([track.times for track in scored.tracks], scored.sampled),
        model=model,
        reason="; ".join(notes) or None,
        thresholds=Thresholds(
            decision.real_below,
            decision.fake_above,
            decision.segment_threshold,
            decision.segment_contrast,
        ),
        heatmaps=_heatmaps(scored),
    )


def _heatmaps(scored: VideoLogits) -> NDArray[np.float32] | None:
    maps = [track.maps for track in scored.tracks if track.maps is not None]
    return None if not maps else (1 / (1 + np.exp(-np.concatenate(maps)))).astype(np.float32)


def failed(video: str, reason: str, model: ModelId) -> Prediction:
    """The prediction of a video that could not be scored."""
    return Prediction(video, "failed", None, (), (), (), (), 0.0, model, reason)


def video_contrast(scored: VideoLogits, decision: Decision) -> float:
    """The sharpest step of any person's curve (see Decision.segment_contrast); 0 without one."""
    steps = [
        _Judged(number, track, scored, decision).step()
        for number, track in enumerate(scored.tracks)
    ]
    return max((step.contrast for step in steps if step is not None), default=0.0)


def video_confidence(scored: VideoLogits, decision: Decision) -> float | None:
    """The confidence alone, as `decide` has it; None without a face."""
    judged = [
        _Judged(number, track, scored, decision) for number, track in enumerate(scored.tracks)
    ]
    return max((person.confidence for person in judged), default=None)


class _Judged:
    """One person's scores under a decision."""

    def __init__(
        self, number: int, track: TrackLogits, scored: VideoLogits, decision: Decision
    ) -> None:
        self._number, self._track, self._decision = number, track, decision
        self._duration, self._step = scored.duration, 1 / scored.spec.target_fps
        self._scores = decision.probability(track.window_logits)
        self._starts = np.array([track.times[window.start] for window in track.windows])
        self._ends = np.array([track.times[window.stop - 1] for window in track.windows])
        self._smooth = self._smoothed(self._starts, self._ends, self._scores, decision.smoothing)
        self.confidence = aggregate(self._smooth, decision.aggregate)

    def _smoothed(
        self,
        starts: NDArray[np.float64],
        ends: NDArray[np.float64],
        scores: NDArray[np.float64],
        width: int,
    ) -> NDArray[np.float64]:
        """The moving average, which does not reach across gaps in time."""
        parts = stretches(starts, ends, 1.5 * self._step)
        return np.concatenate([moving_average(scores[part], width) for part in parts])

    def _curve(self) -> NDArray[np.float64]:
        """A score for every face; without a frame head the mean of its windows."""
        track, decision = self._track, self._decision
        if track.frame_logits is None:
            curves = [
                np.full(len(window.mask), score)
                for window, score in zip(track.windows, self._scores, strict=True)
            ]
        else:
            curves = [decision.probability(logits) for logits in track.frame_logits]
        return average_windows(len(track.times), track.windows, curves)

    def summary(self) -> ScoredTrack:
        times = self._track.times
        return ScoredTrack(self._number, float(times[0]), float(times[-1]), self.confidence)

    def faces(self) -> list[ScoredFace]:
        rows = zip(self._track.times, self._curve(), self._track.boxes, strict=True)
        return [
            ScoredFace(float(time), float(score), self._number, _pixels(box))
            for time, score, box in rows
        ]

    def windows(self) -> list[ScoredWindow]:
        rows = zip(self._starts.tolist(), self._ends.tolist(), self._scores.tolist(), strict=True)
        return [ScoredWindow(start, end, score, self._number) for start, end, score in rows]

    def segments(self) -> list[Segment]:
        decision, times = self._decision, self._track.times
        starts, ends, smooth = self._starts, self._ends, self._smooth
        if self._track.frame_logits is not None:  # cut from the finer curve
            starts, ends = times, np.minimum(times + self._step, max(self._duration, times[-1]))
            smooth = self._smoothed(times, times, self._curve(), decision.frame_smoothing)
        gap = 1.5 * self._step
        found = find_segments(starts, ends, smooth, decision.segment_threshold, self._number, gap)
        step = self.step() if decision.segment_contrast is not None and not found else None
        if step is None or step.contrast <= (decision.segment_contrast or 0):
            return found
        first, last = self._track.times[step.start], self._track.times[step.stop - 1]
        score = float(self._curve()[step.start : step.stop].mean())
        end = min(last + self._step, max(self._duration, last))
        return [Segment(float(first), float(end), score, self._number)]

    def step(self) -> Step | None:
        """The stretch of faces that stands out from the person's others."""
        scores = np.clip(self._curve(), 1e-9, 1 - 1e-9)
        return find_step(np.log(scores) - np.log1p(-scores))


def _pixels(box: NDArray[np.float32]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (round(float(side), 1) for side in box)
    return x0, y0, x1, y1
