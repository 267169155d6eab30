"""What training minimises."""

import torch.nn.functional as F
from torch import Tensor

from unmask.models import Logits
from unmask.training.config import TrainConfig
from unmask.training.dataset import Sample


def window_labels(sample: Sample, settings: TrainConfig) -> Tensor:
    """(B,) float32: what the window logit is to say."""
    if settings.targets == "clip":
        return sample.clip_label
    return (sample.frame_labels * sample.mask).amax(dim=1)


def compute_loss(
    logits: Logits, sample: Sample, settings: TrainConfig, fake_weight: float = 1.0
) -> Tensor:
    """Binary cross-entropy of the windows, plus `frame_loss` times that of the shown frames.

    Fakes weigh `fake_weight` times as much as reals.
    """
    weight = logits.window.new_tensor(fake_weight)
    labels = window_labels(sample, settings)
    loss = F.binary_cross_entropy_with_logits(logits.window, labels, pos_weight=weight)
    if logits.frames is not None:  # at weight 0, too: all parameters then have a gradient
        shown = sample.mask
        loss = loss + settings.frame_loss * F.binary_cross_entropy_with_logits(
            logits.frames[shown], sample.frame_labels[shown], pos_weight=weight
        )
    return loss
