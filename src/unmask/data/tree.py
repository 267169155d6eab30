"""A tree of videos -> the same tree of `.pt` files."""

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from unmask.corpora import TABLE, read_table, write_table
from unmask.data import pt_file
from unmask.data.preprocessor import VideoPreprocessor
from unmask.engine import HERE, WHOLE, Engine, Progress, Shard, run, silent
from unmask.errors import CorpusError, FileError, UnmaskError, VideoError
from unmask.video.reader import find_videos

_GRACE = 60.0  # seconds: the reader gives up first, and says more


class _Job(NamedTuple):
    video: Path
    out: Path


@dataclass(frozen=True)
class TreeReport:
    """What became of a tree of videos.

    Attributes:
        done: `.pt` files written now.
        skipped: `.pt` files that stood already, made with the same settings.
        faceless: videos in whose `.pt` there is no face.
        failed: videos that could not be read or broke something, with the cause.
    """

    done: list[Path]
    skipped: list[Path]
    faceless: list[Path]
    failed: list[UnmaskError]


def preprocess_tree(
    source: str | Path,
    target: str | Path,
    preprocessor: VideoPreprocessor,
    engine: Engine = HERE,
    on_progress: Progress = silent,
    shard: Shard = WHOLE,
) -> TreeReport:
    """Turn a tree of videos into the same tree of `.pt` files.

    What stands already and was made with the same settings is skipped, so an interrupted run
    goes on where it was. A broken video is reported and does not stop the others. A table of
    videos in `source` (see unmask.corpora) is carried over.

    Args:
        source: folder of videos, at any depth.
        target: folder for the `.pt` files.
        preprocessor: how.
        engine: where.
        on_progress: called after each video.
        shard: the part of the videos that is done; the others may be done at the same time.

    Raises:
        CorpusError: `source` is no folder, or holds no videos.
    """
    source, target = Path(source), Path(target)
    if not source.is_dir():
        raise CorpusError(source, "is not a folder")
    videos = find_videos(source)
    if not videos:
        raise CorpusError(source, "holds no videos")
    outputs = _outputs(source, target, videos)
    if (source / TABLE).exists():
        records = read_table(source / TABLE)
        kept = [replace(r, path=outputs[r.path]) for r in records if r.path in outputs]
        write_table(target / TABLE, kept)
    outputs = dict(shard.of(list(outputs.items())))
    todo = [_Job(video, out) for video, out in outputs.items() if not preprocessor.is_done(out)]
    pending = {job.out for job in todo}
    report = TreeReport([], [out for out in outputs.values() if out not in pending], [], [])
    on_progress(len(report.skipped), len(outputs), 0)
    limit = preprocessor.limits.timeout
    outcomes = run(
        partial(_save, preprocessor), todo, engine,
        timeout=limit and limit + _GRACE, name=lambda job: job.video,
    )  # fmt: skip
    for finished, outcome in enumerate(outcomes, len(report.skipped) + 1):
        video, out = outcome.item
        if outcome.error is None:
            report.done.append(out)
        elif isinstance(outcome.error, FileError):
            report.failed.append(outcome.error)
        else:
            report.failed.append(VideoError(video, str(outcome.error)))
        if outcome.result == 0:
            report.faceless.append(video)
        on_progress(finished, len(outputs), len(report.failed))
    return report


def _outputs(source: Path, target: Path, videos: list[Path]) -> dict[Path, Path]:
    """video -> its `.pt`; where a.mp4 and a.mkv stand side by side, the suffix stays in."""
    stems = Counter(video.with_suffix("") for video in videos)
    return {
        video: target
        / video.relative_to(source).with_suffix(
            pt_file.SUFFIX if stems[video.with_suffix("")] == 1 else video.suffix + pt_file.SUFFIX
        )
        for video in videos
    }


def _save(preprocessor: VideoPreprocessor, job: _Job) -> int:
    """Number of faces written; in a worker the faces themselves stay there."""
    return sum(map(len, preprocessor.save_video(job.video, job.out).tracks))
