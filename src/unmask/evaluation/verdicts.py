"""What real and fake videos were called, `inconclusive` and no score included."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from unmask.evaluation.scores import ScoredVideo


@dataclass(frozen=True)
class VerdictCounts:
    """How many videos were called what; `failed` have no score."""

    real: int
    inconclusive: int
    fake: int
    failed: int


def count_verdicts(
    videos: Sequence[ScoredVideo], real_below: float, fake_above: float
) -> dict[str, VerdictCounts]:
    """The verdicts on the real and on the fake videos, by what they are ("real", "fake")."""
    counts = Counter((video.label, _verdict(video, real_below, fake_above)) for video in videos)
    names = ("real", "inconclusive", "fake", "failed")
    return {
        truth: VerdictCounts(*(counts[label, name] for name in names))
        for label, truth in enumerate(("real", "fake"))
    }


def _verdict(video: ScoredVideo, real_below: float, fake_above: float) -> str:
    if video.score is None:
        return "failed"
    if video.verdict is not None:
        return video.verdict
    if video.score > fake_above:
        return "fake"
    return "real" if video.score <= real_below else "inconclusive"
