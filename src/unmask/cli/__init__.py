"""The command: one short file a verb. Verbs import what they need when they run."""

import logging
import os
import sys
from collections.abc import Callable

import click

from unmask import __version__
from unmask.cli.evaluate import evaluate
from unmask.cli.export import export
from unmask.cli.info import info
from unmask.cli.merge import merge
from unmask.cli.predict import predict
from unmask.cli.preprocess import preprocess
from unmask.cli.selftest import selftest
from unmask.cli.serve import serve
from unmask.cli.split import split
from unmask.cli.synth import synth
from unmask.cli.train import train
from unmask.cli.verify import verify
from unmask.errors import UnmaskError
from unmask.garbage import collect_rarely


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
@click.option("-q", "--quiet", is_flag=True, help="No progress and no notes, errors only.")
@click.option("-v", "--verbose", is_flag=True, help="More notes.")
@click.pass_context
def cli(context: click.Context, quiet: bool, verbose: bool) -> None:
    """Find manipulated faces in video: how likely, and when.

    Results go to standard output or -o, everything else to standard error. Exit status: 0 all
    is well, 1 something failed, 2 wrong usage.
    """
    context.obj = quiet
    # Before torch is imported: with large pages a training step takes two thirds of the time.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("unmask")
    logger.handlers = [handler]
    level = logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO
    logger.setLevel(level)


VERBS = (
    predict, split, preprocess, synth, train, evaluate, serve, export, info, merge, selftest, verify
)  # fmt: skip
for verb in VERBS:
    cli.add_command(verb)


def main() -> None:
    """Run the command; every expected error is one line and an exit status."""
    collect_rarely()
    sys.exit(_run(cli))


def _run(command: Callable[..., object]) -> int:
    try:
        status = command(standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except UnmaskError as error:
        click.echo(f"unmask: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("unmask: interrupted; what was finished is kept", err=True)
        return 130
    except BrokenPipeError:  # the reader of our output has gone
        sys.stderr.close()
        return 1
