"""A model over labelled videos, or a file of scores -> an evaluation on disk."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unmask.corpora import VideoRecord, related
from unmask.data.index import holds_faces
from unmask.data.shards import tree_path
from unmask.detection.batch import Judge
from unmask.detection.calibrate import fit_calibration
from unmask.detection.card import model_card
from unmask.detection.decide import decide, failed, video_confidence
from unmask.detection.detector import Detector
from unmask.detection.scope import bits_per_pixel, scoped
from unmask.detection.scores import VideoLogits
from unmask.detection.scoring import (
    Scorer,
    labelled_videos,
    score_grid,
    score_videos,
    scored_video,
    telling_faces,
)
from unmask.engine import HERE, Engine, Shard
from unmask.errors import CorpusError, FileError, UsageError
from unmask.evaluation import Report, ScoredVideo, make_report, read_scores, write_evaluation
from unmask.evaluation.fitting import Fitting, ScoreCalibration, fit_scores
from unmask.evaluation.metrics import check_goal, choose_threshold
from unmask.evaluation.protocols import find_protocol
from unmask.evaluation.robustness import Cell, summarise
from unmask.models import Calibration, Decision, find_model, save_bundle
from unmask.video.corruption import Corruption, grid
from unmask.video.reader import Limits

log = logging.getLogger("unmask")
Move = Callable[[int, int], None]  # (finished, total)
_SCORES = (".csv", ".json")
CROSS = "cross"
_FOLDS = 10


@dataclass(frozen=True)
class EvaluateOptions:
    """What `unmask evaluate` can be asked for.

    Attributes:
        split: which videos: "train", "val", "test", or "all" of a corpus.
        faces: whose faces, in place of the model's own choice.
        against: other scores of the same videos to compare with.
        threshold: a score above it counts as fake, and none is inconclusive; None is the model's
            own thresholds, or 0.5 for a file of scores.
        fit: other videos to choose `goal` and `calibrate` on: a split, or a file of scores; or
            "cross": the reported ones themselves, each judged by a calibration that was fitted
            without its people, recording and footage. What is saved is fitted on all.
        goal: what the threshold is chosen for: "accuracy", "eer" or "fpr=0.01".
        calibrate: "temperature" (of a model with an offset), or "isotonic" for files of scores.
        save: folder that gets the model with the calibration and a card of this evaluation.
        protocol: name of a published one.
        corrupt: score the videos under corruptions, too (see unmask.video.corruption.grid).
        device: see pick_device.
        limits: what a video may cost.
        engine: where videos are judged; a fit is made here.
    """

    split: str = "test"
    faces: str | int | None = None
    against: str | None = None
    threshold: float | None = None
    fit: str | None = None
    goal: str | None = None
    calibrate: str | None = None
    save: str | None = None
    protocol: str | None = None
    corrupt: str | None = None
    device: str = "auto"
    limits: Limits = Limits()  # noqa: RUF009
    engine: Engine = HERE


def evaluate(
    source: str | Path,
    model: str | Path | None = None,
    out: str | Path = "evaluation",
    options: EvaluateOptions = EvaluateOptions(),
    progress: Callable[[str], Move] = lambda note: lambda finished, total: None,
) -> Report:
    """Judge a split of a preprocessed tree or of a corpus with a model, or take a file of scores.

    Args:
        source: the tree (also the address of one in shards), the corpus, or the file.
        model: see find_model; None for a file of scores.
        out: folder for the metrics, predictions, plots and the report.
        options: see EvaluateOptions.
        progress: given what is being done, returns what to call with (finished, total).

    Raises:
        UsageError: options that do not go together, or a calibration on what is reported.
        CorpusError: the videos or scores cannot be used.
        ModelError: the model cannot be loaded.
    """
    # Whatever can be wrong is found before the videos are judged, which may take hours.
    corruptions = _checked(tree_path(source), model, options)
    others = None if options.against is None else read_scores(options.against)
    if model is None:
        return _report_scores(source, out, options, others)
    scorer = _scorer(model, options)
    detector = scorer.detector
    records = labelled_videos(source, options.split)
    fitting = Fitting()
    if options.fit == CROSS:
        detector, fitting, videos = _cross_fitted(detector, source, records, progress("evaluate"))
    elif options.fit:
        detector, fitting = _fitted(detector, source, records, options, progress("fit"))
    decision = detector.decision
    limit = decision.fake_above if options.threshold is None else options.threshold
    lower = decision.real_below if options.threshold is None else options.threshold
    if options.fit != CROSS:
        scorer = replace(scorer, detector=detector)
        videos = score_videos(scorer, records, progress("evaluate"), source)
    _warn(videos)
    cells = []
    if corruptions:
        move = progress("corrupt")
        cells = [
            summarise("none", 0, "", videos, limit),
            *score_grid(scorer, records, corruptions, limit, out, move),
        ]
    try:
        report = make_report(
            videos, limit, real_below=lower, fitting=fitting, robustness=cells, against=others,
            protocol=options.protocol,
        )  # fmt: skip
    except ValueError as error:
        raise CorpusError(Path(options.against or source), str(error)) from error
    write_evaluation(out, videos, report, lambda video: telling_faces(detector, video, limit))
    if options.save:
        save_with_card(detector, report, options.save)
    return report


def score_corrupted(
    source: str | Path,
    model: str | Path | None,
    out: str | Path,
    options: EvaluateOptions,
    shard: Shard,
    move: Move = lambda finished, total: None,
) -> tuple[list[Cell], int]:
    """Judge the videos under a part of the corruptions; `evaluate` takes it from there.

    Returns:
        What came of each corruption of the part, and how many there are in all.

    Raises:
        UsageError, CorpusError, ModelError: see evaluate.
    """
    corruptions = _checked(tree_path(source), model, options)
    if not corruptions or options.fit:
        raise UsageError("--shard takes --corrupt, whose corruptions it shares out, and no --fit")
    assert model is not None
    scorer, part = _scorer(model, options), shard.of(corruptions)
    records = labelled_videos(source, options.split)
    limit = options.threshold
    limit = scorer.detector.decision.fake_above if limit is None else limit
    return score_grid(scorer, records, part, limit, out, move), len(corruptions)


def _scorer(model: str | Path, options: EvaluateOptions) -> Scorer:
    path, faces = find_model(model), None if options.faces is None else str(options.faces)
    how = faces, options.device, options.limits
    # Not the judge's own detector: that is kept, and a folder may hold another model by now.
    return Scorer(Detector.from_pretrained(path, *how), Judge(path, *how), options.engine)


def save_with_card(detector: Detector, report: Report, folder: str | Path) -> None:
    """Write the detector's model, with its calibration and a card of an evaluation."""
    save_bundle(folder, replace(detector.bundle, card=model_card(detector.bundle, report)))


def _checked(source: Path, model: object, options: EvaluateOptions) -> list[Corruption]:
    """The corruptions that are asked for, once everything goes together."""
    goal, fit, calibrate = options.goal, options.fit, options.calibrate
    if (fit is None) != (goal is None and calibrate is None):
        raise UsageError("--fit takes --goal, --calibrate or both, and they take --fit")
    if goal is not None and options.threshold is not None:
        raise UsageError("--goal chooses a threshold, and --threshold gives one: take either")
    if model is None and source.is_dir():
        raise UsageError("videos take a model: name one with --model")
    if model is not None and fit and Path(fit).suffix.lower() in _SCORES:
        raise UsageError("with --model, --fit names a split of the same videos")
    if fit == CROSS and (model is None or calibrate is None or goal is not None):
        raise UsageError(f"--fit {CROSS} takes --model and --calibrate, and no --goal")
    if fit == CROSS and (options.threshold is not None or options.corrupt):
        raise UsageError(f"--fit {CROSS} takes no --threshold and no --corrupt")
    if model is not None and calibrate == "isotonic":
        raise UsageError("a model takes --calibrate temperature; isotonic is for files of scores")
    if options.save and (model is None or calibrate is None):
        raise UsageError("--save writes a calibrated model: it takes --model and --calibrate")
    if goal is not None:
        check_goal(goal)
    if options.protocol is not None:
        find_protocol(options.protocol)
    corruptions = grid(options.corrupt) if options.corrupt else []
    if corruptions and (model is None or holds_faces(source, options.split)):
        raise UsageError("--corrupt takes videos and a model: no scores, and no .pt files")
    return corruptions


def _report_scores(
    source: str | Path,
    out: str | Path,
    options: EvaluateOptions,
    others: Sequence[ScoredVideo] | None,
) -> Report:
    """The report of a file of scores."""
    videos = read_scores(source)
    _warn(videos)
    try:
        fitting = Fitting()
        if options.fit:
            held_out = read_scores(options.fit)
            fitting = fit_scores(held_out, videos, options.calibrate, options.goal)
    except ValueError as error:
        raise UsageError(f"--fit {options.fit}: {error}") from error
    chosen = options.threshold if fitting.threshold is None else fitting.threshold
    videos = fitting.apply(videos)
    try:
        report = make_report(
            videos, 0.5 if chosen is None else chosen, fitting=fitting, against=others,
            protocol=options.protocol,
        )  # fmt: skip
    except ValueError as error:
        raise CorpusError(Path(options.against or source), str(error)) from error
    return write_evaluation(out, videos, report)


def _fitted(
    detector: Detector,
    source: str | Path,
    reported: Sequence[VideoRecord],
    options: EvaluateOptions,
    move: Move,
) -> tuple[Detector, Fitting]:
    """The detector with thresholds, and perhaps a scale, that fit other videos."""
    assert options.fit is not None
    records = labelled_videos(source, options.fit)
    known = {record.path.resolve() for record in reported}
    shared = [record for record in records if record.path.resolve() in known]
    if shared:
        raise UsageError(
            f"--fit {options.fit}: {len(shared)} of its videos are among those reported "
            f"({shared[0].path.name}): fit on another split"
        )
    scored, labels = score_labelled(detector, records, move)
    goal, fitting = options.goal, Fitting(goal=options.goal)
    try:
        if options.calibrate:
            where = f"the {options.fit} split"
            calibration = fit_calibration(scored, labels, detector.decision, where)
            if goal is not None:
                limit = _threshold(scored, labels, calibration.applied(detector.decision), goal)
                calibration = replace(
                    calibration,
                    fake_above=limit,
                    real_below=min(calibration.real_below, limit),
                    basis=replace(calibration.basis, fake_above=f"chosen for {goal}"),
                )
            detector = detector.calibrated(calibration)
            fitting = replace(fitting, calibration=_scale(calibration))
        elif goal is not None:
            decision = detector.decision
            limit = _threshold(scored, labels, decision, goal)
            lower = min(decision.real_below, limit)
            detector = detector.deciding(replace(decision, fake_above=limit, real_below=lower))
    except ValueError as error:
        raise UsageError(f"--fit {options.fit}: {error}") from error
    return detector, replace(fitting, threshold=detector.decision.fake_above)


def _cross_fitted(
    detector: Detector, source: str | Path, records: list[VideoRecord], move: Move
) -> tuple[Detector, Fitting, list[ScoredVideo]]:
    """The detector calibrated on the videos, and each video as a fit on the others judges it."""
    scored: dict[VideoRecord, VideoLogits] = {}
    videos: dict[VideoRecord, ScoredVideo] = {}
    for number, record in enumerate(records, 1):
        try:
            scored[record] = detector.score(record.path)
        except FileError as error:
            failure = failed(str(record.path), error.cause, detector.model)
            videos[record] = scored_video(record, failure, source)
        move(number, len(records))

    def fit(chosen: list[VideoRecord], where: str) -> Calibration:
        labels = [record.label for record in chosen]
        known = [scored[record] for record in chosen]
        return fit_calibration(known, labels, detector.decision, where)

    try:
        for fold in _folds([record for record in records if record in scored]):
            others = fit([record for record in scored if record not in fold], "other folds")
            decision = others.applied(detector.decision)
            for record in fold:
                prediction = decide(scored[record], decision, detector.model)
                prediction = scoped(prediction, bits_per_pixel(record.path))
                video = scored_video(record, prediction, source)
                videos[record] = replace(video, verdict=prediction.verdict)
        final = fit(list(scored), "the videos of this report, cross-fitted")
    except ValueError as error:
        raise UsageError(f"--fit {CROSS}: {error}") from error
    calibrated = detector.calibrated(final)
    fitting = Fitting(threshold=calibrated.decision.fake_above, calibration=_scale(final))
    return calibrated, fitting, [videos[record] for record in records]


def _folds(records: list[VideoRecord]) -> list[set[VideoRecord]]:
    """Up to ten parts of about the same size; what shares people or footage is in one of them."""
    folds: list[set[VideoRecord]] = [set() for _ in range(_FOLDS)]
    for group in sorted(related(records, "identity"), key=len, reverse=True):
        min(folds, key=len).update(group)
    return [fold for fold in folds if fold]


def _scale(calibration: Calibration) -> ScoreCalibration:
    """For the report."""
    videos = calibration.basis.reals + calibration.basis.fakes
    return ScoreCalibration(
        "temperature", calibration.temperature, (), (), videos, calibration.offset
    )


def _threshold(
    scored: Sequence[VideoLogits], labels: Sequence[int], decision: Decision, goal: str
) -> float:
    """What serves a goal best on the confidences that this decision gives."""
    found = [video_confidence(video, decision) for video in scored]
    known = [(label, c) for label, c in zip(labels, found, strict=True) if c is not None]
    limit = choose_threshold(
        np.array([label for label, _ in known]), np.array([c for _, c in known]), goal
    )
    return min(1.0, max(0.0, limit))


def score_labelled(
    detector: Detector,
    records: Sequence[VideoRecord],
    move: Move = lambda finished, total: None,
) -> tuple[list[VideoLogits], list[int]]:
    """The raw scores and labels of the videos that can be used; the others are named.

    Args:
        detector: its scale and thresholds play no part.
        records: the videos.
        move: called with (finished, total).
    """
    scored: list[VideoLogits] = []
    labels: list[int] = []
    for number, record in enumerate(records, 1):
        try:
            scored.append(detector.score(record.path))
            labels.append(record.label)
        except FileError as error:
            log.warning("no score: %s", error)
        move(number, len(records))
    return scored, labels


def _warn(videos: Sequence[ScoredVideo]) -> None:
    for video in videos:
        if video.score is None:
            log.warning("no score: %s: %s", video.name, video.reason or "none given")
