"""What can be set about a model and its training, and the presets."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from unmask.errors import UsageError
from unmask.models import Decision, ModelConfig


@dataclass(frozen=True)
class TrainConfig:
    """How to train; the defaults are the design document's.

    Attributes:
        epochs: passes over the training windows.
        batch_size: windows a batch and process.
        accumulate: batches a step of the optimizer.
        lr: Adam's learning rate.
        weight_decay: of AdamW (Loshchilov and Hutter 2019); 0 is plain Adam.
        schedule: "plateau": the rate halves when the validation loss has not fallen for three
            epochs; "cosine": it falls to 0 over the run, after `warmup`.
        warmup: epochs over which the rate of "cosine" rises to `lr`.
        clip_norm: the gradient's norm is cut to this; 0 leaves it.
        ema: decay of the moving average of the weights that is validated, saved and used in
            place of the weights themselves; 0 is none.
        patience: stop after so many epochs without a better one; 0 never stops early.
        monitor: what makes an epoch the best: "val_acc", "val_auc" or "val_loss".
        seed: of weights, order, dropout and augmentation.
        weights: "auto" or "imagenet" (the backbone's of ImageNet; an error if there are none to
            be had), "random", or a model of the same architecture to go on from (see
            unmask.models.find_model), or a `.pth` file of one.
        freeze_cnn: train only what comes after the backbone; its features are computed once.
        freeze_stages: leave the backbone's stem and so many of its stages as they are; 0 lets
            all of it learn.
        precision: "float32", "bfloat16", "float16", or "auto": what the hardware is fast in.
        compile: let torch.compile translate the backbone first.
        workers: processes that read and augment windows.
        short: what becomes of windows of fewer faces: "drop" or "pad".
        targets: "clip": all windows of a fake are fake; "segments": those that touch a
            manipulated segment, where segments are known.
        frame_loss: weight of the frame head's loss; the window's is 1.
        map_loss: weight of the map head's loss, where it is known which cells were manipulated.
        rank_loss: weight of a loss that is small where every fake of a batch has a higher score
            than every real.
        pairs: put a fake's windows beside those of its own recording, augmented alike.
        balance: of classes of unequal size: "sampling": an epoch takes as many windows of the
            larger as there are of the smaller; "weight": fakes weigh real / fake in the loss.
        per_recording: an epoch takes at most so many windows of each recording, other ones in
            every epoch; 0 takes all.
        augment: "none", "flip", "web": crop, flip, colour, and what the web does to videos; or
            "strong": all that cameras, editors, platforms and small faces do (see degrade).
        crop: side in pixels of the random parts of faces that "strong" leaves; 0 is the faces'.
        synth: "none", or families of fakes (see unmask.synth), "all" or names separated by
            commas: only real windows are taken, each beside a fake made of it, a new one every
            epoch, and both augmented alike.
        redrawers: folder of autoencoders for the family "redrawn".
        true_fakes: with `synth`, the share of the pairs whose fake is one of the tree's. One whose
            recording is not in the tree counts as generated throughout.
        refit: fit the head again after the last epoch, alone, on features of the training windows
            (Kirichenko, Izmailov and Wilson 2023, "Last Layer Re-Training is Sufficient for
            Robustness to Spurious Correlations"); takes head_hidden=0.
        calibrate: fit the scale and the thresholds of the decision on the val split at the end.
        keep: how many of the last epochs' checkpoints are kept; 0 keeps all.
        save_minutes: how often an unfinished epoch is saved.
        tensorboard: write the history for TensorBoard as well.
    """

    epochs: int = 10
    batch_size: int = 4
    accumulate: int = 1
    lr: float = 1e-4
    weight_decay: float = 0.0
    schedule: Literal["plateau", "cosine"] = "plateau"
    warmup: float = 0.0
    clip_norm: float = 0.0
    ema: float = 0.0
    patience: int = 0
    monitor: Literal["val_acc", "val_auc", "val_loss"] = "val_acc"
    seed: int = 0
    weights: str = "auto"
    freeze_cnn: bool = False
    freeze_stages: int = 0
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    compile: bool = False
    workers: int = 4
    short: Literal["drop", "pad"] = "drop"
    targets: Literal["clip", "segments"] = "clip"
    frame_loss: float = 0.0
    map_loss: float = 0.0
    rank_loss: float = 0.0
    pairs: bool = False
    balance: Literal["none", "sampling", "weight"] = "none"
    per_recording: int = 0
    augment: Literal["none", "flip", "web", "strong"] = "none"
    crop: int = 0
    synth: str = "none"
    redrawers: str = ""
    true_fakes: float = 0.5
    refit: bool = False
    calibrate: bool = False
    keep: int = 0
    save_minutes: float = 10.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "accumulate"):
            if getattr(self, key) < 1:
                raise UsageError(f"{key} must be at least 1, not {getattr(self, key)}")
        bounded = "warmup weight_decay clip_norm patience freeze_stages workers keep"
        bounded += " frame_loss map_loss rank_loss per_recording crop true_fakes"
        for key in bounded.split():
            if getattr(self, key) < 0:
                raise UsageError(f"{key} must not be negative")
        if not 0 <= self.ema < 1:
            raise UsageError(f"ema must be at least 0 and less than 1, not {self.ema}")
        if self.crop and self.augment != "strong":
            raise UsageError("crop takes augment=strong")
        if self.synth != "none" and self.batch_size % 2:
            raise UsageError(f"synth makes pairs: batch_size must be even, not {self.batch_size}")
        if not self.lr > 0:
            raise UsageError(f"lr must be greater than 0, not {self.lr}")


@dataclass(frozen=True)
class RunConfig:
    """Everything that can be set about a run.

    Attributes:
        model: the network.
        training: how it is trained.
        decision: how its scores become a verdict.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainConfig = field(default_factory=TrainConfig)
    decision: Decision = field(default_factory=Decision)

    def __post_init__(self) -> None:
        if self.training.refit and self.model.head_hidden:
            raise UsageError("refit fits a single layer: it takes head_hidden=0")
        if self.training.map_loss and not self.model.map_head:
            raise UsageError("map_loss takes map_head=true")


PRESETS = {
    "baseline": RunConfig(),
    "default": RunConfig(
        ModelConfig(
            backbone="tf_efficientnet_lite0",
            hidden=128,
            layers=1,
            pooling="attention",
            head_hidden=128,
            frame_head=True,
        ),
        TrainConfig(
            lr=1e-3,
            workers=2,
            short="pad",
            monitor="val_auc",
            targets="segments",
            frame_loss=1.0,
            augment="flip",
            pairs=True,
            calibrate=True,
            keep=3,
        ),
        Decision(faces="all", smoothing=1, aggregate="max"),
    ),
    # The shipped model's: single faces of 288 px (preprocess --length 1 --overlap 0), and fakes
    # made of the recordings beside them.
    "small": RunConfig(
        ModelConfig(
            backbone="tf_efficientnet_lite0",
            temporal="mean",
            pooling="mean",
            head_hidden=0,
            frame_head=True,
            map_head=True,
        ),
        TrainConfig(
            epochs=8,
            batch_size=24,
            lr=5e-4,
            weight_decay=0.01,
            schedule="cosine",
            warmup=0.5,
            clip_norm=2.0,
            ema=0.9995,
            monitor="val_auc",
            workers=2,
            short="pad",
            map_loss=1.0,
            rank_loss=0.75,
            per_recording=16,
            augment="strong",
            crop=224,
            synth="self-blending,self-blending,face swap,face swap,region replacement,generator",
            true_fakes=0.2,
            refit=True,
            calibrate=True,
            keep=3,
        ),
        Decision(faces="all", smoothing=1, frame_smoothing=5, aggregate="logit"),
    ),
}


def make_config(preset: str = "default", settings: dict[str, str] | None = None) -> RunConfig:
    """A preset with single settings changed, each given as text.

    Raises:
        UsageError: unknown preset or setting, or a value of the wrong kind.
    """
    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}")
    config = PRESETS[preset]
    parts = {part.name: getattr(config, part.name) for part in fields(config)}
    owners = {one.name: name for name, part in parts.items() for one in fields(part)}
    changes: dict[str, dict[str, Any]] = {name: {} for name in parts}
    for key, text in (settings or {}).items():
        if key not in owners:
            raise UsageError(f"unknown setting {key!r}; there are {', '.join(sorted(owners))}")
        owner = owners[key]
        changes[owner][key] = _parse(key, text, get_type_hints(type(parts[owner]))[key])
    return RunConfig(**{name: replace(part, **changes[name]) for name, part in parts.items()})


def _parse(key: str, text: str, kind: Any) -> Any:
    """A setting's value from its text, by the type that it is declared with."""
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise UsageError(f"{key} must be one of {', '.join(get_args(kind))}, not {text!r}")
        return text
    if kind is bool:
        value = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in value:
            raise UsageError(f"{key} must be true or false, not {text!r}")
        return value[text.lower()]
    if kind not in (int, float):  # text, or a name or a number
        return int(text) if text.isdigit() and kind is not str else text
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{key} must be {kind.__name__}, not {text!r}") from None
