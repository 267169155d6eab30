"""unmask evaluate: how good is a model, or a file of scores?"""

import logging
from pathlib import Path

import click

from unmask.cli import options

log = logging.getLogger("unmask")


@click.command(short_help="A model or scores -> metrics.")
@click.argument("source", metavar="PROCESSED|SCORES", type=click.Path())
@click.option("--model", metavar="FOLDER|FILE.pth", help="Needed for a preprocessed tree.")
@click.option("--split", default="test", show_default=True)
@click.option("--out", default="evaluation", show_default=True, type=click.Path())
@click.option("--against", metavar="SCORES", type=click.Path(), help="Compare with other scores.")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True)
@options.device
@click.pass_obj
def evaluate(
    quiet: bool,
    source: str,
    model: str | None,
    split: str,
    out: str,
    against: str | None,
    threshold: float,
    device: str,
) -> int:
    """Write metrics, predictions and plots of a split of .pt files, or of a .csv or .json of
    scores with labels.
    """
    from unmask import report
    from unmask.data import find_processed
    from unmask.detector import Detector
    from unmask.errors import CorpusError, UsageError
    from unmask.evaluate import ScoredVideo, read_scores

    videos: list[ScoredVideo] = []
    if Path(source).is_dir():
        if model is None:
            raise UsageError("a preprocessed tree takes a model: name one with --model")
        detector = Detector.from_pretrained(model, device=device)
        total = len(find_processed(source, split))
        move = options.progress("evaluate", quiet)
        for record, prediction in detector.predict_split(source, split):
            videos.append(report.scored_video(record, prediction))
            move(len(videos), total)
    else:
        videos = read_scores(source)
    failed = [video for video in videos if video.score is None]
    for video in failed:
        log.warning("no score: %s: %s", video.name, video.reason or "none given")
    try:
        metrics = report.write_evaluation(out, videos, threshold)
    except ValueError as error:
        raise CorpusError(Path(source), str(error)) from error
    click.echo(report.metrics_text(metrics), nl=False)
    if against is not None:
        try:
            click.echo(report.comparison_text(videos, read_scores(against)), nl=False)
        except ValueError as error:
            raise CorpusError(Path(against), str(error)) from error
    click.echo(f"written to {out}")
    return 1 if failed else 0
