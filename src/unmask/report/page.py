"""A document -> one HTML page that needs nothing from anywhere."""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files

import jinja2
from markupsafe import Markup

from unmask.detection.prediction import Prediction
from unmask.models import Bundle
from unmask.report import words
from unmask.report.document import Document, Summary
from unmask.report.footage import Footage

_LANES = 8  # people who are shown at once
# To the three characters that could end an element, JSON has other ways of writing them.
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


@dataclass(frozen=True)
class Lane:
    """One person's strip under the player: who, when, the score, and all that in words."""

    track: int
    name: str
    start: float
    end: float
    confidence: float
    said: str


def render(
    document: Document, summary: Summary, prediction: Prediction, footage: Footage, bundle: Bundle
) -> str:
    """The page of a report."""
    lanes = _lanes(prediction)
    limits = prediction.thresholds
    confidence = prediction.confidence
    by_score = ""
    if limits is not None and confidence is not None:
        by_score = "fake" if confidence > limits.fake_above else "inconclusive"
        by_score = "real" if confidence <= limits.real_below else by_score
    sha256 = document.file.sha256 if document.file else ""
    tool = f"unmask {document.origin.unmask}"
    return page(
        "report.html.jinja",
        ("report.js",),
        with_charts=True,
        document=document,
        p=prediction,
        band=words.band(prediction),
        absence=words.ABSENCE,
        rates=words.error_rates(bundle),
        credentials=words.CREDENTIALS[document.credentials.state],
        lanes=lanes,
        names={lane.track: lane.name for lane in lanes},
        shown=_LANES,
        faces=footage.faces,
        by_score=by_score,
        sentence=words.sentence(prediction, document.name, sha256, tool),
        download=f"{document.name}.json",
        summary=embedded(asdict(summary)),
        json=embedded(asdict(document)),
    )


def page(
    template: str, scripts: tuple[str, ...], with_charts: bool = False, **values: object
) -> str:
    """A page of a template, with its style and scripts in it, and a policy that allows only them.

    Args:
        template: name of the file.
        scripts: names of the files, in order.
        with_charts: with uPlot before them.
        values: for the template.
    """
    code = [
        _part(name) for name in (*(("uplot/uPlot.iife.min.js",) if with_charts else ()), *scripts)
    ]
    style = "".join(
        _part(name) for name in (*(("uplot/uPlot.min.css",) if with_charts else ()), "style.css")
    )
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_digest, code))}",
            f"style-src {_digest(style)}",
            "img-src data:",
            "media-src 'self' file:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("unmask.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "clock": clock,
        "moment": _moment,
        "anchor": _anchor,
        "capitalised": lambda text: text[:1].upper() + text[1:],
    }
    return environment.get_template(template).render(
        policy=Markup(policy),
        style=Markup(style),
        scripts=[Markup(text) for text in code],
        **values,
    )


def embedded(value: object) -> Markup:
    """A value as JSON that may stand in a page's script element."""
    text = json.dumps(value, separators=(",", ":"))
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return Markup(text)


def clock(seconds: float) -> str:
    """A time in a video as a player shows it, with tenths: 1:02.5."""
    tenths = round(max(0.0, seconds) * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{minutes:02d}:{tenths / 10:04.1f}" if hours else f"{minutes}:{tenths / 10:04.1f}"
    return f"{hours}:{rest}" if hours else rest


def _lanes(prediction: Prediction) -> list[Lane]:
    """The people, the most suspicious first."""
    lanes = []
    many = len(prediction.tracks) > 1
    for track in sorted(prediction.tracks, key=lambda t: -t.confidence):
        name = f"Person {track.id + 1}" if many else "The face"
        scores = [face.score for face in prediction.timeline if face.track == track.id]
        found = sum(segment.track == track.id for segment in prediction.segments)
        said = (
            f"{name}: scores of {len(scores)} faces from {clock(track.start)} to "
            f"{clock(track.end)}, lowest {min(scores):.2f}, highest {max(scores):.2f}; "
            f"{found} suspicious segment{'' if found == 1 else 's'}."
        )
        lanes.append(Lane(track.id, name, track.start, track.end, track.confidence, said))
    return lanes


def _moment(text: str) -> str:
    """ISO 8601 in UTC, for people."""
    return text.replace("T", " ").replace("+00:00", " UTC")


def _anchor(percent: float) -> str:
    """Where a text of a scale is held, so that it stays on it."""
    return "start" if percent < 20 else "end" if percent > 80 else "middle"


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _part(name: str) -> str:
    return files("unmask.report").joinpath(name).read_text(encoding="utf-8")
