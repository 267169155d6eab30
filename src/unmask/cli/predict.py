"""unmask predict: is this video manipulated, and when?"""

import glob
from collections import Counter
from pathlib import Path

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
@click.option(
    "--heatmaps",
    type=click.Path(file_okay=False),
    help="Folder for a picture of each video's faces, and where the model looked in them.",
)
@click.option("--stability", is_flag=True, help="Judge copies, too; takes four times as long.")
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
    heatmaps: str | None,
    stability: bool,
    faces: str | None,
    timeout: float,
    device: str,
) -> int:
    """Judge videos, preprocessed .pt files, folders of them, or globs."""
    from unmask.detection.detector import Detector
    from unmask.detection.heatmap import save_heatmaps
    from unmask.detection.writers import PredictionWriter
    from unmask.errors import UsageError
    from unmask.video.reader import Limits

    inputs = [found for path in paths for found in _expand(path)]
    limits = Limits(timeout=timeout)
    detector = Detector.from_pretrained(model, faces, device, limits, stability)
    if heatmaps and not detector.bundle.config.model.map_head:
        raise UsageError(f"the model {detector.model.name} makes no heatmaps (map_head)")
    move, failed = options.progress("predict", quiet), []
    pictures: Counter[str] = Counter()  # by stem: videos of several folders may share a name
    with PredictionWriter(form, output) as writer:
        for number, prediction in enumerate(detector.predict(inputs), 1):
            writer.add(prediction)
            if prediction.verdict == "failed":
                failed.append(prediction)
            elif heatmaps:
                stem = Path(prediction.video).stem
                pictures[stem] += 1
                name = stem if pictures[stem] == 1 else f"{stem}_{pictures[stem]}"
                save_heatmaps(prediction, detector.bundle.spec, Path(heatmaps) / f"{name}.png")
            move(number, len(inputs))
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
