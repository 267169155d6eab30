"""unmask synth: real videos -> fakes to train on."""

import logging
from typing import TYPE_CHECKING

import click

from unmask.cli import options

if TYPE_CHECKING:
    from unmask.engine import Engine

log = logging.getLogger("unmask")


@click.command(short_help="Real videos -> fakes to train on.")
@click.argument("reals", type=options.LocalPath())
@click.argument("out", type=options.LocalPath())
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--max-seconds", type=float, default=10.0, show_default=True, help="Of each video.")
@click.option("--max-side", type=int, default=960, show_default=True, help="Larger are shrunk.")
@click.option(
    "--families", default="all", show_default=True, help="Kinds of fakes, separated by commas."
)
@click.option(
    "--redrawers",
    type=click.Path(exists=True, file_okay=False),
    help="Folder of autoencoders for the family 'redrawn'.",
)
@options.engine()
@options.shard
@click.pass_obj
def synth(
    quiet: bool,
    reals: str,
    out: str,
    seed: int,
    max_seconds: float,
    max_side: int,
    families: str,
    redrawers: str | None,
    engine: "Engine",
    shard: str,
) -> int:
    """Make a fake of every real video in REALS (a folder, a corpus or a .csv).

    OUT gets Celeb-real/, Celeb-synthesis/, truth.jsonl, which says what is manipulated when, and
    masks/, which say where. Families: self-blending, face swap, region replacement, generator,
    redrawn, slow face.
    """
    from unmask.cli.progress import Meter
    from unmask.engine import Shard
    from unmask.synth.families import parse_families
    from unmask.synth.tree import SynthSettings, make_fakes

    names = parse_families(families)
    settings = SynthSettings(seed, max_seconds, max_side, names, redrawers)
    part = Shard.parse(shard)
    report = make_fakes(reals, out, settings, engine, Meter("synth", quiet), part)
    for error in report.failed:
        log.error("no fake: %s", error)
    click.echo(f"{len(report.fakes)} fakes in {out}, {len(report.failed)} videos made none")
    return 1 if report.failed else 0
