"""unmask preprocess: videos -> .pt files of faces."""

import logging
from pathlib import Path

import click

from unmask.cli import options

log = logging.getLogger("unmask")


@click.command(short_help="Videos -> .pt files of faces.")
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@options.workers
@click.option("--fps", type=float, default=3.0, show_default=True, help="Samples a second.")
@click.option("--size", type=click.IntRange(16, 1024), default=224, show_default=True)
@click.option("--margin", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--length", type=click.IntRange(min=1), default=30, show_default=True)
@click.option("--overlap", type=click.IntRange(min=0), default=6, show_default=True)
@click.option("--faces", default="largest", show_default=True, metavar="largest|all|N")
@click.option("--exact", is_flag=True, help="Search every sample, smooth no box: as the design.")
@options.timeout
@options.device
@click.pass_obj
def preprocess(
    quiet: bool,
    source: str,
    target: str,
    workers: int,
    fps: float,
    size: int,
    margin: int,
    length: int,
    overlap: int,
    faces: str,
    exact: bool,
    timeout: float,
    device: str,
) -> int:
    """Turn SOURCE, a tree of videos, into TARGET, the same tree of .pt files; or one into one.

    Run it again after an interrupt: what is finished is skipped. A broken video is reported at
    the end and stops nothing.
    """
    from unmask.data.preprocessor import VideoPreprocessor
    from unmask.data.tree import preprocess_tree
    from unmask.device import pick_device
    from unmask.video.reader import Limits

    where = str(pick_device(device))
    preprocessor = VideoPreprocessor(
        length, fps, size, overlap=overlap, margin=margin, people=faces, exact=exact,
        device=where, limits=Limits(timeout=timeout),
    )  # fmt: skip
    if not Path(source).is_dir():
        out = Path(target)
        out = out / f"{Path(source).stem}.pt" if out.is_dir() else out
        video = preprocessor.save_video(source, out)
        count = sum(map(len, video.tracks))
        click.echo(f"{out}: {count} faces in {video.sampled} sampled frames")
        return 0
    report = preprocess_tree(
        source, target, preprocessor, workers, options.progress("preprocess", quiet)
    )
    for error in report.failed:
        log.error("failed: %s", error)
    for path in report.faceless:
        log.warning("no face: %s", path)
    click.echo(
        f"{len(report.done)} written, {len(report.skipped)} already there, "
        f"{len(report.faceless)} of them without a face, {len(report.failed)} failed"
    )
    return 1 if report.failed else 0
