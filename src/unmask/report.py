"""Predictions and evaluations -> text, JSON, JSON lines, CSV, files."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unmask.atomic import write_text
from unmask.corpora import VideoRecord
from unmask.detector import Prediction
from unmask.evaluate import Metrics, ScoredVideo, arrays, evaluate
from unmask.measures import compare, delong, intervals, measure
from unmask.plots import plot_evaluation
from unmask.segments import Segment

SUMMARY = "test_metrics_summary.json"
DETAILS = "test_detailed_predictions.json"
PLOTS = "evaluation_plots.png"
MEASURES = "test_measures.json"


def prediction_dict(prediction: Prediction) -> dict[str, Any]:
    """A prediction as plain values, in the form that `predict --format json` prints."""
    content = asdict(prediction)
    return {
        "video": content.pop("video"),
        "verdict": content.pop("verdict"),
        "is_fake": prediction.is_fake,
        **content,
        "segments": [_segment_dict(segment) for segment in prediction.segments],
    }


def _segment_dict(segment: Segment) -> dict[str, Any]:
    return {
        "start": segment.start,
        "end": segment.end,
        "start_time": segment.start_time,
        "end_time": segment.end_time,
        "confidence": segment.confidence,
        "track": segment.track,
    }


def as_json(predictions: Sequence[Prediction]) -> str:
    """One object for one prediction, an array for several."""
    rows = [prediction_dict(prediction) for prediction in predictions]
    return json.dumps(rows[0] if len(rows) == 1 else rows, indent=2) + "\n"


def as_jsonl(prediction: Prediction) -> str:
    """One object on one line."""
    return json.dumps(prediction_dict(prediction)) + "\n"


def as_csv(predictions: Sequence[Prediction]) -> str:
    """A line a video; segments as start-end pairs in seconds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["video", "verdict", "confidence", "coverage", "segments", "reason"])
    for p in predictions:
        segments = " ".join(f"{s.start:.2f}-{s.end:.2f}" for s in p.segments)
        confidence = "" if p.confidence is None else f"{p.confidence:.6f}"
        row = [p.video, p.verdict, confidence, f"{p.coverage:.4f}", segments, p.reason or ""]
        writer.writerow(row)
    return out.getvalue()


def as_text(prediction: Prediction) -> str:
    """A few lines for people."""
    p = prediction
    if p.confidence is None:
        return f"{p.video}: FAILED ({p.reason})\n"
    lines = [
        f"{p.video}: {p.verdict.upper()}, probability of fake {p.confidence:.3f}, "
        f"{len(p.tracks)} {'person' if len(p.tracks) == 1 else 'people'}, "
        f"face in {p.coverage:.0%} of the sampled frames"
    ]
    for s in p.segments:
        person = f", person {s.track}" if len(p.tracks) > 1 else ""
        lines.append(
            f"  {s.start_time} - {s.end_time}  suspicious, {s.start:.1f} to {s.end:.1f} s, "
            f"mean score {s.confidence:.3f}{person}"
        )
    if p.reason:
        lines.append(f"  note: {p.reason}")
    return "\n".join(lines) + "\n"


def scored_video(record: VideoRecord, prediction: Prediction) -> ScoredVideo:
    """A prediction beside its label."""
    return ScoredVideo(
        name=record.path.stem,
        label=record.label,
        score=prediction.confidence,
        category=record.category,
        segments=prediction.segments,
        num_windows=len(prediction.windows),
        coverage=prediction.coverage,
        reason=prediction.reason,
        input_type="preprocessed" if record.path.suffix == ".pt" else "video",
        cluster=next(iter(record.identities), record.source),
    )


def write_evaluation(
    folder: str | Path, videos: Sequence[ScoredVideo], threshold: float = 0.5
) -> Metrics:
    """Evaluate and write the summary, the detailed predictions, the measures and the plots.

    Raises:
        ValueError: no video has a score.
        FileError: a file cannot be written.
    """
    folder = Path(folder)
    metrics = evaluate(videos, threshold)
    summary = asdict(metrics)
    names = ("accuracy", "precision", "recall", "f1_score", "auc_roc", "confusion_matrix")
    details = {
        "overall_metrics": {name: summary[name] for name in names},
        "per_video_predictions": [_video_dict(video, threshold) for video in videos],
    }
    write_text(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
    write_text(folder / DETAILS, json.dumps(details, indent=2) + "\n")
    write_text(folder / MEASURES, json.dumps(measures_dict(videos), indent=2) + "\n")
    plot_evaluation(folder / PLOTS, *arrays(videos), metrics)
    return metrics


def measures_dict(videos: Sequence[ScoredVideo], resamples: int = 1000) -> dict[str, Any]:
    """Every measure of the scored videos with its 95 % interval, as plain values.

    Videos are drawn by cluster: by the person or the recording in them, where that is known.
    """
    scored = [video for video in videos if video.score is not None]
    labels, scores = arrays(scored)
    clusters = [video.cluster or video.name for video in scored]
    found = asdict(measure(labels, scores))
    return {
        "videos": len(scored),
        "failed": len(videos) - len(scored),
        "clusters": len(set(clusters)),
        "measures": {
            name: {"value": found[name], "low": interval.low, "high": interval.high}
            for name, interval in intervals(labels, scores, clusters, resamples=resamples).items()
        },
    }


def comparison_text(videos: Sequence[ScoredVideo], others: Sequence[ScoredVideo]) -> str:
    """The difference of two detectors' AUC on the videos that both have scored.

    Raises:
        ValueError: they have no video in common, disagree on a label, or a class is missing.
    """
    theirs = {video.name: video for video in others if video.score is not None}
    pairs = [(v, theirs[v.name]) for v in videos if v.score is not None and v.name in theirs]
    if not pairs:
        raise ValueError("no video has a score in both")
    wrong = [mine.name for mine, other in pairs if mine.label != other.label]
    if wrong:
        raise ValueError(f"{wrong[0]} has another label in the other file")
    labels, mine = arrays([video for video, _ in pairs])
    _, other = arrays([video for _, video in pairs])
    clusters = [video.cluster or video.name for video, _ in pairs]
    found = compare(labels, mine, other, clusters)
    low, high = found.interval.low, found.interval.high
    between = "no interval" if low is None else f"95 % from {low:+.4f} to {high:+.4f}"
    return (
        f"difference {found.difference:+.4f} of the AUC on {len(pairs)} videos, {between}, "
        f"p = {found.p_value:.4f} (paired bootstrap), "
        f"{delong(labels, mine, other).p_value:.4f} (DeLong)\n"
    )


def _video_dict(video: ScoredVideo, threshold: float) -> dict[str, Any]:
    fake = None if video.score is None else video.score > threshold
    return {
        "video_name": video.name,
        "input_type": video.input_type,
        "category": video.category,
        "video_is_fake": fake,
        "overall_confidence": video.score,
        "manipulated_segments": [_segment_dict(segment) for segment in video.segments],
        "predicted": None if fake is None else int(fake),
        "confidence": video.score,
        "true_label": video.label,
        "num_windows": video.num_windows,
        "coverage": video.coverage,
        "reason": video.reason,
        "cluster": video.cluster,
    }


def metrics_text(metrics: Metrics) -> str:
    """A few lines for people."""
    m = metrics
    (tn, fp), (fn, tp) = m.confusion_matrix
    auc = "undefined (one class)" if m.auc_roc is None else f"{m.auc_roc:.4f}"
    return (
        f"videos     {m.scored} scored, {m.failed} without a score\n"
        f"accuracy   {m.accuracy:.4f}\nprecision  {m.precision:.4f}\nrecall     {m.recall:.4f}\n"
        f"f1         {m.f1_score:.4f}\nauc-roc    {auc}\n"
        f"confusion  {tn} real called real, {fp} real called fake, "
        f"{fn} fake called real, {tp} fake called fake\n"
    )
