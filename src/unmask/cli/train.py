"""unmask train: preprocessed faces -> a model."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from unmask.cli import options

if TYPE_CHECKING:
    from unmask.engine import Engine
    from unmask.training.run import Progress


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
@options.engine(workers=1)
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
    engine: "Engine",
    device: str,
) -> int:
    """Train on PROCESSED/train, choose by PROCESSED/val, evaluate on PROCESSED/test.

    Under torchrun, all its processes train one network together. The workers are those that
    encode the faces for a frozen backbone, if that is done only once.
    """
    from unmask.evaluation.report import report_text
    from unmask.training.config import make_config
    from unmask.training.dry_run import dry_run as try_out
    from unmask.training.loop import train as run

    config = make_config(preset, _changes(settings))
    if dry_run:
        click.echo(str(try_out(processed, config, device)))
        return 0
    main = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts
    with _bar(quiet or not main, config.training.epochs) as show:
        report = run(
            processed, out, config, resume=resume, device=device, on_step=show, engine=engine
        )
    if report is not None:
        click.echo(report_text(report), nl=False)
    if main:
        click.echo(f"model: {out}")
    return 0


def _changes(settings: tuple[str, ...]) -> dict[str, str]:
    from unmask.errors import UsageError

    changes = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set takes key=value, not {setting!r}")
        changes[key.strip()] = value.strip()
    return changes


@contextmanager
def _bar(silent: bool, epochs: int) -> Iterator["Callable[[Progress], None]"]:
    """A bar an epoch, on a terminal only."""
    from tqdm import tqdm

    bar: Any = tqdm(
        disable=True if silent else None, leave=False, dynamic_ncols=True, unit="window"
    )

    def show(progress: "Progress") -> None:
        if progress.batch == 1 or bar.total is None:
            bar.reset(total=progress.of)
            bar.set_description(f"epoch {progress.epoch}/{epochs}")
        bar.update(progress.windows - bar.n)
        auc = "-" if progress.auc is None else f"{progress.auc:.3f}"
        bar.set_postfix(loss=f"{progress.loss:.4f}", auc=auc, refresh=False)

    with bar:
        yield show
