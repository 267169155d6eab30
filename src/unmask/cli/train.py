"""unmask train: preprocessed faces -> a model."""

from typing import Any

import click

from unmask.cli import options


@click.command(short_help="Faces -> a model.")
@click.argument("processed", type=click.Path())
@click.option("--out", default="checkpoints", show_default=True, type=click.Path())
@click.option(
    "--preset",
    default="default",
    show_default=True,
    help="default, or baseline: the design document to the letter.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one setting.")
@click.option("--resume", is_flag=True, help="Go on after the last whole epoch in --out.")
@options.device
@click.pass_obj
def train(
    quiet: bool,
    processed: str,
    out: str,
    preset: str,
    settings: tuple[str, ...],
    resume: bool,
    device: str,
) -> int:
    """Train on PROCESSED/train, choose by PROCESSED/val, evaluate on PROCESSED/test."""
    from tqdm import tqdm

    from unmask.errors import UsageError
    from unmask.report import metrics_text
    from unmask.train import make_config
    from unmask.train import train as run

    changes = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set takes key=value, not {setting!r}")
        changes[key.strip()] = value.strip()
    config = make_config(preset, changes)
    bar: Any = tqdm(disable=True if quiet else None, leave=False, dynamic_ncols=True)

    def show(epoch: int, step: int, steps: int, loss: float) -> None:
        if step == 1:
            bar.reset(total=steps)
            bar.set_description(f"epoch {epoch}")
        bar.update(step - bar.n)
        bar.set_postfix(loss=f"{loss:.4f}", refresh=False)

    try:
        metrics = run(processed, out, config, resume=resume, device=device, on_step=show)
    finally:
        bar.close()
    if metrics is not None:
        click.echo(metrics_text(metrics), nl=False)
    click.echo(f"model: {out}")
    return 0
