"""The front door: a verb a function. `unmask.predict` and its kin are these."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from unmask.backends import Backend
from unmask.detection.detector import Detector
from unmask.detection.prediction import Prediction
from unmask.engine import WHOLE, Engine, Progress, Shard, silent
from unmask.evaluation import Report
from unmask.models import shipped_models
from unmask.video.reader import Limits

if TYPE_CHECKING:
    from unmask.data.tree import TreeReport


def load_model(
    model: str | Path = "small",
    *,
    faces: str | int | None = None,
    device: str = "auto",
    limits: Limits = Limits(),  # noqa: B008
    backend: Backend = "auto",
) -> Detector:
    """Load a model that judges videos.

    Args:
        model: the name of one that comes along (see list_models); a folder, as training leaves
            it; a `.safetensors`, `.pth` or `.onnx` file; or one from the network, by hub id or
            address with its checksum (see unmask.models.find_model).
        faces: whose faces count: "largest" of each frame, "all" people, or the N most prominent;
            None is the model's own choice.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        limits: what a video may cost before it is refused.
        backend: who computes the network: "torch", "onnx", "openvino", or "auto", the fastest that
            is installed and has a file of the model.

    Raises:
        ModelError: it cannot be loaded.
        UsageError: there is no such device or backend.
    """
    return Detector.from_pretrained(model, faces, device, limits, backend=backend)


def list_models() -> list[str]:
    """Names of the models that come along."""
    return shipped_models()


@overload
def predict(source: str | Path, model: str | Path = ..., **options: Any) -> Prediction: ...
@overload
def predict(
    source: Iterable[str | Path], model: str | Path = ..., **options: Any
) -> Iterator[Prediction]: ...
def predict(
    source: str | Path | Iterable[str | Path], model: str | Path = "small", **options: Any
) -> Prediction | Iterator[Prediction]:
    """Judge a video, or a `.pt` file of its faces; or one after the other of several.

    Args:
        source: path of the file, or several.
        model, options: see load_model.

    Returns:
        The prediction of one; an iterator over those of several, in their order.

    Raises:
        VideoError, StoreError: a single file cannot be used; one of several has the verdict
            "failed" instead.
    """
    return load_model(model, **options).predict(source)


def preprocess(
    source: str | Path,
    target: str | Path,
    *,
    sequence_length: int = 30,
    target_fps: float = 3,
    image_size: int = 224,
    overlap: int = 6,
    margin: int = 0,
    faces: str | int = "all",
    exact: bool = False,
    workers: int = 1,
    device: str = "auto",
    backend: Backend = "auto",
    limits: Limits = Limits(),  # noqa: B008
    engine: Engine | None = None,
    shard: Shard = WHOLE,
    on_progress: Progress = silent,
) -> "TreeReport":
    """Turn a tree of videos into the same tree of `.pt` files of faces.

    What is finished is skipped when it is run again; a broken video stops nothing.

    Args:
        source: folder of videos, at any depth.
        target: folder for the `.pt` files.
        sequence_length, target_fps, image_size, overlap, margin, exact: see VideoPreprocessor.
        faces: whose faces are kept; whose count is for the model to say.
        workers: processes of this machine.
        device: where the face detector runs.
        backend: who computes it: "torch", "onnx" or "openvino"; "auto" is torch.
        limits: what a video may cost before it is refused.
        engine: where it runs, in place of `workers`.
        shard: the part of the videos that is done.
        on_progress: called with (finished, total, failed) after each video.

    Raises:
        CorpusError: `source` is no folder, or holds no videos.
    """
    from unmask.data.preprocessor import VideoPreprocessor
    from unmask.data.tree import preprocess_tree
    from unmask.device import pick_device

    preprocessor = VideoPreprocessor(
        sequence_length, target_fps, image_size, overlap=overlap, margin=margin, faces=faces,
        exact=exact, device=str(pick_device(device)), limits=limits, backend=backend,
    )  # fmt: skip
    where = engine or Engine(workers)
    return preprocess_tree(source, target, preprocessor, where, on_progress, shard)


def train(
    processed: str | Path,
    out: str | Path = "checkpoints",
    *,
    preset: str = "default",
    resume: bool = False,
    device: str = "auto",
    **settings: Any,
) -> Report | None:
    """Train on the train split, choose and calibrate by the val split, evaluate on the test split.

    Args:
        processed: what `preprocess` leaves: `{train,val,test}/<category>/*.pt`.
        out: folder for the model and the checkpoints.
        preset: "default", or "baseline": the design document to the letter.
        resume: go on where the run in `out` was last saved.
        device: see load_model.
        settings: fields of TrainConfig, ModelConfig and Decision, e.g. `epochs=10`.

    Returns:
        Report of the test split; None if the tree has none that could be scored.

    Raises:
        UsageError: an unknown preset or setting, or `out` holds another run.
        CorpusError: no data to train on.
    """
    from unmask.training.config import make_config
    from unmask.training.loop import train as run

    config = make_config(preset, {key: str(value) for key, value in settings.items()})
    return run(processed, out, config, resume=resume, device=device)


def evaluate(
    source: str | Path,
    model: str | Path | None = None,
    *,
    out: str | Path = "evaluation",
    **options: Any,
) -> Report:
    """Measure a model on labelled videos, or a file of scores; write the report.

    Args:
        source: a preprocessed tree, a corpus of videos, or a `.csv` or `.json` of scores.
        model: see load_model; None for a file of scores.
        out: folder for metrics, predictions, plots and the report.
        options: fields of unmask.detection.evaluate.EvaluateOptions, e.g. `split="val"`.

    Raises:
        UsageError, CorpusError, ModelError: see unmask.detection.evaluate.evaluate.
    """
    from unmask.detection.evaluate import EvaluateOptions
    from unmask.detection.evaluate import evaluate as run

    return run(source, model, out, EvaluateOptions(**options))
