"""Options and habits that several verbs share."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import click

device = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."
)
backend = click.option(
    "--backend",
    type=click.Choice(["auto", "torch", "onnx", "openvino"]),
    default="auto",
    show_default=True,
    help="Who computes the network; auto: the fastest that is installed.",
)
workers = click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=max(1, min(4, os.cpu_count() or 1)),
    show_default="up to 4, one a core",
    help="Processes.",
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


def progress(label: str, quiet: bool, unit: str = "it") -> Callable[[int, int | None], None]:
    """A bar on standard error, on a terminal only, moved by calls of (finished, total).

    It shows the rate in units and, where the total is known, the time left.
    """
    from tqdm import tqdm

    off = True if quiet else None
    bar: Any = tqdm(desc=label, unit=unit, disable=off, leave=False, dynamic_ncols=True)

    def move(finished: int, total: int | None) -> None:
        bar.total = total
        bar.update(finished - bar.n)
        if finished == total:
            bar.close()

    return move


def bars_away() -> AbstractContextManager[None]:
    """While other things are written to the terminal: no bar is on that line."""
    from tqdm import tqdm

    away: AbstractContextManager[None] = tqdm.external_write_mode()
    return away
