"""unmask synth: real videos -> fakes to train on."""

import logging

import click

from unmask.cli import options

log = logging.getLogger("unmask")


@click.command(short_help="Real videos -> fakes to train on.")
@click.argument("reals", type=click.Path())
@click.argument("out", type=click.Path())
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--max-seconds", type=float, default=10.0, show_default=True, help="Of each video.")
@click.option("--max-side", type=int, default=960, show_default=True, help="Larger are shrunk.")
@options.workers
@click.pass_obj
def synth(
    quiet: bool, reals: str, out: str, seed: int, max_seconds: float, max_side: int, workers: int
) -> int:
    """Make a fake of every real video in REALS (a folder, a corpus or a .csv).

    OUT gets Celeb-real/, Celeb-synthesis/ and truth.jsonl, which says what is manipulated when.
    """
    from unmask.synth.tree import SynthSettings, make_fakes

    settings = SynthSettings(seed, max_seconds, max_side)
    report = make_fakes(reals, out, settings, workers, options.progress("synth", quiet))
    for error in report.failed:
        log.error("no fake: %s", error)
    click.echo(f"{len(report.fakes)} fakes in {out}, {len(report.failed)} videos made none")
    return 1 if report.failed else 0
