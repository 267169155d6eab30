"""How well are manipulated periods found? AP at an IoU, AR of N proposals, AUC of frames.

As LAV-DF (Cai, Stefanov, Dhall and Hayat 2022, "Do You Really Mean That?") and AV-Deepfake1M (Cai
et al. 2024) define them for temporal forgery localisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.evaluation.measures import auc_roc
from unmask.evaluation.scores import ScoredVideo, frame_labels
from unmask.segments import Segment

AP_IOUS = (0.5, 0.75, 0.95)
AR_COUNTS = (5, 10, 20, 50, 100)
AR_IOUS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
Periods = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Localisation:
    """Of the videos whose manipulated periods are known, real ones among them.

    Attributes:
        videos, periods: how many there are.
        average_precision: by IoU; None without a period.
        average_recall: by number of proposals a video, mean over the IoUs 0.5, 0.55, ... 0.95.
        frame_auc: mean over the partly faked videos of the AUC of their frames; None without.
        partial: how many videos that is.
    """

    videos: int
    periods: int
    average_precision: dict[float, float | None]
    average_recall: dict[int, float | None]
    frame_auc: float | None
    partial: int


def localise(videos: Sequence[ScoredVideo]) -> Localisation:
    """Measure the segments of all videos whose periods are known; a failed video found nothing."""
    known = [(video, video.periods) for video in videos if video.periods is not None]
    found = [video.segments for video, _ in known]
    truth = [periods for _, periods in known]
    areas = [
        auc_roc(np.array(frame_labels(video)), np.array([frame.score for frame in video.frames]))
        for video, _ in known
        if video.is_partial
    ]
    return Localisation(
        len(known),
        sum(map(len, truth)),
        {iou: average_precision(found, truth, iou) for iou in AP_IOUS},
        {count: average_recall(found, truth, count) for count in AR_COUNTS},
        float(np.mean([area for area in areas if area is not None])) if areas else None,
        len(areas),
    )


def average_precision(
    found: Sequence[Sequence[Segment]], truth: Sequence[Periods], iou: float
) -> float | None:
    """Area under the interpolated precision over recall of all proposals, the surest first.

    A proposal is right if it overlaps by more than `iou` with a period of its video that none
    before it has taken. The package `avdeepfake1m` gives the same less the first step: it adds
    from the surest proposal's recall on and so is up to 1 / number of periods lower.

    Args:
        found: the segments of each video.
        truth: (start, end) in seconds of each video's periods.
        iou: intersection over union, 0 to 1.
    """
    total = sum(map(len, truth))
    if not total:
        return None
    sure, right = [], []
    for segments, periods in zip(found, truth, strict=True):
        ranked = _ranked(segments)
        sure += [segment.confidence for segment in ranked]
        right += _matched(ranked, periods, iou).tolist()
    order = np.argsort(-np.array(sure), kind="stable")
    hits = np.cumsum(np.array(right, dtype=np.int64)[order])
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(hits, prepend=0) * best) / total)


def average_recall(
    found: Sequence[Sequence[Segment]], truth: Sequence[Periods], count: int
) -> float | None:
    """Share of the periods that the `count` surest proposals of each video find, mean over IoUs."""
    total = sum(map(len, truth))
    if not total:
        return None
    hits = [
        _matched(_ranked(segments)[:count], periods, iou).sum()
        for iou in AR_IOUS
        for segments, periods in zip(found, truth, strict=True)
    ]
    return float(sum(hits) / total / len(AR_IOUS))


def _ranked(segments: Sequence[Segment]) -> list[Segment]:
    return sorted(segments, key=lambda segment: -segment.confidence)


def _matched(segments: Sequence[Segment], periods: Periods, iou: float) -> NDArray[np.bool_]:
    """(number of segments,) whether each is the first to find one of the periods."""
    right = np.zeros(len(segments), dtype=bool)
    free = list(periods)
    for row, segment in enumerate(segments):
        for period in free:
            if _iou(segment, period) > iou:
                right[row] = True
                free.remove(period)
                break
    return right


def _iou(segment: Segment, period: tuple[float, float]) -> float:
    start, end = period
    common = min(segment.end, end) - max(segment.start, start)
    if common <= 0:
        return 0.0
    return common / (max(segment.end, end) - min(segment.start, start))
