"""Scores that mean what they say: fitted on one file of scores, applied to another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from unmask.evaluation.metrics import choose_threshold
from unmask.evaluation.scores import Labels, ScoredVideo, Scores, arrays

_EDGE = 1e-6  # no score is surer than this


@dataclass(frozen=True)
class ScoreCalibration:
    """A rising function of scores.

    Attributes:
        method: "temperature": the logit is divided by a number (Guo, Pleiss, Sun and Weinberger
            2017), fitted as in `fit_platt`; "isotonic": a staircase of least squared error
            (Zadrozny and Elkan 2002).
        scores, probabilities: (K,) the function's points, linear between; for "temperature"
            empty.
        temperature: above 1 makes less sure; 1 for "isotonic".
        videos: how many it was fitted on.
        offset: added to the logit before it is divided; 0 for "isotonic".
    """

    method: str
    temperature: float
    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    videos: int
    offset: float = 0.0

    def apply(self, scores: ArrayLike) -> Scores:
        """(N,) scores of 0 to 1 -> (N,) calibrated ones."""
        s = np.asarray(scores, dtype=np.float64)
        if self.method == "isotonic":
            return np.interp(s, self.scores, self.probabilities)
        return np.asarray(expit((_logit(s) + self.offset) / self.temperature))


def fit_score_calibration(labels: Labels, scores: Scores, method: str) -> ScoreCalibration:
    """Fit on scores of 0 to 1 with labels 0 or 1, both occurring.

    Raises:
        ValueError: a class is missing, or scores are no probabilities.
    """
    if len(set(labels.tolist())) < 2:
        raise ValueError("calibration takes videos of both classes")
    if scores.min() < 0 or scores.max() > 1:
        raise ValueError("calibration takes scores of 0 to 1")
    if method == "isotonic":
        fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, labels)
        xs, ys = fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()
        return ScoreCalibration(method, 1.0, tuple(xs), tuple(ys), len(labels))
    logits, targets = _logit(scores), platt_targets(labels)

    def loss(log_temperature: float) -> float:
        z = logits / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, z) - targets * z))

    best = minimize_scalar(loss, bounds=(-4, 4), method="bounded").x
    return ScoreCalibration(method, float(np.exp(best)), (), (), len(labels))


def fit_platt(labels: Labels, scores: Scores) -> tuple[float, float]:
    """(temperature, offset) of logits z, so that sigmoid((z + offset) / temperature) fits best.

    Platt 1999, "Probabilistic Outputs for Support Vector Machines", with its targets: a class of
    N videos is one of N + 1 right ones among N + 2, so that scores that separate a few videos
    without a mistake do not become certain. Both classes weigh the same, however many videos each
    has.

    Args:
        labels: (N,) 0 or 1, both occurring.
        scores: (N,) sigmoid(z), 0 to 1.
    """
    logits, targets = _logit(scores), platt_targets(labels)
    weights = 1 / np.bincount(labels)[labels]
    fitted = LogisticRegression(C=1e6).fit(
        np.tile(logits, 2)[:, None],
        np.repeat([1, 0], len(labels)),
        np.concatenate([weights * targets, weights * (1 - targets)]),
    )
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope < 1e-3:  # scores that say nothing, or the contrary, become unsure
        return 1e3, 0.0
    return 1 / slope, intercept / slope


@dataclass(frozen=True)
class Fitting:
    """What was learned on one file of scores, to be used on another.

    Attributes:
        calibration: of the scores; None leaves them as they are.
        threshold: chosen for `goal`, of calibrated scores; None if none was asked for.
        goal: see choose_threshold.
    """

    calibration: ScoreCalibration | None = None
    threshold: float | None = None
    goal: str | None = None

    def apply(self, videos: Sequence[ScoredVideo]) -> list[ScoredVideo]:
        """The same videos with calibrated scores, those of their windows and frames, too."""
        if self.calibration is None:
            return list(videos)
        apply = self.calibration.apply
        return [
            replace(
                video,
                score=None if video.score is None else float(apply(video.score)),
                windows=tuple(w._replace(score=float(apply(w.score))) for w in video.windows),
                frames=tuple(f._replace(score=float(apply(f.score))) for f in video.frames),
            )
            for video in videos
        ]


def fit_scores(
    held_out: Sequence[ScoredVideo],
    reported: Sequence[ScoredVideo],
    method: str | None = None,
    goal: str | None = None,
) -> Fitting:
    """Fit a calibration, and choose a threshold, on videos that are not the reported ones.

    Args:
        held_out: what is fitted on.
        reported: what is reported, to refuse what would flatter it.
        method: of calibration, "temperature" or "isotonic".
        goal: of the threshold, see choose_threshold.

    Raises:
        ValueError: a video is in both, or nothing can be fitted.
    """
    filed = all(video.path for video in (*held_out, *reported))

    def key(video: ScoredVideo) -> object:  # its file, else its name
        return video.path.resolve() if filed and video.path else video.name

    known = {key(video) for video in reported}
    shared = [video.name for video in held_out if key(video) in known]
    if shared:
        raise ValueError(
            f"{len(shared)} of its videos are among those reported ({shared[0]}): a threshold or "
            "calibration chosen on what is reported says nothing; fit on another split"
        )
    labels, scores = arrays(held_out)
    calibration = None if method is None else fit_score_calibration(labels, scores, method)
    if calibration is not None:
        scores = calibration.apply(scores)
    threshold = None if goal is None else choose_threshold(labels, scores, goal)
    return Fitting(calibration, threshold, goal)


def platt_targets(labels: Labels) -> Scores:
    """Of each video, what its probability ought to be (Platt 1999, section 2.2)."""
    reals, fakes = np.bincount(labels, minlength=2)
    return np.asarray(np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2)))


def _logit(scores: Scores) -> Scores:
    return np.asarray(logit(np.clip(scores, _EDGE, 1 - _EDGE)))
