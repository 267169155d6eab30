"""unmask predict: is this video manipulated, and when?"""

import glob
from pathlib import Path
from typing import IO

import click

from unmask.cli import options


@click.command(short_help="A video -> a verdict, and when.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@options.model
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "jsonl", "csv"]),
    default="text",
    show_default=True,
    help="jsonl is written as each video finishes.",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write here instead.")
@options.faces
@options.timeout
@options.device
@click.pass_obj
def predict(
    quiet: bool,
    paths: tuple[str, ...],
    model: str,
    form: str,
    output: str | None,
    faces: str | None,
    timeout: float,
    device: str,
) -> int:
    """Judge videos, preprocessed .pt files, folders of them, or globs."""
    from unmask.atomic import write_text
    from unmask.detection import writers
    from unmask.detection.detector import Detector
    from unmask.detection.prediction import Prediction
    from unmask.errors import FileError
    from unmask.video.reader import Limits

    inputs = [found for path in paths for found in _expand(path)]
    detector = Detector.from_pretrained(
        model, faces=faces, device=device, limits=Limits(timeout=timeout)
    )
    move = options.progress("predict", quiet)
    done: list[Prediction] = []
    stream: IO[str] | None = None
    try:
        stream = click.open_file(output or "-", "w") if form == "jsonl" else None
        for prediction in detector.predict(inputs):
            done.append(prediction)
            move(len(done), len(inputs))
            if stream is not None:
                stream.write(writers.as_jsonl(prediction))
                stream.flush()
            elif form == "text" and output is None:
                click.echo(writers.as_text(prediction), nl=False)
    except OSError as error:
        raise FileError(output or "standard output", f"cannot be written: {error}") from error
    finally:  # an interrupt keeps what is finished
        if stream is not None and output is not None:
            stream.close()
        if done and form != "jsonl" and not (form == "text" and output is None):
            if form == "json":
                text = writers.as_json(done)
            elif form == "csv":
                text = writers.as_csv(done)
            else:
                text = "".join(map(writers.as_text, done))
            if output is None:
                click.echo(text, nl=False)
            else:
                write_text(output, text)
    failed = [p for p in done if p.verdict == "failed"]
    for prediction in failed:
        click.echo(f"unmask: {prediction.video}: {prediction.reason}", err=True)
    return 1 if failed else 0


def _expand(path: str) -> list[str]:
    """A folder -> the videos and .pt files in it; a glob -> what it matches."""
    from unmask.errors import CorpusError
    from unmask.video.reader import find_videos

    folder = Path(path)
    if folder.is_dir():
        found = sorted([*find_videos(folder), *folder.rglob("*.pt")])
        if not found:
            raise CorpusError(folder, "holds no videos and no .pt files")
        return [str(file) for file in found]
    if not folder.exists() and glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207
        if not matches:
            raise CorpusError(path, "matches no file")
        return matches
    return [path]
