"""A model's card, made of its own evaluation: what it misses first."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from unmask.evaluation import Report
from unmask.evaluation.slices import Slice
from unmask.evaluation.verdicts import VerdictCounts
from unmask.models import Bundle

_CHANCE = 0.6  # an AUC whose interval reaches below is no finding


def model_card(bundle: Bundle, report: Report) -> str:
    """Markdown: what the model does not find, its verdicts, how it was calibrated, its figures."""
    return "\n".join(_lines(bundle, report)) + "\n"


def _lines(bundle: Bundle, report: Report) -> Iterator[str]:
    kinds = [row for row in report.slices if row.by == "kind"]
    methods = [row for row in report.slices if row.by == "method"]
    missed = [row.name for row in kinds or methods if (row.interval.low or 0) < _CHANCE]
    yield f"# {bundle.name}\n"
    if missed:
        yield f"**Not told from real videos with any certainty: {'; '.join(missed)}.**\n"
    video = report.levels["video"]
    yield (
        f"Evaluated on {video.items} videos with a score ({video.fakes} fake, from "
        f"{video.clusters} people or recordings), {len(report.failures)} without; AUC "
        f"{_estimate(report, 'auc_roc')}, ECE {_estimate(report, 'ece')}, in brackets the 95 % "
        "interval."
    )
    if report.pairs:
        yield (
            f"Of {report.pairs} fakes whose own recording is there, {report.pairs_right:g} have a "
            "higher score than it."
        )
    yield "\n| | called real | inconclusive | called fake | no score |\n|---|---|---|---|---|"
    for truth, c in report.verdicts.items():
        yield f"| {truth} | {c.real} | {c.inconclusive} | {c.fake} | {c.failed} |"
    yield ""
    yield from _facts(bundle)
    if kinds:
        yield from _table("By kind of fake", kinds)
    if methods:
        yield from _table("By method", methods)


def _facts(bundle: Bundle) -> Iterator[str]:
    config, spec, decision = bundle.config, bundle.spec, bundle.decision
    mapped = (
        ", which says of every cell whether it was manipulated" if config.model.map_head else ""
    )
    yield (
        f"- Network: {config.model.backbone} on every face{mapped}; {config.model.temporal} over "
        "time."
    )
    yield f"- Weights: SHA-256 `{bundle.sha256}`."
    yield f"- Started from: {config.training.started_from}."
    yield (
        f"- Faces: {spec.target_fps:g} a second, {spec.image_size} px, of which "
        f"{spec.margin} lie around the detector's box."
    )
    yield (
        f"- Fake above {decision.fake_above:.3f}, real up to {decision.real_below:.3f}, "
        f"a segment above {decision.segment_threshold:.3f}."
    )
    if bundle.calibration is None:
        yield "- Not calibrated: a score is no probability."
        return
    basis = bundle.calibration.basis
    yield (
        f"- Calibrated on {basis.reals} real and {basis.fakes} fake videos ({basis.videos}): "
        f"fake: {basis.fake_above}; real: {basis.real_below}; "
        f"segment: {basis.segment_threshold}."
    )


def _table(title: str, rows: list[Slice]) -> Iterator[str]:
    yield f"\n## {title}\n\n| | videos | AUC | above their own recording |\n|---|---|---|---|"
    for row in rows:
        auc = "-" if row.auc_roc is None else f"{row.auc_roc:.2f}"
        low, high = row.interval.low, row.interval.high
        between = "" if low is None or high is None else f" ({low:.2f}-{high:.2f})"
        pairs = f"{row.right:g} of {row.pairs}" if row.pairs else "-"
        yield f"| {row.name} | {row.fake} | {auc}{between} | {pairs} |"


def _estimate(report: Report, name: str) -> str:
    found = report.levels["video"].measures[name]
    if found.value is None:
        return "undefined (one class)"
    between = "" if found.low is None else f" ({found.low:.2f}-{found.high:.2f})"
    return f"{found.value:.2f}{between}"


@dataclass(frozen=True)
class CardFigures:
    """What a card says in figures.

    Attributes:
        missed: the kinds of fakes that are not told from real videos; empty if there are none.
        verdicts: what real and fake videos were called, by "real" and "fake".
    """

    missed: str
    verdicts: dict[str, VerdictCounts]


def card_figures(card: str) -> CardFigures | None:
    """The figures of a card that `model_card` made; None of another text."""
    row = r"^\| (real|fake) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$"
    verdicts = {
        truth: VerdictCounts(*map(int, counts)) for truth, *counts in re.findall(row, card, re.M)
    }
    missed = re.search(
        r"^\*\*Not told from real videos with any certainty: (.*)\.\*\*$", card, re.M
    )
    if verdicts.keys() != {"real", "fake"}:
        return None
    return CardFigures(missed[1] if missed else "", verdicts)
