"""unmask serve: the detector as an application on this machine."""

import re
from pathlib import Path

import click

from unmask.cli import options

_SCALES = {
    "s": 1, "m": 60, "h": 3600, "d": 86400,
    "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40,
}  # fmt: skip


class _Amount(click.ParamType):  # type: ignore[type-arg]
    """A number with a unit -> seconds or bytes."""

    def __init__(self, name: str, units: str) -> None:
        self.name, self._units = name, units

    def convert(
        self, value: object, parameter: click.Parameter | None, context: click.Context | None
    ) -> int:
        """As click has it."""
        match = re.fullmatch(rf"(\d+)([{self._units}])", str(value))
        if match is None:
            self.fail(f"{value!r} is no number with one of the units {', '.join(self._units)}")
        return int(match[1]) * _SCALES[match[2]]


_TIME, _SIZE = _Amount("time", "smhd"), _Amount("size", "KMGT")


@click.command(short_help="The detector as an application in the browser.")
@options.model
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="0 takes one that is free.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("unmask-data"),
    show_default=True,
    help="Folder of the jobs.",
)
@click.option(
    "--token",
    envvar="UNMASK_TOKEN",
    help="What clients have to know; better given as UNMASK_TOKEN, which others cannot see.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes, each with the model.",
)
@click.option(
    "--queue", type=click.IntRange(1), default=100, show_default=True, help="Jobs that may wait."
)
@click.option("--keep", type=_TIME, default="7d", show_default=True, help="Age of finished jobs.")
@click.option("--max-disk", type=_SIZE, default="20G", show_default=True, help="Of all jobs.")
@click.option("--max-upload", type=_SIZE, default="2G", show_default=True, help="Of one video.")
@click.option("--max-memory", type=_SIZE, default="8G", show_default=True, help="Of a worker.")
@options.timeout
@click.option(
    "--stability/--no-stability",
    default=True,
    show_default=True,
    help="Judge three copies of each video, too; takes four times as long.",
)
@click.option(
    "--allow-path",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    help="Folder whose files clients may name in place of an upload; again for several.",
)
@click.option(
    "--allow-host", multiple=True, metavar="NAME", help="Another name of the server; likewise."
)
@click.option(
    "--behind-proxy", is_flag=True, help="Believe X-Forwarded-For and -Proto of this machine."
)
@click.option("--force-public", is_flag=True, help="A public address without a token.")
@options.device
@options.backend
def serve(**given: object) -> int:
    """Judge videos that are handed in over HTTP or in a browser."""
    from unmask.errors import UsageError

    try:
        from unmask.serve.server import serve as run
        from unmask.serve.settings import Settings
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "python_multipart", "starlette", "uvicorn"):
            raise
        raise UsageError(
            f"serve needs {error.name}, which is missing: pip install 'unmask[serve]'"
        ) from error
    run(Settings(**given))  # type: ignore[arg-type]
    return 0
