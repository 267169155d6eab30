"""unmask info: what is this file?"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click


@click.command(short_help="What a video, .pt file or model is.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False),
    metavar="FILE.png",
    help="Draw who is seen in a video, and when.",
)
def info(paths: tuple[str, ...], sheet: str | None) -> int:
    """Describe videos, .pt files of faces, and models, as JSON; of a model its card, if it has one.

    A model is a folder, a .pth, or the name of one that comes along, like "small".
    """
    from unmask.errors import FileError, UsageError

    if sheet is not None and len(paths) != 1:
        raise UsageError("--sheet draws one video at a time")
    status = 0
    for path in paths:
        try:
            about = _describe(path)
            if isinstance(about, str):
                click.echo(about, nl=False)
                continue
            if sheet is not None:
                about["people"] = _draw(Path(path), Path(sheet))
            click.echo(json.dumps({"path": path, **about}, indent=2))
        except FileError as error:
            click.echo(f"unmask: {error}", err=True)
            status = 1
    return status


def _draw(path: Path, sheet: Path) -> int:
    """How many people are on the sheet, background apart."""
    from unmask.data.contact_sheet import SIDE, contact_sheet
    from unmask.data.preprocessor import VideoPreprocessor
    from unmask.errors import UsageError

    if sheet.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UsageError(f"{sheet}: a sheet is a .png, .jpg or .webp")
    preprocessor = VideoPreprocessor(image_size=SIDE, faces="all")
    return len(contact_sheet(preprocessor.stream(path), sheet).kept)


def _describe(name: str) -> dict[str, Any] | str:
    from unmask.data import pt_file
    from unmask.models import find_model, shipped_models
    from unmask.video.reader import Video

    if (tree := _describe_tree(name)) is not None:
        return tree
    path = find_model(name) if name in shipped_models() else Path(name)
    if path.suffix == pt_file.SUFFIX:
        return _describe_faces(path)
    if path.is_dir() or path.suffix in (".pth", ".safetensors"):
        return _describe_model(path)
    with Video(path) as opened:
        return asdict(opened.info)


def _describe_tree(name: str) -> dict[str, Any] | None:
    """What a folder, or an address, of `.pt` files or shards holds; None if it is none."""
    from collections import Counter

    from unmask.corpora import SPLITS
    from unmask.data import shards
    from unmask.data.index import find_processed, holds_faces
    from unmask.data.manifest import read_entries
    from unmask.errors import StoreError

    root = shards.tree_path(name)
    splits = [split for split in SPLITS if holds_faces(root, split)]
    if not splits:
        return None
    about: dict[str, Any] = {"shards": len({m.shard for m in shards.members(root).values()})}
    broken: list[str] = []
    for split in splits:
        records = find_processed(root, split)
        entries = read_entries(root, [record.path for record in records])
        broken += [str(entry) for entry in entries.values() if isinstance(entry, StoreError)]
        known = [entry for entry in entries.values() if not isinstance(entry, StoreError)]
        about[split] = {
            "videos": Counter(record.category for record in records),
            "faces": sum(sum(entry.faces) for entry in known),
        }
        about["made_with"] = asdict(known[0].spec) if known else None
    return {**about, "broken": broken}


def _describe_faces(path: Path) -> dict[str, Any]:
    from unmask.data import pt_file

    video = pt_file.read(path)
    return {
        "video": video.video,
        "people": [
            {"id": t.id, "faces": len(t), "start": float(t.times[0]), "end": float(t.times[-1])}
            for t in video.tracks
        ],
        "windows": len(video.windows),
        "sampled": video.sampled,
        "coverage": video.coverage,
        "made_with": asdict(video.spec),
        "warnings": list(video.warnings),
    }


def _describe_model(path: Path) -> dict[str, Any] | str:
    from unmask.models import load_bundle
    from unmask.models.bundle import WEIGHTS
    from unmask.models.registry import bundle_sha256

    bundle = load_bundle(path)
    whole = bundle_sha256(path) if (path / WEIGHTS).is_file() else None
    if bundle.card is not None:
        return f"{bundle.card}\nSHA-256 of the whole bundle: `{whole}`\n"
    return {
        **asdict(bundle.config),
        "parameters": sum(p.numel() for p in bundle.net.parameters()),
        "sha256": bundle.sha256,
        "bundle_sha256": whole,
    }
