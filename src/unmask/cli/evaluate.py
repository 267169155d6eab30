"""unmask evaluate: how good is a model, or a file of scores?"""

from typing import Any

import click

from unmask.cli import options


@click.command(short_help="A model or scores -> metrics, a report.")
@click.argument("source", metavar="PROCESSED|CORPUS|SCORES", type=click.Path())
@click.option("--model", metavar="NAME|FOLDER|FILE.pth", help="Needed unless there are scores.")
@click.option("--split", default="test", show_default=True, help="'all' takes a whole corpus.")
@click.option("--out", default="evaluation", show_default=True, type=click.Path())
@options.faces
@click.option("--against", metavar="SCORES", type=click.Path(), help="Compare with other scores.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="A score above it is fake; default: the model's own thresholds, or 0.5.",
)
@click.option(
    "--fit",
    metavar="SPLIT|SCORES|cross",
    help="Other videos, to choose --goal and --calibrate on: a split, or a file of scores; or "
    "'cross': the same ones, each judged by what was fitted without its people and footage.",
)
@click.option("--goal", metavar="accuracy|eer|fpr=0.01", help="Choose the threshold for this.")
@click.option("--calibrate", type=click.Choice(["temperature", "isotonic"]), help="Scores.")
@click.option("--save", metavar="FOLDER", help="Write the model with its calibration and a card.")
@click.option("--protocol", metavar="NAME", help="A published one; see docs/evaluation.md.")
@click.option(
    "--corrupt",
    metavar="all|KIND[:LEVEL],...",
    help="Score the videos under corruptions, too: jpeg, h264, h265, resize, blur, noise, "
    "brightness, drop, each at 5 levels.",
)
@options.engine(workers=1)
@options.shard
@options.timeout
@options.device
@click.pass_obj
def evaluate(
    quiet: bool,
    /,
    source: str,
    model: str | None,
    out: str,
    shard: str,
    timeout: float,
    **chosen: Any,
) -> int:
    """Write metrics, predictions, pictures and a report.

    With --model, the videos are a split of a tree of .pt files or of a corpus of videos, which
    the model judges; without, a .csv or .json of scores with labels, of any detector. With
    --shard, part of the corruptions is scored, and no report is made: run it without --shard
    once all parts are done.
    """
    from unmask.cli.progress import Meter
    from unmask.detection.evaluate import EvaluateOptions, score_corrupted
    from unmask.detection.evaluate import evaluate as run
    from unmask.engine import WHOLE, Shard
    from unmask.evaluation import report_text
    from unmask.video.reader import Limits

    wanted = EvaluateOptions(limits=Limits(timeout=timeout), **chosen)
    part = Shard.parse(shard)
    if part != WHOLE:
        meter = Meter("corrupt", quiet)
        cells, of = score_corrupted(source, model, out, wanted, part, meter)
        click.echo(f"{len(cells)} of {of} corruptions in {out}")
        return 1 if any(cell.failed for cell in cells) else 0
    report = run(source, model, out, wanted, lambda note: Meter(note, quiet))
    click.echo(report_text(report), nl=False)
    click.echo(f"written to {out}")
    return 1 if report.failures else 0
