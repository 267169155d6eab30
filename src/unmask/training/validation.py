"""How good a network is on the validation windows."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from unmask.device import autocast
from unmask.errors import UnmaskError
from unmask.evaluation.metrics import auc
from unmask.models import DeepfakeNet, Logits
from unmask.training.config import TrainConfig
from unmask.training.dataset import Sample
from unmask.training.distributed import Group
from unmask.training.losses import compute_loss, window_labels

Parts = TypeVar("Parts", Logits, Sample)


@dataclass(frozen=True)
class Validation:
    """Over all validation windows.

    Attributes:
        loss: mean.
        accuracy: share of the windows on the right side of 0.5.
        auc: None without both classes.
    """

    loss: float
    accuracy: float
    auc: float | None


@torch.inference_mode()
def validate(
    net: DeepfakeNet,
    samples: Iterable[Sample],
    settings: TrainConfig,
    group: Group,
    precision: str,
    fake_weight: float,
) -> Validation:
    """Measure the network on this process's samples and those of the others.

    Raises:
        UnmaskError: there is no sample.
    """
    net.eval()
    outputs = []
    for sample in samples:
        with autocast(group.device, precision):
            logits = net(sample.faces, sample.mask)
        # The faces are not needed any more; the mask stands in for them.
        outputs.append((_on_cpu(logits), _on_cpu(sample._replace(faces=sample.mask))))
    outputs = [pair for theirs in group.gather(outputs) for pair in theirs]
    if not outputs:
        raise UnmaskError("none of the validation windows can be read any more")
    logits = _joined([logits for logits, _ in outputs])
    sample = _joined([sample for _, sample in outputs])
    loss = compute_loss(logits, sample, settings, fake_weight)
    truth = window_labels(sample, settings)
    accuracy = float(((logits.window > 0) == (truth > 0.5)).float().mean())
    return Validation(float(loss), accuracy, auc(truth.numpy(), logits.window.numpy()))


def _on_cpu(parts: Parts) -> Parts:
    kind: Any = type(parts)
    return kind(*(None if part is None else part.cpu() for part in parts))  # type: ignore[no-any-return]


def _joined(batches: list[Parts]) -> Parts:
    kind: Any = type(batches[0])
    columns = zip(*batches, strict=True)
    return kind(*(None if column[0] is None else torch.cat(column) for column in columns))  # type: ignore[no-any-return]
