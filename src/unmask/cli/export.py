"""unmask export: a model for other runtimes."""

from pathlib import Path

import click


@click.command(short_help="A model -> an ONNX file.")
@click.argument("model")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    help="FILE.onnx, or FILE.pt2 for torch.export; default: model.onnx beside the weights.",
)
@click.option(
    "--faces",
    multiple=True,
    metavar="CLIP|FILE.pt",
    help="Compare with the weights on these; may be given several times.",
)
@click.option("--int8", is_flag=True, help="Compute in 8-bit integers, ranges chosen by --faces.")
def export(model: str, output: str | None, faces: tuple[str, ...], int8: bool) -> None:
    """Write a model as one file that onnxruntime, OpenVINO or torch.export can run.

    A model.onnx beside the weights is what other backends of `unmask predict` use. The file is
    kept if no probability is more than 0.0001 off; with --int8 the loss is printed.
    """
    from unmask.detection import export as run
    from unmask.errors import UsageError
    from unmask.models import find_model, load_bundle
    from unmask.models.bundle import GRAPH

    path = find_model(model)
    bundle = load_bundle(path)
    target = Path(output) if output else (path if path.is_dir() else path.parent) / GRAPH
    try:
        done = run.export(bundle, target, faces, int8)
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed: pip install 'unmask[onnx]'") from error
    click.echo(
        f"{target}: on {done.windows} windows no probability is more than {done.lost:.2g} off"
    )
