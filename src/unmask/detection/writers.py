"""Predictions -> an output in one of the formats, in order, as they come; and back from there."""

import csv
import io
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Self

from unmask import storage
from unmask.atomic import write_text, writing
from unmask.detection import formats
from unmask.detection.prediction import Prediction
from unmask.errors import FileError, UsageError
from unmask.video.reader import Video

_PIECES = {  # of each prediction, one after the other
    "text": formats.as_text,
    "jsonl": formats.as_jsonl,
    "csv": formats.as_csv,
    "timeline": formats.as_timeline,
}
_HEADERS = {"csv": formats.CSV_COLUMNS, "timeline": formats.TIMELINE_COLUMNS}
_FILES = ("vtt", "edl")  # one for each video
FORMATS = (*_PIECES, "json", *_FILES)
RESUMABLE = ("jsonl", "csv")
_RATE = 25.0  # frames a second of an edit list for faces without their video


class PredictionWriter:
    """Writes predictions as they come; a context manager, which an interrupt closes in order.

    JSON lines are written as each prediction comes, through to the disk; other formats keep the
    order of the inputs. JSON is written at the end, whole or not at all.

    Args:
        form: one of FORMATS.
        path: of the file; None is standard output. With `many`, for a format of one file a
            video, of the folder.
        many: whether there may be several predictions.
        append: keep what the file holds (see finished).

    Raises:
        UsageError: several videos, one file for each of them, and no folder.
        FileError: it cannot be written.
    """

    def __init__(
        self,
        form: str,
        path: str | Path | None = None,
        *,
        many: bool = True,
        append: bool = False,
    ) -> None:
        if form in _FILES and many and path is None:
            raise UsageError(f"{form} is one file for each video: name a folder with -o")
        self._form, self._path, self._many, self._append = form, path, many, append
        self._waiting: dict[int, tuple[Prediction, str]] = {}
        self._next = 0
        self._stack = ExitStack()
        self._stream: BinaryIO | None = None

    def __enter__(self) -> Self:
        if self._path is None:
            self._stream = sys.stdout.buffer
        elif self._form in _PIECES:
            with writing(Path(self._path)):
                file = Path(self._path).open("ab" if self._append else "wb")
            self._stream = self._stack.enter_context(file)
        header = _HEADERS.get(self._form)
        if header and not (self._append and self._stream and self._stream.tell()):
            self._say(formats.csv_lines([header]))
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._stack:
            if isinstance(error, FileError | OSError):  # it cannot be written
                return
            rest = [self._waiting[number] for number in sorted(self._waiting)]
            if self._form != "json":
                for prediction, name in rest:
                    self._write(prediction, name)
            elif rest:
                self._say(formats.as_json([prediction for prediction, _ in rest], self._many))

    def add(self, prediction: Prediction, number: int, name: str) -> None:
        """Take a prediction.

        Args:
            prediction: of a video.
            number: of the video among the inputs, from 0.
            name: for a file of its own, without suffix.
        """
        if self._form == "jsonl":
            self._write(prediction, name)
            return
        self._waiting[number] = prediction, name
        while self._form != "json" and self._next in self._waiting:
            self._write(*self._waiting.pop(self._next))
            self._next += 1

    def _write(self, prediction: Prediction, name: str) -> None:
        if self._form in _PIECES:
            self._say(_PIECES[self._form](prediction))
        elif prediction.verdict != "failed":  # a file without segments would look like a result
            file = formats.as_vtt(prediction) if self._form == "vtt" else _edit_list(prediction)
            self._say(file, f"{name}.{self._form}")

    def _say(self, text: str, name: str = "") -> None:
        if self._stream is None:
            assert self._path is not None
            write_text(Path(self._path) / name if name and self._many else self._path, text)
            return
        try:
            self._stream.write(text.encode("utf-8", "surrogateescape"))  # names of any bytes
            self._stream.flush()
            if self._path is not None and Path(self._path).is_file():
                os.fsync(self._stream.fileno())  # what is finished outlives a power cut
        except BrokenPipeError:  # the reader has gone: no failure of ours
            raise
        except OSError as error:
            where = self._path or "standard output"
            raise FileError(where, f"cannot be written: {error.strerror}") from error


def finished(form: str, path: str | Path) -> list[tuple[str, str]]:
    """(key, verdict) of every prediction that a file holds; nothing if there is no file.

    A last line that was not written to its end is cut off.

    Args:
        form: one of RESUMABLE.
        path: of the file.

    Raises:
        FileError: it cannot be read, or holds something else.
    """
    rows: list[tuple[str, str]] = []
    end, record, number = 0, b"", 0
    try:
        with Path(path).open("rb+") as file:
            for line in file:
                number, record = number + 1, record + line
                if not line.endswith(b"\n") or (form == "csv" and record.count(b'"') % 2):
                    continue  # a name may hold line ends, in quotes
                rows += _parsed(form, record.decode("utf-8", "surrogateescape"), first=not end)
                end, record = end + len(record), b""
            file.truncate(end)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, RecursionError, csv.Error) as error:
        raise FileError(
            path, f"line {number} is no prediction in this format: leave out --resume to replace "
            "the file, or name another one"
        ) from error  # fmt: skip
    return rows


def _parsed(form: str, record: str, first: bool) -> list[tuple[str, str]]:
    if form == "jsonl":
        row = json.loads(record)
        return [(str(row["key"]), str(row["verdict"]))]
    (cells,) = csv.reader(io.StringIO(record, newline=""))
    if first:
        if tuple(cells) != formats.CSV_COLUMNS:
            raise ValueError("other columns")
        return []
    named = dict(zip(formats.CSV_COLUMNS, cells, strict=True))
    return [(named["key"], named["verdict"])]


def _edit_list(prediction: Prediction) -> str:
    try:
        with storage.fetched(prediction.video) as file, Video(file) as video:
            fps = video.info.fps
    except FileError:  # a `.pt` file of faces
        fps = None
    return formats.as_edl(prediction, fps or _RATE)
