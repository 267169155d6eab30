"""A tree of videos -> the same tree of `.pt` files."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from unmask import storage
from unmask.corpora import TABLE, read_table, write_table
from unmask.data import pt_file
from unmask.data.packing import Packer
from unmask.data.preprocessor import VideoPreprocessor
from unmask.documents import read_json, to_json
from unmask.engine import HERE, WHOLE, Engine, Progress, Shard, run, silent
from unmask.errors import CorpusError, FileError, UnmaskError, UsageError, VideoError
from unmask.face_spec import FaceSpec
from unmask.storage import Place
from unmask.video.reader import VIDEO_SUFFIXES, find_videos

SETTINGS = "preprocess.json"  # how the files of a remote tree were made


class _Job(NamedTuple):
    video: Place
    out: Place


@dataclass(frozen=True)
class TreeReport:
    """What became of a tree of videos.

    Attributes:
        done: `.pt` files written now.
        skipped: `.pt` files that stood already, made with the same settings.
        faceless: videos in whose `.pt` there is no face.
        failed: videos that could not be read or broke something, with the cause.
    """

    done: list[Place]
    skipped: list[Place]
    faceless: list[Place]
    failed: list[UnmaskError]


def preprocess_tree(
    source: str | Path,
    target: str | Path,
    preprocessor: VideoPreprocessor,
    engine: Engine = HERE,
    on_progress: Progress = silent,
    shard: Shard = WHOLE,
    pack: int | None = None,
) -> TreeReport:
    """Turn a tree of videos into the same tree of `.pt` files.

    What stands already and was made with the same settings is skipped, so an interrupted run
    goes on where it was. A broken video is reported and does not stop the others. A table of
    videos in `source` (see unmask.corpora) is carried over.

    Args:
        source: folder of videos, at any depth; a path or an address (see unmask.storage).
        target: folder for the `.pt` files; likewise.
        preprocessor: how.
        engine: where.
        on_progress: called after each video.
        shard: the part of the videos that is done; the others may be done at the same time.
        pack: bytes of `.pt` files after which they are packed into a tar (see
            unmask.data.packing), in a tree <split>/<category>/<video>; None leaves them as they
            are.

    Raises:
        CorpusError: `source` is no folder, or holds no videos; or `target` is remote and was made
            with other settings.
        StorageError: an address cannot be read or written.
        UsageError: files are to be packed at an address.
    """
    source, target = storage.as_path(source) or source, storage.as_path(target) or target
    names = _outputs(_videos(source))
    is_done = _done_before(target, preprocessor)
    _carry_table(source, target, names)
    outputs = {
        storage.join(source, video): storage.join(target, out) for video, out in names.items()
    }
    outputs = dict(shard.of(list(outputs.items())))
    todo = [_Job(video, out) for video, out in outputs.items() if not is_done(out)]
    packer = None if pack is None else _packer(target, outputs, pack, preprocessor.spec, shard)
    pending = {job.out for job in todo}
    report = TreeReport([], [out for out in outputs.values() if out not in pending], [], [])
    on_progress(len(report.skipped), len(outputs), 0)
    if packer:
        for out in report.skipped:
            packer.settle(Path(out))
    outcomes = run(
        partial(_save, preprocessor), todo, engine,
        timeout=preprocessor.limits.patience, name=lambda job: job.video,
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
        if packer:
            packer.settle(Path(out))
        on_progress(finished, len(outputs), len(report.failed))
    if packer:
        packer.finish()
    return report


def _packer(
    target: Place, outputs: dict[Place, Place], size: int, spec: FaceSpec, shard: Shard
) -> Packer:
    if storage.is_remote(target):
        raise UsageError("shards are written to a folder of this machine: copy them from there")
    part = "" if shard == WHOLE else f"-{shard.number}of{shard.count}"
    return Packer(Path(target), [Path(out) for out in outputs.values()], size, spec, part)


def _videos(source: Place) -> list[str]:
    """Names of the videos in a folder, relative to it."""
    if storage.is_remote(source):
        names = storage.files_in(source, VIDEO_SUFFIXES)
    elif Path(source).is_dir():
        names = [video.relative_to(source).as_posix() for video in find_videos(source)]
    else:
        raise CorpusError(source, "is not a folder")
    if not names:
        raise CorpusError(storage.shown(source), "holds no videos")
    return names


def _outputs(names: list[str]) -> dict[str, str]:
    """video -> its `.pt`; where a.mp4 and a.mkv stand side by side, the suffix stays in."""
    paths = [PurePosixPath(name) for name in names]
    stems = Counter(path.with_suffix("") for path in paths)
    return {
        str(path): str(path.with_suffix(pt_file.SUFFIX))
        if stems[path.with_suffix("")] == 1
        else f"{path}{pt_file.SUFFIX}"
        for path in paths
    }


def _carry_table(source: Place, target: Place, names: dict[str, str]) -> None:
    """Write the table of `source`, of what becomes `.pt` files, to `target`."""
    table = storage.join(source, TABLE)
    if not storage.exists(table):
        return
    with storage.fetched(table) as old, storage.published(storage.join(target, TABLE)) as new:
        rows = {
            record.path.relative_to(old.parent).as_posix(): record for record in read_table(old)
        }
        kept = [replace(r, path=new.parent / names[n]) for n, r in rows.items() if n in names]
        write_table(new, kept)


def _done_before(target: Place, preprocessor: VideoPreprocessor) -> Callable[[Place], bool]:
    """What tells whether a `.pt` stands there, made with the same settings.

    Of a remote tree that is what one document says of all of it: to look into the files would
    be to fetch them.
    """
    if not storage.is_remote(target):
        return lambda out: preprocessor.is_done(Path(out))
    done = {storage.join(target, name) for name in storage.files_in(target, {pt_file.SUFFIX})}
    settings, spec = storage.join(target, SETTINGS), preprocessor.spec
    if storage.exists(settings):
        with storage.fetched(settings) as file:
            same = read_json(FaceSpec, file, CorpusError) == spec
        if not same:
            cause = f"was made with other settings ({SETTINGS}): name another folder"
            raise CorpusError(storage.shown(target), cause)
    elif done:
        cause = f"holds .pt files and no {SETTINGS}: name another folder"
        raise CorpusError(storage.shown(target), cause)
    else:
        with storage.published(settings) as file:
            file.write_text(to_json(spec))
    return done.__contains__


def _save(preprocessor: VideoPreprocessor, job: _Job) -> int:
    """Number of faces written; in a worker the faces themselves stay there."""
    with storage.fetched(job.video) as video, storage.published(job.out) as out:
        return sum(map(len, preprocessor.save_video(video, out).tracks))
