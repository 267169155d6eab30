"""unmask info: what is this file?"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click


@click.command(short_help="What a video, .pt file or model is.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
def info(paths: tuple[str, ...]) -> int:
    """Describe videos, .pt files of faces, and models, as JSON."""
    from unmask.errors import FileError

    status = 0
    for path in paths:
        try:
            click.echo(json.dumps({"path": path, **_describe(Path(path))}, indent=2))
        except FileError as error:
            click.echo(f"unmask: {error}", err=True)
            status = 1
    return status


def _describe(path: Path) -> dict[str, Any]:
    from unmask import store
    from unmask.models import load_bundle
    from unmask.models.bundle import config_dict
    from unmask.video import Video

    if path.suffix == store.SUFFIX:
        video = store.read(path)
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
    if path.is_dir() or path.suffix in (".pth", ".safetensors"):
        bundle = load_bundle(path)
        parameters = sum(p.numel() for p in bundle.net.parameters())
        return {
            **config_dict(
                bundle.name, bundle.net.config, bundle.spec, bundle.decision, bundle.training
            ),
            "parameters": parameters,
            "sha256": bundle.sha256,
        }
    with Video(path) as opened:
        return asdict(opened.info)
