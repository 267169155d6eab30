"""Fitting a decision's scale and thresholds on videos that the model did not learn from."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from unmask.detection.decide import decide, video_confidence, video_contrast
from unmask.detection.prediction import ModelId
from unmask.detection.scores import VideoLogits
from unmask.evaluation.fitting import platt_targets
from unmask.evaluation.metrics import auc
from unmask.models import Calibration, Decision
from unmask.models.calibration import Basis

FALSE_ALARMS, MISSES = 0.03, 0.10  # of the reals called fake, and of the fakes called real
STEPS = 0.05  # of the reals that have a segment because it differs from the rest of the video
_SLOPES = (1e-3, 50.0)  # 1 / temperature


def fit_calibration(
    scored: Sequence[VideoLogits],
    labels: Sequence[int],
    decision: Decision,
    videos: str,
    false_alarms: float = FALSE_ALARMS,
    misses: float = MISSES,
) -> Calibration:
    """Temperature, offset and thresholds for a decision, as it will be used.

    The temperature and the offset are those for which the confidences of the videos, smoothed
    and aggregated as the decision has it, have the smallest cross-entropy to Platt's targets
    (Platt 1999, section 2.2), both classes weighing the same. Scores that say nothing, or the
    contrary, become unsure.

    Args:
        scored: raw scores; those of videos without a face are left out.
        labels: 0 real, 1 fake, one a video.
        decision: what the scores are used with; its own scale and thresholds play no part.
        videos: where the videos are from, for the record.
        false_alarms: at most this share of the reals lies above `fake_above`, and of their faces
            above `segment_threshold`; neither is below 0.5.
        misses: at most this share of the fakes lies below `real_below`, which is at most 0.5.

    Raises:
        ValueError: a class is missing.
    """
    known = [(video, label) for video, label in zip(scored, labels, strict=True) if video.tracks]
    faces, truth = [video for video, _ in known], np.array([label for _, label in known], int)
    if len(set(truth.tolist())) < 2:
        raise ValueError("calibration takes videos with faces of both classes")
    slope, shift = _fit(faces, truth, decision)
    scaled = _scaled(decision, slope, shift)
    scores = _confidences(faces, scaled)
    curve = np.concatenate([_curve(v, scaled) for v, label in known if not label])
    contrasts = np.array([video_contrast(v, scaled) for v, label in known if not label])
    reals, fakes = int((truth == 0).sum()), int((truth == 1).sum())
    return Calibration(
        temperature=scaled.temperature,
        offset=scaled.offset,
        real_below=min(0.5, _reached_by(scores[truth == 1], misses)),
        fake_above=max(0.5, _exceeded_by(scores[truth == 0], false_alarms)),
        segment_threshold=max(0.5, _exceeded_by(curve, false_alarms)),
        segment_contrast=_exceeded_by(contrasts, STEPS),
        basis=Basis(
            reals, fakes, videos, auc(truth, scores),
            fake_above=f"at most {false_alarms:.0%} of the reals lie above",
            real_below=f"at most {misses:.0%} of the fakes lie below",
            segment_threshold=f"at most {false_alarms:.0%} of the reals' faces lie above",
            segment_contrast=f"at most {STEPS:.0%} of the reals have a sharper step",
        ),
    )  # fmt: skip


def _fit(
    scored: Sequence[VideoLogits], truth: NDArray[np.int64], decision: Decision
) -> tuple[float, float]:
    """(slope, shift): the probability is sigmoid(slope * logit + shift)."""
    targets, weights = platt_targets(truth), 1 / np.bincount(truth)[truth]

    def loss(point: NDArray[np.float64]) -> float:
        slope = float(np.clip(np.exp(point[0]), *_SLOPES))
        p = _confidences(scored, _scaled(decision, slope, float(point[1])))
        p = np.clip(p, 1e-9, 1 - 1e-9)
        return float(-(weights * (targets * np.log(p) + (1 - targets) * np.log1p(-p))).sum())

    best = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-6})
    return float(np.clip(np.exp(best.x[0]), *_SLOPES)), float(best.x[1])


def _scaled(decision: Decision, slope: float, shift: float) -> Decision:
    return Decision(
        decision.faces, decision.smoothing, decision.frame_smoothing, decision.aggregate,
        1 / slope, shift / slope,
    )  # fmt: skip


def _confidences(scored: Sequence[VideoLogits], decision: Decision) -> NDArray[np.float64]:
    return np.array([video_confidence(video, decision) for video in scored], dtype=np.float64)


def _curve(scored: VideoLogits, decision: Decision) -> NDArray[np.float64]:
    """The scores of a video's faces."""
    prediction = decide(scored, decision, ModelId("", ""))
    return np.array([face.score for face in prediction.timeline])


def _reached_by(scores: NDArray[np.float64], share: float) -> float:
    """A threshold up to which at most this share of the scores lies."""
    return max(0.0, float(np.nextafter(np.sort(scores)[int(share * len(scores))], -1)))


def _exceeded_by(scores: NDArray[np.float64], share: float) -> float:
    """A threshold above which at most this share of the scores lies."""
    return float(np.sort(scores)[::-1][int(share * len(scores))])
