"""What a prediction is called in words: bands of evidence, error rates, a sentence to quote."""

from dataclasses import dataclass
from typing import Literal

from unmask.detection.card import card_figures
from unmask.detection.prediction import Prediction
from unmask.models import Bundle
from unmask.report.credentials import State

Level = Literal["strong", "moderate", "weak", "inconclusive", "failed"]
ABSENCE = "Absence of evidence is not evidence of absence: many manipulated videos show no trace."
_OTHER = "but altered copies of the file are called otherwise."


@dataclass(frozen=True)
class Band:
    """How much evidence there is.

    Attributes:
        level: for programs and style sheets.
        title: for people.
        said: what it rests on, in a sentence or two.
    """

    level: Level
    title: str
    said: str


TITLES: dict[Level, str] = {
    "strong": "Strong evidence of manipulation",
    "moderate": "Moderate evidence of manipulation",
    "inconclusive": "Inconclusive",
    "weak": "Weak or no evidence of manipulation",
    "failed": "Not analysed",
}


def band(prediction: Prediction) -> Band:
    """The band of a prediction.

    Strong: called fake, and so is every copy of the video. Moderate: called fake without that
    test, or no verdict but segments. A verdict that was taken back is inconclusive.
    """
    level, said = _band(prediction)
    return Band(level, TITLES[level], said)


def _band(prediction: Prediction) -> tuple[Level, str]:
    p, limits = prediction, prediction.thresholds
    if p.verdict == "failed" or p.confidence is None or limits is None:
        return "failed", "Nothing could be scored, so nothing can be said about this video."
    if p.verdict == "fake":
        over = "The score lies above the model's threshold for manipulated video"
        if p.stability:
            return "strong", f"{over}, and so it does in every altered copy of the file."
        return "moderate", f"{over}. Whether that holds for altered copies was not tested."
    if p.verdict == "real":
        return "weak", (
            "The score lies below the model's threshold for unaltered video. The model misses many "
            "kinds of manipulation, so this is no proof that the video is what it seems."
        )
    if p.out_of_scope:
        return "inconclusive", (
            "The video is outside of what the model can judge, so its score is not used."
        )
    if p.confidence > limits.fake_above:
        return "inconclusive", f"The score lies above the threshold for manipulated video, {_OTHER}"
    by_segments = p.segments and limits.segment_contrast is not None
    if p.confidence <= limits.real_below and not by_segments:
        return "inconclusive", f"The score lies below the threshold for unaltered video, {_OTHER}"
    if p.segments:
        return "moderate", (
            "Parts of the video look manipulated or stand out from the rest; the whole of it "
            "reaches no threshold."
        )
    return "inconclusive", "The score lies between the model's thresholds: it cannot tell."


def error_rates(bundle: Bundle) -> list[str]:
    """What is known of a model's false alarms and misses, in sentences."""
    figures = card_figures(bundle.card or "")
    said = []
    if figures is not None:
        real, fake = figures.verdicts["real"], figures.verdicts["fake"]
        reals, fakes = (c.real + c.inconclusive + c.fake + c.failed for c in (real, fake))
        said += [
            f"False alarms: of {reals} recordings of real people this model called {real.fake} "
            f"fake, {real.real} real; the others were inconclusive.",
            f"Misses: of {fakes} known fakes it called {fake.real} real and {fake.fake} fake; the "
            "others were inconclusive.",
        ]
        if figures.missed:
            said.append(f"Not told from real videos with any certainty: {figures.missed}.")
    basis = bundle.calibration.basis if bundle.calibration else None
    if basis is not None:
        said.append(
            f"Its thresholds were chosen on {basis.reals} real and {basis.fakes} fake videos so "
            f"that {basis.fake_above} the upper and {basis.real_below} the lower one."
        )
    return said or ["The error rates of this model are not known."]


def sentence(prediction: Prediction, name: str, sha256: str, tool: str) -> str:
    """A sentence that can be quoted.

    Args:
        prediction: what is said of the video.
        name: of the file, for people.
        sha256: of the file; empty if it could not be read.
        tool: name and version of the program.
    """
    p, found = prediction, band(prediction)
    which = f"the video file “{name}”" + (f" (SHA-256 {sha256[:12]}…)" if sha256 else "")
    model = f"{tool} with the model “{p.model.name}”"
    if p.confidence is None:
        return f"An automated analysis of {which} by {model} was not possible."
    finding = {
        "strong": "found strong evidence that a face in it was manipulated",
        "moderate": "found moderate evidence that a face in it was manipulated",
        "weak": "found weak or no evidence of manipulated faces, which does not show that there "
        "is none",
        "inconclusive": "came to no conclusion",
        "failed": "",
    }[found.level]
    return (
        f"An automated analysis of {which} by {model} {finding} (score {p.confidence:.2f} of 1; "
        "the model errs in both directions). It is one piece of evidence and no proof."
    )


CREDENTIALS: dict[State, tuple[str, str]] = {
    "absent": (
        "No Content Credentials",
        "The file carries none. Most files do not; this says nothing about manipulation.",
    ),
    "invalid": (
        "Content Credentials: invalid",
        "The file carries Content Credentials that do not fit it: it was changed after signing, or "
        "they are damaged or forged.",
    ),
    "valid": (
        "Content Credentials: valid, signer not verified",
        "They fit the file. Whether the signer is who it claims to be was not checked against a "
        "list of trusted signers.",
    ),
    "trusted": (
        "Content Credentials: valid, trusted signer",
        "They fit the file, and the signer is on a list of trusted signers.",
    ),
    "not checked": ("Content Credentials: not checked", "They were not or could not be read."),
}
