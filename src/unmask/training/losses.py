"""What training minimises."""

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.models import Logits
from unmask.training.config import TrainConfig
from unmask.training.dataset import Sample

_UNTOUCHED, _ALTERED = 0.02, 0.15  # of a cell


def window_labels(sample: Sample, settings: TrainConfig) -> Tensor:
    """(B,) float32: what the window logit is to say."""
    if settings.targets == "clip":
        return sample.clip_label
    return (sample.frame_labels * sample.mask).amax(dim=1)


def compute_loss(
    logits: Logits, sample: Sample, settings: TrainConfig, fake_weight: float = 1.0
) -> Tensor:
    """Binary cross-entropy of the windows, plus the other losses by their weights.

    Of the frames: `frame_loss` times that of the shown ones. Of the map: `map_loss` times that of
    the cells of which it is known whether they are manipulated; those at the edge of what is, less
    than 15 % of them, say nothing. Of the ranking: `rank_loss` times the mean of
    softplus(real - fake) over the windows of the batch. In the first two, and of windows, fakes
    weigh `fake_weight` times as much as reals.
    """
    weight = logits.window.new_tensor(fake_weight)
    labels = window_labels(sample, settings)
    loss = F.binary_cross_entropy_with_logits(logits.window, labels, pos_weight=weight)
    if logits.frames is not None:  # at weight 0, too: all parameters then have a gradient
        shown = sample.mask
        loss = loss + settings.frame_loss * F.binary_cross_entropy_with_logits(
            logits.frames[shown], sample.frame_labels[shown], pos_weight=weight
        )
    if logits.maps is not None:
        cells = sample.cells[sample.mask]
        known = (cells < _UNTOUCHED) | (cells > _ALTERED)  # of NaN neither
        loss = loss + settings.map_loss * F.binary_cross_entropy_with_logits(
            torch.where(known, logits.maps, 0), (cells > _ALTERED).float(), known.float(),
            reduction="sum",
        ) / known.sum().clamp(min=1)  # fmt: skip
    if settings.rank_loss:
        fake = labels > 0.5
        apart = logits.window[~fake][:, None] - logits.window[fake]
        loss = loss + settings.rank_loss * F.softplus(apart).sum() / max(1, apart.numel())
    return loss
