"""unmask split: a corpus -> train, val and test."""

import logging
from collections import Counter
from typing import TYPE_CHECKING

import click

from unmask.cli import options

if TYPE_CHECKING:
    from unmask.corpora import VideoRecord
    from unmask.engine import Engine

log = logging.getLogger("unmask")


@click.command(short_help="A corpus -> train, val and test.")
@click.argument("raw", type=options.LocalPath())
@click.argument("split", type=options.LocalPath(), required=False)
@click.option("--corpus", metavar="NAME", help="Its layout, where looking does not tell.")
@click.option(
    "--by",
    type=click.Choice(["official", "identity", "source", "random"]),
    help="What stays together; default: the official split if there is one, else identity.",
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
@click.option("--drop-leaks", is_flag=True, help="Leave out of train what val or test share.")
@click.option(
    "--near-duplicates", is_flag=True, help="Compare faces, too; takes minutes to hours for videos."
)
@options.engine()
@click.pass_obj
def split(
    quiet: bool,
    raw: str,
    split: str | None,
    corpus: str | None,
    by: str | None,
    ratios: tuple[float, float, float],
    seed: int,
    copy: bool,
    drop_leaks: bool,
    near_duplicates: bool,
    engine: "Engine",
) -> int:
    """Lay out RAW as SPLIT/{train,val,test}/<category>/, and say what the splits share.

    RAW is a corpus: Celeb-DF, FaceForensics++, DFDC, FakeAVCeleb, LAV-DF, AV-Deepfake1M, folders
    real/ and fake/ (also below train/, val/ and test/), or a .csv. A preprocessed tree does as
    well. Without SPLIT nothing is written.
    """
    from unmask import corpora

    records = corpora.read_corpus(raw, corpus)
    if near_duplicates:
        records = _with_footage(records, engine, quiet)
    records = corpora.split_records(records, by, ratios, seed)
    if drop_leaks:
        before = len(records)
        records = corpora.drop_leaks(records)
        click.echo(f"left out: {before - len(records)} of {before} videos")
    if split is not None:
        records = corpora.lay_out(records, split, copy)
        corpora.write_leaks(split, corpora.find_leaks(records))
    _tell(records, near_duplicates)
    return 0


def _with_footage(
    records: "list[VideoRecord]", engine: "Engine", quiet: bool
) -> "list[VideoRecord]":
    from unmask.cli.progress import Meter
    from unmask.data.fingerprints import find_footage

    records, failed = find_footage(records, engine, Meter("faces", quiet))
    for outcome in failed:
        log.warning("not compared: %s", outcome.error)
    return records


def _tell(records: "list[VideoRecord]", near_duplicates: bool) -> None:
    """What each split holds, and what they share."""
    from unmask import corpora

    counts = Counter((record.split, record.label) for record in records)
    for name in corpora.SPLITS:
        click.echo(f"{name:5}  {counts[name, 0]:5} real  {counts[name, 1]:5} fake")
    leaks = corpora.find_leaks(records)
    kinds = [("identity", "people"), ("source", "recordings")]
    for kind, people in kinds + [("footage", "recordings by their faces")] * near_duplicates:
        shared, of = corpora.shares(records, kind)
        known = f"{shared} of {of} {people} of the test split are in train or val, too"
        click.echo(f"leaks  {known if of else f'no {people} are known'}")
        names = [leak.name for leak in leaks if leak.kind == kind]
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            click.echo(f"       shared between splits: {', '.join(names[:5])}{more}")
