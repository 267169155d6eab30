"""Predictions -> text, JSON, JSON lines, CSV."""

import csv
import io
import json
from collections.abc import Sequence

from unmask.detection.prediction import Prediction


def as_json(predictions: Sequence[Prediction]) -> str:
    """One object for one prediction, an array for several."""
    rows = [prediction.to_dict() for prediction in predictions]
    return json.dumps(rows[0] if len(rows) == 1 else rows, indent=2) + "\n"


def as_jsonl(prediction: Prediction) -> str:
    """One object on one line."""
    return prediction.to_json(indent=None) + "\n"


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
