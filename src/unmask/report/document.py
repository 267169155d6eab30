"""The content of a report as one JSON document, which the page carries and `verify` reads."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from unmask.documents import STRICT, parse
from unmask.errors import ReportError
from unmask.report.credentials import Credentials
from unmask.report.facts import FileFacts, Origin
from unmask.report.words import Level
from unmask.video.reader import VideoInfo

_MOST = 64_000_000  # characters of a page that is read
_BEGIN = '<script type="application/json" id="document">'
_SUMMARY = '<script type="application/json" id="summary">'


@dataclass(frozen=True)
class Summary:
    """A report's row in an index; the same fields as in Document, and seconds of video."""

    name: str
    level: Level
    title: str
    confidence: float | None
    segments: int
    seconds: float | None
    made: str
    sha256: str | None
    thumbnail: str | None

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Document:
    """What a report says.

    Attributes:
        name: of the video, for people.
        made: when, UTC, ISO 8601.
        level: see unmask.report.words.Band.
        prediction: as Prediction.to_dict has it; its "video" is `name`.
        file: None if it could not be read.
        container: None of what is no video.
        credentials: of the file.
        origin: what made the report.
        cuts: seconds before which the picture changes at once.
        step: seconds between two samples.
        source: address of the judged file, relative to the report; None if it is not kept.
        player: address of what the page plays; None if nothing.
        copied: whether that is a copy which was encoded again.
        format: of this document.
    """

    name: str
    made: str
    level: Level
    prediction: dict[str, Any]
    file: FileFacts | None
    container: VideoInfo | None
    credentials: Credentials
    origin: Origin
    cuts: tuple[float, ...]
    step: float
    source: str | None
    player: str | None
    copied: bool
    format: Literal[1] = 1

    __pydantic_config__ = STRICT

    def to_json(self) -> str:
        """The document as JSON text, on one line."""
        return json.dumps(asdict(self), separators=(",", ":"))


def read_document(path: str | Path) -> Document:
    """The document of a report: of its page, or of the JSON that it offers for download.

    Raises:
        ReportError: it cannot be read, or is no report.
    """
    text = _text(Path(path))
    inside = text if text.lstrip().startswith("{") else _block(text, _BEGIN)
    if inside is None:
        raise ReportError(path, "is no report of unmask")
    return parse(Document, inside, path, ReportError, strict=False)


def read_summary(path: str | Path) -> Summary | None:
    """The summary of a report's page; None of another page."""
    try:
        inside = _block(_text(Path(path)), _SUMMARY)
        return None if inside is None else parse(Summary, inside, path, ReportError, strict=False)
    except ReportError:
        return None


def _block(page: str, opening: str) -> str | None:
    found = re.search(re.escape(opening) + r"(.*?)</script>", page, re.S)
    return found[1] if found else None


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST:
            raise ReportError(path, "is too large for a report")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ReportError(path, "no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(path, f"cannot be read: {error}") from error
