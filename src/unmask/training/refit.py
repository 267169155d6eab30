"""The last layer, fitted again on features that do not change any more."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from unmask.device import autocast
from unmask.errors import UnmaskError
from unmask.models import DeepfakeNet
from unmask.training.config import TrainConfig
from unmask.training.dataset import Sample
from unmask.training.distributed import Group
from unmask.training.losses import window_labels

_PENALTY = 0.05  # of the squared weights of standardised features, beside the mean cross-entropy


@torch.inference_mode()
def refit_head(
    net: DeepfakeNet,
    samples: Iterable[Sample | None],
    settings: TrainConfig,
    group: Group,
    precision: str,
) -> None:
    """Fit the linear head of a network by penalised logistic regression.

    While all layers learn, the head leans on what the newest batches happened to show; a head that
    is fitted at the end, on one pass over windows that the network does not learn from any more,
    finds more kinds of fakes that were not among them. Where a window's state is the mean of its
    frames' states, the frame head becomes the same.

    Args:
        net: its head is one linear layer.
        samples: this process's; those of all are used.
        settings: of the training.
        group: the processes.
        precision: of the features.

    Raises:
        UnmaskError: only one class is there.
    """
    net.eval()
    rows: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.float32]] = []
    for sample in samples:
        if sample is not None:
            with autocast(group.device, precision):
                rows.append(net.states(sample.faces, sample.mask).float().cpu().numpy())
            labels.append(window_labels(sample, settings).cpu().numpy())
    gathered = group.gather((rows, labels))
    states = np.concatenate([part for theirs, _ in gathered for part in theirs])
    truth = np.concatenate([part for _, theirs in gathered for part in theirs]) > 0.5
    if len(np.unique(truth)) < 2:
        raise UnmaskError("refit takes windows of both classes")
    scaler = StandardScaler().fit(states)
    inverse = 1 / (2 * _PENALTY * len(states))  # scikit-learn's C goes with the sum of losses
    fit = LogisticRegression(C=inverse, class_weight="balanced", max_iter=1000)
    fit.fit(scaler.transform(states), truth)
    weight = fit.coef_[0] / scaler.scale_
    bias = fit.intercept_[0] - weight @ scaler.mean_
    heads = [net.head, net.frame_head if net.pool.kind == "mean" else None]
    for head in heads:
        if isinstance(head, nn.Linear):
            head.weight.copy_(torch.from_numpy(weight)[None])
            head.bias.fill_(float(bias))
