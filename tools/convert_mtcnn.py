"""Convert facenet-pytorch's MTCNN weights (MIT) to src/unmask/faces/mtcnn.safetensors.

    pip install --no-deps --target DIR facenet-pytorch==2.6.0
    python tools/convert_mtcnn.py DIR/facenet_pytorch/data src/unmask/faces/mtcnn.safetensors

The tensors keep their values. The keys become those of unmask.faces.networks, and the first dense
layer of R- and O-Net, which facenet-pytorch feeds in (width, height, channel) order, gets its
columns reordered so that it takes a plain (channel, height, width) flatten.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from unmask.faces.networks import ONet, PNet, RNet

# their layer names, in the order in which ours are defined
CONVOLUTIONS = ["conv1", "prelu1", "conv2", "prelu2", "conv3", "prelu3"]
DECISIONS = ["dense6_1", "dense6_2", "dense6_3"]
LAYERS = {
    "pnet": [*CONVOLUTIONS, "conv4_1", "conv4_2"],
    "rnet": [*CONVOLUTIONS, "dense4", "prelu4", "dense5_1", "dense5_2"],
    "onet": [*CONVOLUTIONS, "conv4", "prelu4", "dense5", "prelu5", *DECISIONS],
}
FLATTENED = {"rnet.dense4.weight": (64, 3, 3), "onet.dense5.weight": (128, 3, 3)}


def main(source: Path, target: Path) -> None:
    tensors: dict[str, Tensor] = {}
    for name, net in (("pnet", PNet()), ("rnet", RNet()), ("onet", ONet())):
        theirs = torch.load(source / f"{name}.pt", weights_only=True)
        values = []
        for layer in LAYERS[name]:
            for kind in ("weight", "bias"):
                key = f"{layer}.{kind}"
                if key not in theirs:
                    continue
                value = theirs.pop(key)
                shape = FLATTENED.get(f"{name}.{key}")
                if shape is not None:
                    channels, height, width = shape
                    value = value.view(-1, width, height, channels).permute(0, 3, 2, 1).flatten(1)
                values.append(value)
        assert not theirs, f"unused tensors: {list(theirs)}"
        ours = net.state_dict()
        for (key, like), value in zip(ours.items(), values, strict=True):
            assert like.shape == value.shape, (key, like.shape, value.shape)
            tensors[f"{name}.{key}"] = value.contiguous()
    save_file(tensors, target, metadata={"source": "facenet-pytorch 2.6.0", "licence": "MIT"})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
