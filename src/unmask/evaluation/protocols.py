"""Published protocols: which videos and frames, how they make a score, what is measured.

So that a number from here can stand beside a paper's, and says so where it cannot.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from unmask.errors import UsageError
from unmask.evaluation.levels import Estimate, estimate
from unmask.evaluation.scores import FrameScore, ScoredVideo, arrays, clusters


@dataclass(frozen=True)
class Protocol:
    """What is pinned.

    Attributes:
        dataset, split: what is scored.
        trained_on: what the model may have seen; it is not checked.
        expected: number of videos by what they are counted by: categories or labels.
        frames: of a video, evenly spread over those with a face.
        reported_by: who reports by it.
    """

    dataset: str
    split: str
    trained_on: str
    expected: dict[str, int]
    frames: int
    reported_by: str


_CELEB_DF = {"Celeb-real": 108, "YouTube-real": 70, "Celeb-synthesis": 340}
_SBI = "Shiohara and Yamasaki 2022 (CVPR) and those who compare with it"
PROTOCOLS = {
    "celeb-df-v2": Protocol(
        "Celeb-DF v2", "test: List_of_testing_videos.txt", "Celeb-DF v2, the rest of it",
        _CELEB_DF, 32, "Li, Yang, Sun, Qi and Lyu 2020 (CVPR), who count frames",
    ),
    "ff++c23-to-celeb-df-v2": Protocol(
        "Celeb-DF v2", "test: List_of_testing_videos.txt", "FaceForensics++ c23, train.json",
        _CELEB_DF, 32, _SBI,
    ),
    "ff++c23": Protocol(
        "FaceForensics++ c23", "test: test.json", "FaceForensics++ c23, train.json",
        {"real": 140, "fake": 560}, 32, "Rössler et al. 2019 (ICCV): four manipulations",
    ),
    "dfdc-preview": Protocol(
        "DFDC preview", "test: dataset.json", "anything but DFDC", {"all": 780}, 32, _SBI,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class ProtocolResult:
    """What a protocol gives on scores.

    Attributes:
        name, protocol: which.
        video_auc: of the mean of each video's frames, with its 95 % interval.
        frame_auc: of all those frames.
        videos: how many had a score.
        deviations: why the number cannot stand beside a paper's; empty if it can.
    """

    name: str
    protocol: Protocol
    video_auc: Estimate
    frame_auc: Estimate
    videos: int
    deviations: tuple[str, ...]


def find_protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"unknown protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def run_protocol(
    name: str, videos: Sequence[ScoredVideo], calibrated: bool = False
) -> ProtocolResult:
    """Score by a published protocol, and say where these videos deviate from it.

    Args:
        name: of the protocol.
        videos: with their scores.
        calibrated: whether the scores were fitted to other videos first.

    Raises:
        UsageError: there is no such protocol.
        ValueError: no video has a score.
    """
    protocol = find_protocol(name)
    deviations = _wrong_numbers(protocol, videos)
    if calibrated:
        deviations.append("the scores were calibrated: a mean of frames is another one then")
    failed = [video for video in videos if video.score is None]
    if failed:
        deviations.append(f"{len(failed)} videos have no score and are left out")
    framed = [video for video in videos if video.score is not None and video.frames]
    whole = sum(video.score is not None and not video.frames for video in videos)
    if whole:
        deviations.append(f"{whole} videos come with one score and no frames: it is taken as it is")
    few = sum(len(video.frames) < protocol.frames for video in framed)
    if few:
        deviations.append(f"{few} videos have fewer than {protocol.frames} scored frames")
    taken = [
        replace(video, frames=spread(video.frames, protocol.frames)) if video.frames else video
        for video in videos
    ]
    averaged = [
        replace(video, score=float(np.mean([f.score for f in video.frames])))
        if video.frames and video.score is not None
        else video
        for video in taken
    ]
    labels, scores = arrays(averaged)
    if not len(labels):
        raise ValueError(f"none of {len(videos)} videos has a score")
    frames = [(v.label, f.score, v.cluster or v.name) for v in taken for f in v.frames]
    y, s, groups = zip(*frames, strict=True) if frames else ((), (), ())
    return ProtocolResult(
        name,
        protocol,
        estimate("auc_roc", labels, scores, clusters(averaged)),
        estimate("auc_roc", y, s, groups, 200) if frames else Estimate(None, None, None),
        len(labels),
        tuple(deviations),
    )


def spread(frames: Sequence[FrameScore], count: int) -> tuple[FrameScore, ...]:
    """`count` frames, evenly spread from the first to the last; all where there are fewer."""
    if len(frames) <= count:
        return tuple(frames)
    return tuple(frames[int(k)] for k in np.round(np.linspace(0, len(frames) - 1, count)))


def _wrong_numbers(protocol: Protocol, videos: Sequence[ScoredVideo]) -> list[str]:
    counts = Counter(video.category.lower() for video in videos)
    fakes = sum(video.label for video in videos)
    # A category may be named like a label: it is the label that is counted.
    counts["all"], counts["fake"], counts["real"] = len(videos), fakes, len(videos) - fakes
    found = {kind: counts[kind.lower()] for kind in protocol.expected}
    return [
        f"{found[kind]} {kind} videos where the split has {number}"
        for kind, number in protocol.expected.items()
        if found[kind] != number
    ]
