"""unmask evaluate: how good is a model, or a file of scores?"""

import logging
from pathlib import Path

import click

from unmask.cli import options

log = logging.getLogger("unmask")


@click.command(short_help="A model or scores -> metrics, a report.")
@click.argument("source", metavar="PROCESSED|CORPUS|SCORES", type=click.Path())
@click.option("--model", metavar="NAME|FOLDER|FILE.pth", help="Needed unless there are scores.")
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
    from unmask.detection.detector import Detector
    from unmask.detection.scoring import labelled_videos, score_grid, score_videos, telling_faces
    from unmask.errors import CorpusError, UsageError
    from unmask.evaluation import (
        ScoredVideo,
        make_report,
        read_scores,
        report_text,
        write_evaluation,
    )
    from unmask.evaluation.fitting import Fitting, fit_scores
    from unmask.evaluation.metrics import check_goal
    from unmask.evaluation.protocols import find_protocol
    from unmask.video.corruption import grid
    from unmask.video.reader import Limits

    if (fit is None) != (goal is None and calibrate is None):
        raise UsageError("--fit takes --goal, --calibrate or both, and they take --fit")
    if goal is not None and threshold is not None:
        raise UsageError("--goal chooses a threshold, and --threshold gives one: take either")
    if model is None and Path(source).is_dir():
        raise UsageError("videos take a model: name one with --model")
    # Whatever can be wrong is found before the videos are judged, which may take hours.
    if goal is not None:
        check_goal(goal)
    if protocol is not None:
        find_protocol(protocol)
    others = None if against is None else read_scores(against)
    corruptions = grid(corrupt) if corrupt else []
    if corruptions and (model is None or any(Path(source, split).glob("*/*.pt"))):
        raise UsageError("--corrupt takes videos and a model: no scores, and no .pt files")
    limits = Limits(timeout=timeout)
    detector = None if model is None else Detector.from_pretrained(model, None, device, limits)

    def scores(name: str, note: str) -> list[ScoredVideo]:
        if detector is None or Path(name).suffix.lower() in (".csv", ".json"):
            return read_scores(name)
        move = options.progress(note, quiet)
        return score_videos(detector, labelled_videos(source, name), on_progress=move)

    videos = scores(source if detector is None else split, "evaluate")
    failed = [video for video in videos if video.score is None]
    for video in failed:
        log.warning("no score: %s: %s", video.name, video.reason or "none given")
    try:
        fitting = fit_scores(scores(fit, "fit"), videos, calibrate, goal) if fit else Fitting()
    except ValueError as error:
        raise UsageError(f"--fit {fit}: {error}") from error
    chosen = threshold if fitting.threshold is None else fitting.threshold
    limit = 0.5 if chosen is None else chosen
    cells = []
    if detector is not None and corruptions:
        cells = score_grid(
            detector,
            labelled_videos(source, split),
            videos,
            corruptions,
            fitting,
            limit,
            out,
            options.progress("corrupt", quiet),
        )
    videos = fitting.apply(videos)
    try:
        report = make_report(
            videos,
            limit,
            fitting=fitting,
            robustness=cells,
            against=others,
            protocol=protocol,
        )
    except ValueError as error:
        raise CorpusError(Path(against or source), str(error)) from error
    write_evaluation(
        out, videos, report, lambda video: telling_faces(detector, video, limit) if detector else ()
    )
    click.echo(report_text(report), nl=False)
    click.echo(f"written to {out}")
    return 1 if failed else 0
