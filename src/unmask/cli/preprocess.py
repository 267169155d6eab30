"""unmask preprocess: videos -> .pt files of faces."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unmask.cli import options

if TYPE_CHECKING:
    from unmask.engine import Engine

log = logging.getLogger("unmask")


@click.command(short_help="Videos -> .pt files of faces.")
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@options.engine()
@options.shard
@click.option(
    "--fps", "target_fps", type=float, default=3.0, show_default=True, help="Samples a second."
)
@click.option("--size", "image_size", type=click.IntRange(16, 1024), default=224, show_default=True)
@click.option("--margin", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--length", "sequence_length", type=click.IntRange(min=1), default=30, show_default=True
)
@click.option("--overlap", type=click.IntRange(min=0), default=6, show_default=True)
@click.option(
    "--faces",
    default="all",
    show_default=True,
    metavar="largest|all|N",
    help="Whose faces are kept; whose count is for the model to say.",
)
@click.option("--exact", is_flag=True, help="Search every sample, smooth no box: as the design.")
@click.option(
    "--shards",
    "pack",
    metavar="SIZE",
    help="Pack the .pt files into tars of about this size, e.g. 1G, each with an index.",
)
@options.allow
@options.timeout
@options.device
@options.backend
@options.hwaccel
@click.pass_obj
def preprocess(
    quiet: bool,
    /,
    source: str,
    target: str,
    engine: "Engine",
    shard: str,
    pack: str | None,
    timeout: float,
    device: str,
    hwaccel: str | None,
    **how: Any,
) -> int:
    """Turn SOURCE, a tree of videos, into TARGET, the same tree of .pt files; or one into one.

    Each is a path or an address, e.g. s3://bucket/folder.

    Run it again after an interrupt: what is finished is skipped. A broken video is reported at
    the end and stops nothing.
    """
    from unmask import storage
    from unmask.cli.progress import Meter
    from unmask.data.preprocessor import VideoPreprocessor
    from unmask.data.tree import preprocess_tree
    from unmask.device import pick_device
    from unmask.engine import Shard
    from unmask.video.reader import Limits, on_hardware

    size = None if pack is None else storage.parse_size(pack, "--shards")
    where, limits = str(pick_device(device)), Limits(timeout=timeout)
    preprocessor = VideoPreprocessor(**how, device=where, limits=limits)
    if hwaccel:
        preprocessor = preprocessor.opening(on_hardware(hwaccel))
    if not storage.is_folder(source):
        out = target
        if storage.is_folder(target):
            out = str(storage.join(target, f"{Path(storage.name_of(source)).stem}.pt"))
        with storage.fetched(source) as file, storage.published(out) as written:
            video = preprocessor.save_video(file, written)
        count = sum(map(len, video.tracks))
        click.echo(f"{out}: {count} faces in {video.sampled} sampled frames")
        return 0
    meter = Meter("preprocess", quiet)
    report = preprocess_tree(source, target, preprocessor, engine, meter, Shard.parse(shard), size)
    for error in report.failed:
        log.error("failed: %s", error)
    for path in report.faceless:
        log.warning("no face: %s", path)
    click.echo(
        f"{len(report.done)} written, {len(report.skipped)} already there, "
        f"{len(report.faceless)} of them without a face, {len(report.failed)} failed"
    )
    return 1 if report.failed else 0
