"""unmask selftest: does the model score here as it should?"""

from typing import TYPE_CHECKING

import click

from unmask.cli import options

if TYPE_CHECKING:
    from unmask.backends import Backend


@click.command(short_help="Whether a model scores here as it should.")
@options.model
@click.option("--write", is_flag=True, help="Make the model's selftest.json of its scores here.")
@options.device
@options.backend
def selftest(model: str, write: bool, device: str, backend: "Backend") -> None:
    """Score drawn faces and compare with the scores that the model's folder holds."""
    from unmask.detection import selftest as run
    from unmask.detection.detector import Detector
    from unmask.models import find_model

    path = find_model(model)
    folder = path if path.is_dir() else path.parent
    detector = Detector.from_pretrained(path, device=device, backend=backend)
    if write:
        run.write_expected(detector, folder)
        click.echo(f"written to {folder / run.SELFTEST}")
        return
    lost = run.selftest(detector, folder)
    name = f"{detector.model.name} on {detector.runtime.name}"
    click.echo(f"{name}: all is well, no score is more than {lost:.1g} off")
