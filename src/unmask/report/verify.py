"""A report, judged again: does the same file give the same result?"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from unmask.detection.detector import Detector
from unmask.errors import FileError, ReportError
from unmask.faces.tracks import parse_faces
from unmask.models import find_model, load_bundle, shipped_models
from unmask.report.document import Document
from unmask.report.facts import Origin, file_facts, origin
from unmask.video.reader import Limits

# Of a score, or of seconds. A score may move by as much between precisions and machines.
TOLERANCE = 0.01
_COMPARED = ("verdict", "confidence", "coverage", "segments", "tracks", "stability", "thresholds")


@dataclass(frozen=True)
class Outcome:
    """What a second look gives.

    Attributes:
        differences: what is not as the report has it; empty if it is the same.
        notes: what is other, but does not make another result: versions, the machine.
    """

    differences: tuple[str, ...]
    notes: tuple[str, ...]


def detector_for(
    document: Document,
    report: str | Path,
    model: str | Path | None = None,
    device: str = "auto",
    limits: Limits = Limits(),  # noqa: B008
) -> Detector:
    """The detector that a report asks for.

    Args:
        document: of the report.
        report: its path, for errors.
        model: needed if it is not one that comes along.
        device, limits: see Detector.

    Raises:
        ReportError: it has to be named.
        ModelError: it cannot be loaded.
    """
    name, settings = document.origin.model, document.origin.settings
    if model is None and name not in shipped_models():
        raise ReportError(report, f"was made with the model {name!r}: name it with --model")
    bundle = load_bundle(find_model(model or name))
    try:
        faces = parse_faces(settings["decision"]["faces"])
        stability = bool(settings["stability"])
    except (LookupError, TypeError) as error:
        raise ReportError(report, "does not say with which settings it was made") from error
    asked = None if faces == bundle.decision.faces else faces
    return Detector(bundle, asked, device, limits, stability)


def find_video(document: Document, report: str | Path, video: str | Path | None = None) -> Path:
    """The file that a report is of: as given, or where the report has it.

    Raises:
        ReportError: it is not there, or the report does not say where.
    """
    if video is not None:
        path = Path(video)
    elif document.source is None:
        raise ReportError(report, "does not say where its video is: name it with --video")
    else:
        link = urlsplit(document.source)
        path = Path(report).parent / unquote_to_bytes(link.path).decode("utf-8", "surrogateescape")
    if not path.is_file():
        raise ReportError(path, f"missing: the file that {Path(report).name} is about is not there")
    return path


def verify(document: Document, detector: Detector, video: str | Path) -> Outcome:
    """Judge the video of a report again.

    Args:
        document: of the report.
        detector: with the model, faces and stability of the report (see Document.origin).
        video: path of the file.

    Returns:
        What differs. A file that was changed is not judged: that is the difference.
    """
    facts = file_facts(video, document.name)
    before, now = document.origin, origin(detector, document.name)
    if document.file is not None and (facts is None or facts.sha256 != document.file.sha256):
        found = f"SHA-256 {facts.sha256}" if facts else "it cannot be read"
        return Outcome((f"the file was changed: {found}, not {document.file.sha256}",), ())
    if now.weights_sha256 != before.weights_sha256:
        said = f"another model: weights {now.weights_sha256}, not {before.weights_sha256}"
        return Outcome((said,), ())
    differences = []
    if now.settings_sha256 != before.settings_sha256:
        differences.append("other settings (faces, decision, calibration, or stability)")
    try:
        prediction = detector.predict(video)
    except FileError as error:
        prediction = detector.fail(video, error)
    after = prediction.to_dict()
    for name in _COMPARED:
        differences += compare(name, document.prediction.get(name), after[name])
    return Outcome(tuple(differences), tuple(_notes(before, now)))


def compare(name: str, before: Any, now: Any) -> Iterator[str]:
    """What differs between two plain values, by more than TOLERANCE if they are numbers."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from compare(f"{name}.{key}", before.get(key), now.get(key))
    elif isinstance(before, list | tuple) and isinstance(now, list | tuple):
        for number, (a, b) in enumerate(zip_longest(before, now)):
            yield from compare(f"{name}[{number}]", a, b)
    elif _is_number(before) and _is_number(now):
        if abs(before - now) > TOLERANCE:
            yield f"{name} was {before:g}, now {now:g}"
    elif before != now:
        yield f"{name} was {before}, now {now}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _notes(before: Origin, now: Origin) -> Iterator[str]:
    if before.unmask != now.unmask or before.source_sha256 != now.source_sha256:
        yield f"unmask was {before.unmask} ({before.source_sha256[:12]}), now {now.unmask} " + (
            f"({now.source_sha256[:12]})"
        )
    if (before.backend, before.device) != (now.backend, now.device):
        yield f"it ran on {before.backend}, {before.device}, now on {now.backend}, {now.device}"
    for name in sorted(before.libraries.keys() | now.libraries.keys()):
        a, b = before.libraries.get(name), now.libraries.get(name)
        if a != b:
            yield f"{name} was {a}, now {b}"
