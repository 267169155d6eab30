"""A step of two processes is that of one with the whole batch, batch norms included."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from unmask.models import DeepfakeNet, ModelConfig
from unmask.training.config import TrainConfig, make_config
from unmask.training.distributed import Group
from unmask.training.learner import Learner

# Run by each process, and imported by nobody: a few lines that take their part of the batch.
PROCESS = """
import sys, torch
from test_processes import step
from unmask.training.distributed import process_group
torch.set_num_threads(1)
with process_group("cpu") as group:
    result = step(sys.argv[1], group)
    if group.main:
        torch.save(result, sys.argv[2])
"""


def step(backbone: str, group: Group) -> dict[str, torch.Tensor]:
    """What a step makes of the whole batch of 4 windows, of which each process takes its share."""
    torch.manual_seed(0)
    without_dropout = {"gru_dropout": "0", "head_dropout": "0", "backbone": backbone}
    config: ModelConfig = make_config("default", without_dropout).model
    net = DeepfakeNet(config)
    for parameter in net.parameters():  # rounding must not decide which ReLU is open
        parameter.data = parameter.data.double()
    for buffer in net.buffers():
        buffer.data = buffer.data.double() if buffer.is_floating_point() else buffer.data
    settings = TrainConfig(precision="float32", weights="random")
    learner = Learner(net.train(), settings, group, 1)
    faces = torch.randint(0, 256, (4, 3, 3, 64, 64), dtype=torch.uint8)
    targets = torch.rand(4)
    share = 4 // group.world
    own = slice(group.rank * share, (group.rank + 1) * share)
    logits = learner.forward(faces[own], torch.ones(share, 3, dtype=torch.bool))
    assert logits.frames is not None
    loss = (logits.window - targets[own]).square().mean() + logits.frames.square().mean()
    learner.backward(loss)
    result = {f"grad {n}": p.grad for n, p in net.named_parameters() if p.grad is not None}
    learner.step()
    return result | {n: b.clone() for n, b in net.named_buffers()}


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "test_resnet"])
def test_a_step_of_two_processes_is_that_of_one(tmp_path: Path, backbone: str) -> None:
    alone = step(backbone, Group(0, 1, torch.device("cpu")))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared: dict[str, Any] = {
        **os.environ, "TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }  # fmt: skip
    command = [sys.executable, "-c", PROCESS, backbone, str(tmp_path / "two.pt")]
    running = [
        subprocess.Popen(command, env={**shared, "RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    together = torch.load(tmp_path / "two.pt", weights_only=True)
    assert together.keys() == alone.keys()
    assert any("running_var" in name and "cnn" in name for name in alone)
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-6, atol=1e-10, msg=name)
