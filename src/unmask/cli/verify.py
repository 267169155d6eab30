"""unmask verify: does a report hold?"""

import logging

import click

from unmask.cli import options

log = logging.getLogger("unmask")


@click.command(short_help="A report -> whether its video gives the same result.")
@click.argument("report", type=click.Path())
@click.option("--video", type=click.Path(), help="The file, if it is not where the report has it.")
@click.option(
    "--model",
    metavar="NAME|FOLDER|FILE.pth",
    help="The model, if it is not one that comes along.",
)
@options.timeout
@options.device
def verify(report: str, video: str | None, model: str | None, timeout: float, device: str) -> int:
    """Judge the video of a report again, and compare.

    Exit status: 0 the same, 1 different, changed or missing.
    """
    from unmask.report.document import read_document
    from unmask.report.verify import detector_for, find_video
    from unmask.report.verify import verify as run
    from unmask.video.reader import Limits

    document = read_document(report)
    path = find_video(document, report, video)
    detector = detector_for(document, report, model, device, Limits(timeout=timeout))
    outcome = run(document, detector, path)
    for note in outcome.notes:
        log.info("note: %s", note)
    if not outcome.differences:
        click.echo(f"{report}: same result: {document.prediction['verdict']}")
        return 0
    for difference in outcome.differences:
        click.echo(f"{report}: {difference}")
    return 1
