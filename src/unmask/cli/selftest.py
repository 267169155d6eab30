"""unmask selftest: does the model score here as it should?"""

import click

from unmask.cli import options


@click.command(short_help="Whether a model scores here as it should.")
@options.model
@click.option("--write", is_flag=True, help="Make the model's selftest.json of its scores here.")
@options.device
def selftest(model: str, write: bool, device: str) -> None:
    """Score drawn faces and compare with the scores that the model's folder holds."""
    from unmask.detection import selftest as run
    from unmask.detection.detector import Detector
    from unmask.models import find_model

    path = find_model(model)
    folder = path if path.is_dir() else path.parent
    detector = Detector.from_pretrained(path, device=device)
    if write:
        run.write_expected(detector, folder)
        click.echo(f"written to {folder / run.SELFTEST}")
        return
    lost = run.selftest(detector, folder)
    click.echo(f"{detector.model.name}: all is well, no score is more than {lost:.1g} off")
