"""Predictions -> text, JSON, JSON lines, CSV."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Self

from unmask.atomic import write_text
from unmask.detection.prediction import Prediction
from unmask.errors import FileError

FORMATS = ("text", "json", "jsonl", "csv")


class PredictionWriter:
    """Writes predictions as they come; a context manager, which an interrupt closes in order.

    JSON lines, and text for a terminal, are written as each prediction comes; everything else at
    the end, into a file whole or not at all.

    Args:
        form: one of FORMATS.
        path: of the file; None is standard output.

    Raises:
        FileError: it cannot be written.
    """

    def __init__(self, form: str, path: str | Path | None = None) -> None:
        self._form, self._path = form, path
        self._done: list[Prediction] = []
        self._stack = ExitStack()
        self._stream: IO[str] | None = None

    def __enter__(self) -> Self:
        if self._path is None:
            self._stream = sys.stdout
        elif self._form == "jsonl":
            try:
                file = Path(self._path).open("w", encoding="utf-8")
            except OSError as error:
                raise FileError(self._path, f"cannot be written: {error.strerror}") from error
            self._stream = self._stack.enter_context(file)
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            text = self._rest()
            if text and self._stream is None and self._path is not None:
                write_text(self._path, text)
            elif text:
                self._say(text)

    def add(self, prediction: Prediction) -> None:
        """Take the next one."""
        self._done.append(prediction)
        if self._form == "jsonl":
            self._say(prediction.to_json(indent=None) + "\n")
        elif self._form == "text" and self._stream is not None:
            self._say(as_text(prediction))

    def _rest(self) -> str:
        """What was not written as it came."""
        if self._form == "json":
            return as_json(self._done) if self._done else ""
        if self._form == "csv":
            return as_csv(self._done) if self._done else ""
        late = self._form == "text" and self._stream is None
        return "".join(map(as_text, self._done)) if late else ""

    def _say(self, text: str) -> None:
        assert self._stream is not None
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:  # the reader has gone: no failure of ours
            raise
        except OSError as error:
            name = self._path or "standard output"
            raise FileError(name, f"cannot be written: {error.strerror}") from error


def as_json(predictions: Sequence[Prediction]) -> str:
    """One object for one prediction, an array for several."""
    rows = [prediction.to_dict() for prediction in predictions]
    return json.dumps(rows[0] if len(rows) == 1 else rows, indent=2) + "\n"


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
    for trial in p.stability or ():
        score = "no score" if trial.confidence is None else f"{trial.confidence:.3f}"
        lines.append(f"  {trial.copy}: {trial.verdict}, {score}")
    if p.reason:
        lines.append(f"  note: {p.reason}")
    return "\n".join(lines) + "\n"
