"""unmask train: preprocessed faces -> a model."""

import os
from typing import TYPE_CHECKING, Any

import click

from unmask.cli import options

if TYPE_CHECKING:
    from unmask.training.loop import Progress


@click.command(short_help="Faces -> a model.")
@click.argument("processed", type=click.Path())
@click.option("--out", default="checkpoints", show_default=True, type=click.Path())
@click.option(
    "--preset",
    default="default",
    show_default=True,
    help="default, or baseline: the design document to the letter.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one setting; an unknown key lists them all.",
)
@click.option("--resume", is_flag=True, help="Go on where the run in --out was last saved.")
@click.option("--dry-run", is_flag=True, help="Run two batches, say what it would cost, stop.")
@options.device
@click.pass_obj
def train(
    quiet: bool,
    processed: str,
    out: str,
    preset: str,
    settings: tuple[str, ...],
    resume: bool,
    dry_run: bool,
    device: str,
) -> int:
    """Train on PROCESSED/train, choose by PROCESSED/val, evaluate on PROCESSED/test.

    Under torchrun, all its processes train one network together.
    """
    from tqdm import tqdm

    from unmask.errors import UsageError
    from unmask.evaluation.report import report_text
    from unmask.training.config import make_config
    from unmask.training.dry_run import rehearse
    from unmask.training.loop import train as run

    changes = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set takes key=value, not {setting!r}")
        changes[key.strip()] = value.strip()
    config = make_config(preset, changes)
    if dry_run:
        click.echo(str(rehearse(processed, config, device)))
        return 0
    main = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts
    silent = True if quiet or not main else None
    bar: Any = tqdm(disable=silent, leave=False, dynamic_ncols=True, unit="window")

    def show(progress: "Progress") -> None:
        if progress.batch == 1 or bar.total is None:
            bar.reset(total=progress.of)
            bar.set_description(f"epoch {progress.epoch}/{config[1].epochs}")
        bar.update(progress.windows - bar.n)
        auc = "-" if progress.auc is None else f"{progress.auc:.3f}"
        bar.set_postfix(loss=f"{progress.loss:.4f}", auc=auc, refresh=False)

    try:
        report = run(processed, out, config, resume=resume, device=device, on_step=show)
    finally:
        bar.close()
    if report is not None:
        click.echo(report_text(report), nl=False)
    if main:
        click.echo(f"model: {out}")
    return 0
