"""Predictions -> text, JSON, CSV, WebVTT, edit lists, and the curve as a table."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from unmask.detection.prediction import Prediction
from unmask.segments import Segment, format_timestamp

CSV_COLUMNS = ("video", "verdict", "confidence", "coverage", "segments", "reason", "key")
TIMELINE_COLUMNS = ("video", "time", "track", "score", "x0", "y0", "x1", "y1")


def as_json(predictions: Sequence[Prediction], many: bool) -> str:
    """An array, or for one input (not `many`) its object."""
    rows = [prediction.to_dict() for prediction in predictions]
    return json.dumps(rows if many else rows[0], indent=2) + "\n"


def as_jsonl(prediction: Prediction) -> str:
    """An object on a line."""
    return prediction.to_json(indent=None) + "\n"


def as_csv(prediction: Prediction) -> str:
    """A line of CSV_COLUMNS; segments as start-end pairs in seconds."""
    p = prediction
    segments = " ".join(f"{s.start:.2f}-{s.end:.2f}" for s in p.segments)
    confidence = "" if p.confidence is None else f"{p.confidence:.6f}"
    row = (p.video, p.verdict, confidence, f"{p.coverage:.4f}", segments, p.reason or "", p.key)
    return csv_lines([row])


def as_timeline(prediction: Prediction) -> str:
    """A line of TIMELINE_COLUMNS a face: seconds, who, 0 to 1, and the box in pixels."""
    video = prediction.video
    return csv_lines(
        (video, f"{f.time:.3f}", f.track, f"{f.score:.6f}", *f.box) for f in prediction.timeline
    )


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
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
        lines.append(
            f"  {s.start_time} - {s.end_time}  suspicious, {s.start:.1f} to {s.end:.1f} s, "
            f"mean score {s.confidence:.3f}{_person(p, s)}"
        )
    for trial in p.stability or ():
        score = "no score" if trial.confidence is None else f"{trial.confidence:.3f}"
        lines.append(f"  {trial.copy}: {trial.verdict}, {score}")
    if p.reason:
        lines.append(f"  note: {p.reason}")
    return "\n".join(lines) + "\n"


def as_vtt(prediction: Prediction) -> str:
    """WebVTT (W3C), which players show over the video: a cue a segment, the verdict as a note."""
    p = prediction
    score = "" if p.confidence is None else f", probability of fake {p.confidence:.3f}"
    blocks = ["WEBVTT", f"NOTE\n{_name(p)}: {p.verdict}{score}"]
    for s in _by_start(p):
        said = f"suspicious, mean score {s.confidence:.3f}{_person(p, s)}"
        blocks.append(f"{_vtt_time(s.start)} --> {_vtt_time(s.end)}\n{said}")
    return "\n\n".join(blocks) + "\n"


def as_edl(prediction: Prediction, fps: float) -> str:
    """CMX 3600, which editing programs read: an event a segment, one after the other.

    Source times are those of the video. Time code is non-drop: it counts frames, so at 29.97
    frames a second it runs slower than the clock.

    Args:
        prediction: of the video.
        fps: its frames a second.
    """
    p, base, laid = prediction, max(1, round(fps)), 0
    lines = [f"TITLE: {_name(p)}", "FCM: NON-DROP FRAME"]
    for number, s in enumerate(_by_start(p), 1):
        begin = round(s.start * fps)
        length = max(1, round(s.end * fps) - begin)  # an event of no frames is none
        codes = [_timecode(n, base) for n in (begin, begin + length, laid, laid + length)]
        laid += length
        lines += [
            "",
            f"{number:03d}  AX       V     C        {' '.join(codes)}",
            f"* FROM CLIP NAME: {_name(p)}",
            f"* COMMENT: suspicious, mean score {s.confidence:.3f}{_person(p, s)}",
        ]
    return "\n".join(lines) + "\n"


def _by_start(prediction: Prediction) -> list[Segment]:
    """Both formats want the order of time, whoever's face it is."""
    return sorted(prediction.segments, key=lambda s: (s.start, s.end))


def _person(prediction: Prediction, segment: Segment) -> str:
    return f", person {segment.track}" if len(prediction.tracks) > 1 else ""


def _name(prediction: Prediction) -> str:
    """The file's name where it may not end a line, or a note of WebVTT."""
    name = " ".join(Path(prediction.video).name.split()).replace("-->", "->")
    return name.encode("utf-8", "replace").decode()


def _vtt_time(seconds: float) -> str:
    whole, rest = divmod(round(seconds * 1000), 1000)
    return f"{format_timestamp(whole)}.{rest:03d}"


def _timecode(frame: int, base: int) -> str:
    whole, rest = divmod(frame, base)
    return f"{format_timestamp(whole)}:{rest:02d}"
