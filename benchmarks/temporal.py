"""Does the order of frames say anything that the frames do not?

    python benchmarks/temporal.py MODEL TREE

MODEL judges every frame on its own; TREE is the preprocessed tree that it was trained on, whose
val split holds people and generators that it has never seen. Its features of the real and fake
videos of the train split, and of fakes made of the real ones, teach temporal modules on top of the
frozen backbone; AUC of the val videos, three seeds each. "bigru, shuffled" sees every window in a
random order: what it lacks against "bigru" is what order in time is worth.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unmask.corpora import VideoRecord
from unmask.data import pt_file
from unmask.data.index import find_processed
from unmask.data.windows import make_windows
from unmask.evaluation.measures import auc_roc
from unmask.models import DeepfakeNet, load_bundle
from unmask.synth import FAMILIES, Forger

LENGTH, STEPS, BATCH, FORGED = 12, 400, 32, 2  # faces a window; fakes made of a recording
VARIANTS = ("mean", "bigru", "bigru, shuffled", "transformer")


@torch.inference_mode()
def encode(net: DeepfakeNet, faces: NDArray[np.uint8]) -> Tensor:
    return torch.cat([net.encode(part) for part in torch.from_numpy(faces).split(32)])


def windows(
    net: DeepfakeNet, records: list[VideoRecord], forge: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(features (W, T, F), mask (W, T), label (W,), number of the video (W,)) of all videos."""
    rng, forger = np.random.default_rng(0), Forger([f for f in FAMILIES if f != "redrawn"])
    features, masks, labels, videos = [], [], [], []
    for number, record in enumerate(records):
        for track in pt_file.read(record.path).tracks[:1]:
            (whole,) = make_windows(len(track), len(track), 0)
            faces = np.ascontiguousarray(track.crops.transpose(0, 3, 1, 2))
            versions = [(record.label, faces)]
            if forge and not record.label:
                for _ in range(FORGED):
                    versions.append((1, forger.forge(track, whole, track, rng).fake))
            for label, version in versions:
                rows = encode(net, version)
                for window in make_windows(len(track), LENGTH, 0):
                    part = torch.zeros(LENGTH, rows.shape[1])
                    part[: window.stop - window.start] = rows[window.start : window.stop]
                    features.append(part)
                    masks.append(torch.from_numpy(window.mask))
                    labels.append(float(label))
                    videos.append(number)
    return torch.stack(features), torch.stack(masks), torch.tensor(labels), torch.tensor(videos)


def shuffled(features: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
    """The shown frames of every window in a random order."""
    order = torch.rand(mask.shape, generator=generator).masked_fill(~mask, 2).argsort(dim=1)
    return features.gather(1, order[..., None].expand_as(features))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("tree", type=Path)
    args = parser.parse_args()
    net = load_bundle(args.model).net
    train = windows(net, find_processed(args.tree, "train"), forge=True)
    val = windows(net, find_processed(args.tree, "val"), forge=False)
    print(f"{len(train[2])} windows to learn from, {len(val[2])} of {int(val[3].max()) + 1} videos")
    for variant in VARIANTS:
        areas = []
        for seed in range(3):
            torch.manual_seed(seed)
            generator = torch.Generator().manual_seed(seed)
            config = replace(net.config, temporal=variant.split(",")[0], hidden=128, layers=1)
            head = DeepfakeNet(config).train()
            modules = (head.temporal, head.pool, head.head)
            parameters = [p for module in modules for p in module.parameters()]
            optimizer = torch.optim.AdamW(parameters, 1e-3, weight_decay=0.01)
            fake = train[2] == 1
            weight = torch.where(fake, 0.5 / fake.sum(), 0.5 / (~fake).sum())  # classes alike
            for _ in range(STEPS):
                rows = torch.multinomial(weight, BATCH, generator=generator)
                batch, mask = train[0][rows], train[1][rows]
                if "shuffled" in variant:
                    batch = shuffled(batch, mask, generator)
                logits = head.judge(batch, mask).window
                loss = F.binary_cross_entropy_with_logits(logits, train[2][rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            head.eval()
            with torch.inference_mode():
                faces = shuffled(val[0], val[1], generator) if "shuffled" in variant else val[0]
                logits = head.judge(faces, val[1]).window
            count = int(val[3].max()) + 1
            means = [float(logits[val[3] == k].mean()) for k in range(count) if (val[3] == k).any()]
            truth = [int(val[2][val[3] == k][0]) for k in range(count) if (val[3] == k).any()]
            areas.append(auc_roc(np.array(truth), np.array(means)) or 0.0)
        print(
            f"{variant:16} {np.mean(areas):.3f} ({min(areas):.3f} to {max(areas):.3f})", flush=True
        )


if __name__ == "__main__":
    main()
