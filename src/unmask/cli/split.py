"""unmask split: a corpus -> train, val and test."""

from collections import Counter

import click


@click.command(short_help="A corpus -> train, val and test.")
@click.argument("raw", type=click.Path())
@click.argument("split", type=click.Path())
@click.option(
    "--by",
    type=click.Choice(["official", "identity", "source", "random"]),
    help="What stays together; default: the official test list if there is one, else identity.",
)
@click.option(
    "--ratios",
    type=(float, float, float),
    default=(0.7, 0.15, 0.15),
    show_default=True,
    help="Shares of train, val and test.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--copy", is_flag=True, help="Copy the videos instead of linking to them.")
def split(
    raw: str,
    split: str,
    by: str | None,
    ratios: tuple[float, float, float],
    seed: int,
    copy: bool,
) -> int:
    """Lay out RAW (Celeb-DF, real/ and fake/, or a .csv) as SPLIT/{train,val,test}/<category>/."""
    from unmask.corpora import SPLITS, lay_out, read_corpus, split_records

    records = lay_out(split_records(read_corpus(raw), by, ratios, seed), split, copy)
    counts = Counter((record.split, record.label) for record in records)
    for name in SPLITS:
        click.echo(f"{name:5}  {counts[name, 0]:5} real  {counts[name, 1]:5} fake")
    return 0
