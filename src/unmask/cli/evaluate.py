"""unmask evaluate: how good is a model, or a file of scores?"""

import logging
from pathlib import Path

import click

from unmask.cli import options

log = logging.getLogger("unmask")


@click.command(short_help="A model or scores -> metrics, a report.")
@click.argument("source", metavar="PROCESSED|CORPUS|SCORES", type=click.Path())
@click.option("--model", metavar="FOLDER|FILE.pth", help="Needed unless there are scores.")
@click.option("--split", default="test", show_default=True, help="'all' takes a whole corpus.")
@click.option("--out", default="evaluation", show_default=True, type=click.Path())
@click.option("--against", metavar="SCORES", type=click.Path(), help="Compare with other scores.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Above it is fake; default: 0.5.")
@click.option(
    "--fit",
    metavar="SPLIT|SCORES",
    help="Other videos, to choose --goal and --calibrate on: a split, or a file of scores.",
)
@click.option("--goal", metavar="accuracy|eer|fpr=0.01", help="Choose the threshold for this.")
@click.option("--calibrate", type=click.Choice(["temperature", "isotonic"]), help="Scores.")
@click.option("--protocol", metavar="NAME", help="A published one; see docs/evaluation.md.")
@click.option(
    "--corrupt",
    metavar="all|KIND[:LEVEL],...",
    help="Score the videos under corruptions, too: jpeg, h264, h265, resize, blur, noise, "
    "brightness, drop, each at 5 levels.",
)
@options.timeout
@options.device
@click.pass_obj
def evaluate(
    quiet: bool,
    source: str,
    model: str | None,
    split: str,
    out: str,
    against: str | None,
    threshold: float | None,
    fit: str | None,
    goal: str | None,
    calibrate: str | None,
    protocol: str | None,
    corrupt: str | None,
    timeout: float,
    device: str,
) -> int:
    """Write metrics, predictions, pictures and a report.

    With --model, the videos are a split of a tree of .pt files or of a corpus of videos, which
    the model judges; without, a .csv or .json of scores with labels, of any detector.
    """
    from functools import partial

    from unmask.corruption import grid
    from unmask.detector import Detector
    from unmask.errors import CorpusError, UsageError
    from unmask.evaluation import make_report, read_scores, report_text, write_evaluation
    from unmask.evaluation.calibration import Fitting, fit_scores
    from unmask.scoring import labelled_videos, score_grid, score_videos, telling_faces
    from unmask.video import Limits

    if (fit is None) != (goal is None and calibrate is None):
        raise UsageError("--fit takes --goal, --calibrate or both, and they take --fit")
    if goal is not None and threshold is not None:
        raise UsageError("--goal chooses a threshold, and --threshold gives one: take either")
    corruptions = grid(corrupt) if corrupt else []
    judge, records = None, []
    if model is not None or Path(source).is_dir():
        if model is None:
            raise UsageError("videos take a model: name one with --model")
        detector = Detector.from_pretrained(model, device=device, limits=Limits(timeout=timeout))
        judge, records = partial(score_videos, detector), labelled_videos(source, split)
        if corruptions and records[0].path.suffix == ".pt":
            raise UsageError(
                "--corrupt takes videos: name the split tree, not the preprocessed one"
            )
        videos = judge(records, on_progress=options.progress("evaluate", quiet))
    else:
        if corruptions:
            raise UsageError("--corrupt takes videos: scores cannot be corrupted")
        videos = read_scores(source)
    failed = [video for video in videos if video.score is None]
    for video in failed:
        log.warning("no score: %s: %s", video.name, video.reason or "none given")
    fitting = Fitting()
    if fit is not None:
        if judge is None or Path(fit).is_file():
            others = read_scores(fit)
        else:
            others = judge(labelled_videos(source, fit), on_progress=options.progress("fit", quiet))
        try:
            fitting = fit_scores(others, videos, calibrate, goal)
        except ValueError as error:
            raise UsageError(f"--fit {fit}: {error}") from error
    limit = fitting.threshold or threshold or 0.5
    cells = []
    if corruptions:
        move = options.progress("corrupt", quiet)
        cells = score_grid(detector, records, videos, corruptions, fitting, limit, out, move)
    videos = fitting.apply(videos)
    try:
        report = make_report(
            videos,
            limit,
            fitting=fitting,
            robustness=cells,
            against=None if against is None else read_scores(against),
            protocol=protocol,
        )
    except ValueError as error:
        raise CorpusError(Path(against or source), str(error)) from error
    write_evaluation(out, videos, report, telling_faces)
    click.echo(report_text(report), nl=False)
    click.echo(f"written to {out}")
    return 1 if failed else 0
