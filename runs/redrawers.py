"""Small networks that draw faces anew, for the fakes of a training (see docs/synthesis.md).

redrawers.py TREE OUT: they learn from the real faces of TREE's train split, a preprocessed tree;
each leaves another trace. What is finished is not made again.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from unmask.data import pt_file
from unmask.data.index import find_processed
from unmask.synth.autoencoder import (
    SUFFIX,
    AutoencoderConfig,
    save_autoencoder,
    train_autoencoder,
)

CONFIGS = {
    "transposed4": AutoencoderConfig(halvings=2, upsampling="transposed", width=24, latent=6),
    "nearest8": AutoencoderConfig(upsampling="nearest", width=24, latent=8, variational=True),
    "shuffle8": AutoencoderConfig(upsampling="shuffle", width=24, latent=12),
    "transposed8": AutoencoderConfig(upsampling="transposed", width=24, latent=16),
}
FACES = 8  # of a person


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    args = parser.parse_args()
    tracks = [
        track
        for record in find_processed(args.tree, "train")
        if record.label == 0
        for track in pt_file.read(record.path).tracks
    ]
    people = []
    for track in tracks:
        chosen = np.unique(np.linspace(0, len(track) - 1, min(FACES, len(track))).round())
        people.append(np.ascontiguousarray(track.crops[chosen.astype(int)]))
    for name, config in CONFIGS.items():
        path, begun = args.out / f"{name}{SUFFIX}", time.perf_counter()
        if not path.exists():
            save_autoencoder(path, train_autoencoder(config, people, args.steps))
            print(f"{path}  {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
