"""unmask merge: the predictions of several shards -> one file."""

import click


@click.command(short_help="Predictions of shards -> one file.")
@click.argument("parts", metavar="PART...", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(), help="The file to write.")
def merge(parts: tuple[str, ...], output: str) -> int:
    """Join what `unmask predict --shard 1/N -o PART` and its kin wrote: .jsonl, .csv or .json.

    Name the parts in the order of the shards: then the file is that of a single run.
    """
    from unmask.detection.merge import merge as join

    click.echo(f"{output}: {join(parts, output)} videos of {len(parts)} parts")
    return 0
