"""unmask predict: is this video manipulated, and when?"""

import logging
from collections import Counter
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unmask.cli import options

if TYPE_CHECKING:
    from unmask.backends import Backend
    from unmask.engine import Engine

log = logging.getLogger("unmask")


@click.command(short_help="A video -> a verdict, and when.")
@click.argument("paths", metavar="PATH...", nargs=-1)
@options.model
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "jsonl", "csv", "vtt", "edl", "timeline"]),
    default="text",
    show_default=True,
    help="jsonl is written as each video finishes, the others in the order of the inputs.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    help="Write here instead; of several videos, vtt and edl into this folder.",
)
@click.option("--resume", is_flag=True, help="Go on with -o: skip what it holds (jsonl, csv).")
@click.option(
    "--recursive/--no-recursive",
    default=True,
    show_default=True,
    help="Look into the folders in a folder.",
)
@click.option(
    "--watch",
    metavar="FOLDER",
    type=options.LocalPath(exists=True, file_okay=False),
    help="Judge what is in it, and what comes, until Ctrl-C.",
)
@options.engine(workers=1)
@options.shard
@click.option(
    "--heatmaps",
    type=options.LocalPath(file_okay=False),
    help="Folder for a picture of each video's faces, and where the model looked in them.",
)
@click.option(
    "--report",
    type=options.LocalPath(file_okay=False),
    help="Folder for a page of each video, and an index.html of them.",
)
@click.option(
    "--stability/--no-stability",
    default=None,
    help="Judge copies, too; takes four times as long. On with --report.",
)
@options.faces
@options.allow
@options.timeout
@options.device
@options.hwaccel
@options.backend
@click.pass_obj
def predict(
    quiet: bool,
    paths: tuple[str, ...],
    model: str,
    form: str,
    output: str | None,
    resume: bool,
    recursive: bool,
    watch: str | None,
    engine: "Engine",
    shard: str,
    heatmaps: str | None,
    report: str | None,
    stability: bool | None,
    faces: str | None,
    timeout: float,
    device: str,
    hwaccel: str | None,
    backend: "Backend",
) -> int:
    """Judge videos, preprocessed .pt files, folders of them, or globs; - reads a list of paths.

    Each may be an address, e.g. s3://bucket/folder, as may -o.

    A video that cannot be judged stops nothing. Ctrl-C keeps what is finished.
    """
    from unmask import stages, storage
    from unmask.cli.progress import Meter, bars_away
    from unmask.detection import batch
    from unmask.detection.heatmap import save_heatmaps
    from unmask.detection.writers import RESUMABLE, PredictionWriter, finished
    from unmask.engine import WHOLE, Shard
    from unmask.errors import FileError, UsageError
    from unmask.models import find_model
    from unmask.video.reader import Limits, Video, on_hardware

    if bool(paths) == bool(watch):
        raise click.UsageError("Missing argument 'PATH...' or --watch FOLDER; one of them.")
    if watch and Shard.parse(shard) != WHOLE:
        raise UsageError("--watch judges all that comes: it takes no --shard")
    if resume and (output is None or form not in RESUMABLE):
        raise UsageError(f"--resume needs -o FILE and --format {' or '.join(RESUMABLE)}")
    mirror = None
    if output and storage.is_remote(output):
        mirror = click.get_current_context().with_resource(storage.Mirror(output, resume))
        output = str(mirror.path)
    inputs = batch.find_inputs(paths, recursive)
    limits = Limits(timeout=timeout)
    if stability is None:
        stability = report is not None
    open_video = on_hardware(hwaccel) if hwaccel else Video
    judge = batch.Judge(find_model(model), faces, device, limits, stability, backend, open_video)
    detector = judge.detector
    if heatmaps and not detector.bundle.config.model.map_head:
        raise UsageError(f"the model {detector.model.name} makes no heatmaps (map_head)")

    held = batch.Held(detector, finished(form, output) if resume and output else [])
    if watch:
        log.info("watching %s; Ctrl-C ends it", watch)
        many, total = True, None
        coming = batch.name_jobs(batch.watch(watch, recursive))
        jobs = (job for job in coming if held.lacks(job))
    else:
        ours = Shard.parse(shard).of(list(batch.name_jobs(inputs)))
        todo = [job for job in ours if held.lacks(job)]
        many, total, jobs = len(inputs) > 1, len(todo), (job for job in todo)

    move, verdicts, status = Meter("predict", quiet), Counter[str](), 0

    def complain(error: FileError) -> None:
        with bars_away():
            click.echo(f"unmask: {error}", err=True)

    reports = None
    if report:
        from unmask.report.index import ReportFolder  # the others do without its libraries

        reports = ReportFolder(report, detector, complain)
    try:
        with (
            reports or nullcontext(),
            PredictionWriter(form, output, many=many, append=resume) as writer,
            closing(batch.judge_all(judge, jobs, engine)) as judged,
        ):
            for done, (number, job, prediction) in enumerate(judged, 1):
                if reports:  # first: what the output holds is not judged again
                    reports.add(prediction, job.name)
                with bars_away():
                    verdicts[prediction.verdict] += 1  # first: a write takes longer
                    writer.add(prediction, number, job.name)
                    if prediction.verdict == "failed":
                        path = storage.shown(job.path)
                        click.echo(f"unmask: {path}: {prediction.reason}", err=True)
                    elif heatmaps:
                        picture = Path(heatmaps) / f"{job.name}.png"
                        try:
                            save_heatmaps(prediction, detector.bundle.spec, picture)
                        except FileError as error:  # of this video only
                            click.echo(f"unmask: {error}", err=True)
                            status = 1
                if mirror:
                    mirror.sync()
                move(done, total, verdicts["failed"])
    finally:
        for line in stages.table().splitlines():
            log.debug("%s", line)
        if many and not quiet:
            click.echo(_summary(verdicts, held.met), err=True)
    if reports and reports.failures:
        status = 1
    return 1 if (verdicts + held.met)["failed"] else status


def _summary(now: "Counter[str]", before: "Counter[str]") -> str:
    """One line: how many videos were scored, and how."""
    both = now + before
    kinds = ", ".join(f"{both[verdict]} {verdict}" for verdict in ("fake", "inconclusive", "real"))
    scored = both.total() - both["failed"]
    earlier = f"; {before.total()} of them before" if before else ""
    return f"{both.total()} videos: {scored} scored ({kinds}), {both['failed']} failed{earlier}"
