"""Options that several verbs share."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal

import click

from unmask.backends import BACKENDS

Command = Callable[..., int]

device = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."
)
hwaccel = click.option(
    "--hwaccel",
    metavar="NAME",
    help="Decode on hardware: cuda, vaapi, videotoolbox...; what it cannot, the CPU does.",
)
backend = click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    help="Who computes the networks; auto: the fastest that is installed.",
)
model = click.option(
    "--model",
    default="small",
    show_default=True,
    metavar="NAME|FOLDER|FILE.pth",
    help="One that comes along, what `unmask train` left, a .pth, or a hub id with its checksum.",
)

faces = click.option(
    "--faces", metavar="largest|all|N", help="Whose faces count; default: the model's choice."
)


class LocalPath(click.Path):
    """A path that is no address."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or an error that says what to do with an address."""
        from unmask.storage import is_remote, shown

        if is_remote(value):
            self.fail(f"{shown(value)} is an address: name a path of this machine here", param, ctx)
        return super().convert(value, param, ctx)


def _allow(context: click.Context, option: click.Parameter, schemes: tuple[str, ...]) -> None:
    if schemes:
        from unmask.storage import allow

        allow(*schemes)


allow = click.option(
    "--allow",
    metavar="SCHEME",
    multiple=True,
    expose_value=False,
    callback=_allow,
    help="Open addresses like SCHEME://..., too, e.g. https.",
)

timeout = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=3600.0,
    show_default=True,
    help="Seconds after which a video is given up.",
)


shard = click.option(
    "--shard",
    metavar="I/N",
    default="1/1",
    help="Do only part I of N; the others may be done elsewhere at the same time.",
)


def engine(workers: int | None = None) -> Callable[[Command], Command]:
    """Add --workers and where they are; the command is called with `engine`, an Engine.

    Args:
        workers: local ones, unless it is said; None is up to 4, one a core.
    """
    few = workers or max(1, min(4, os.cpu_count() or 1))
    choices = [
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            show_default=f"{workers or 'up to 4, one a core'}; on Ray one a core",
            help="Processes, each with its models in memory.",
        ),
        click.option(
            "--max-memory", type=click.IntRange(min=1), metavar="MB", help="Of a worker process."
        ),
        click.option(
            "--engine",
            "kind",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="Where the workers are: this machine, or a Ray cluster.",
        ),
        click.option(
            "--address",
            default="local",
            show_default=True,
            help="Of the cluster; auto: the one this machine is part of; local: start one.",
        ),
        click.option("--dashboard", is_flag=True, help="Say where Ray's own page is."),
    ]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def call(
            *args: Any,
            workers: int | None,
            max_memory: int | None,
            kind: Literal["local", "ray"],
            address: str,
            dashboard: bool,
            **others: Any,
        ) -> int:
            from unmask.engine import Engine

            count = few if workers is None and kind == "local" else workers
            memory = None if max_memory is None else max_memory * 2**20
            chosen = Engine(count, kind, address, memory, dashboard)
            return command(*args, engine=chosen, **others)

        for choice in reversed(choices):
            call = choice(call)
        return call

    return decorate
