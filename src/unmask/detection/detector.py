"""A video -> a verdict: the only way from pixels to scores."""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Self, overload

import numpy as np
import torch
from numpy.typing import NDArray

from unmask import storage
from unmask.backends import Backend
from unmask.data import pt_file
from unmask.data.choice import choose_faces
from unmask.data.preprocessor import OpenVideo, VideoPreprocessor
from unmask.data.pt_file import ProcessedVideo, Summary
from unmask.data.windows import make_windows
from unmask.detection.decide import decide, failed
from unmask.detection.prediction import ModelId, Prediction
from unmask.detection.scope import bits_per_pixel, scoped
from unmask.detection.scores import TrackLogits, VideoLogits
from unmask.detection.stability import Trim, tested
from unmask.device import pick_device
from unmask.errors import FileError, InternalError, StorageError, StoreError
from unmask.face_spec import FaceSpec
from unmask.faces import FaceCrop
from unmask.faces.tracks import parse_faces
from unmask.models import Bundle, Calibration, Decision, find_model, load_bundle
from unmask.models.runtime import open_runtime
from unmask.stages import stage
from unmask.threads import batched, threaded
from unmask.video.corruption import Corruption
from unmask.video.reader import Limits

log = logging.getLogger("unmask")
_TRIED = 2  # faces that are scored in both precisions
_TOLERANCE = 1e-2  # of a probability
_WINDOWS_AT_ONCE = 32


_Floats = NDArray[np.float32]
_Face = tuple[_Floats, _Floats | None]  # features (F,), and a map (h, w) where there is a map head


@dataclass(frozen=True, eq=False)
class _Encoded:
    """A track as the network's second half takes it: a row of features a face, and its map."""

    times: list[float]
    boxes: list[NDArray[np.float32]]
    features: list[_Floats]
    maps: list[_Floats | None]


class Detector:
    """Judges videos with a model.

    Args:
        bundle: the model.
        faces: whose faces: "largest", "all" or a number; None is the model's own choice.
        device: "auto", "cpu", "cuda", "cuda:1", "mps"...
        limits: what a video may cost before it is refused.
        stability: judge copies of every video, too, and give up verdicts that they do not share
            (see unmask.detection.stability.tested).
        backend: who computes the model, and finds the faces: "torch", "onnx", "openvino", or "auto"
            (see unmask.models.runtime.open_runtime, and MTCNN).

    Attributes:
        bundle: the model.
        runtime: its network.
        decision: how its scores become a verdict.
        model: its name and checksum.
        stability: whether copies are judged, too.
        preprocessor: makes of a video what the model was trained on.
    """

    def __init__(
        self,
        bundle: Bundle,
        faces: str | int | None = None,
        device: str = "auto",
        limits: Limits = Limits(),  # noqa: B008
        stability: bool = False,
        backend: Backend = "auto",
    ) -> None:
        self.bundle, self.stability = bundle, stability
        self.decision = replace(bundle.decision, faces=parse_faces(faces or bundle.decision.faces))
        self.device = pick_device(device)
        self.model = ModelId(bundle.name, bundle.sha256)
        spec = replace(bundle.spec, faces=self.decision.faces)
        self.preprocessor = VideoPreprocessor.from_spec(spec, str(self.device), limits, backend)
        self._asked, self._corrupted = faces is not None, False
        self._altered = False  # what was done to a copy is no fault of the video's
        # On CPUs a core for each group of faces; small groups stay in the cache.
        on_cpu = self.device.type == "cpu"
        self._threads, self._at_once = (torch.get_num_threads(), 16) if on_cpu else (1, 64)
        self.runtime = open_runtime(bundle, backend, self.device, self._threads)
        log.debug("%s runs on %s in %s", bundle.name, self.runtime.name, self.runtime.precisions[0])

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        faces: str | int | None = None,
        device: str = "auto",
        limits: Limits = Limits(),  # noqa: B008
        stability: bool = False,
        backend: Backend = "auto",
    ) -> Self:
        """Load a model.

        Args:
            model: "small", which comes along; a bundle folder (as training leaves it), a
                `.safetensors`, a `.pth` or an `.onnx`; or one from the network (see find_model).
            faces, device, limits, stability, backend: see Detector.

        Raises:
            ModelError: it cannot be loaded.
        """
        return cls(load_bundle(find_model(model)), faces, device, limits, stability, backend)

    def opening(self, open_video: OpenVideo) -> Self:
        """The same detector, which opens its videos in another way."""
        other = copy(self)
        other.preprocessor = self.preprocessor.opening(open_video)
        return other

    def under(self, corruption: Corruption | Trim) -> Self:
        """The same detector, before which every video is corrupted."""
        other = self.opening(corruption.open)
        other.stability, other._altered = False, True
        other._corrupted = bool(corruption.level)
        return other

    def calibrated(self, calibration: Calibration) -> Self:
        """The same detector with another calibration, which its bundle carries from now on."""
        other = self.deciding(calibration.applied(self.decision))
        other.bundle = replace(self.bundle, calibration=calibration)
        return other

    def deciding(self, decision: Decision) -> Self:
        """The same detector with another decision, of the same faces."""
        other = copy(self)
        other.decision = decision
        return other

    @overload
    def predict(self, source: str | Path) -> Prediction: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, source: Iterable[str | Path]) -> Iterator[Prediction]: ...
    def predict(
        self, source: str | Path | Iterable[str | Path]
    ) -> Prediction | Iterator[Prediction]:
        """Judge a video, or a `.pt` file of its faces; or one after the other of several.

        A string with a scheme (`s3://bucket/clip.mp4`) is an address (see unmask.storage).

        A video in which no face is found has the verdict "failed" and no confidence. So has one
        of several that cannot be used; a single one raises.

        Raises:
            VideoError, StoreError, StorageError: the file cannot be used.
        """
        if isinstance(source, str | Path):
            return self._judge(source)
        return map(self._predict_or_fail, source)

    def _judge(self, path: str | Path) -> Prediction:
        if storage.is_remote(path):
            with storage.fetched(path) as file:
                prediction = self._judge(file)
            return replace(prediction, video=path, key=self.key(path))
        key = self.key(path)
        prediction = replace(decide(self.score(path), self.decision, self.model), key=key)
        if not self._altered:
            prediction = scoped(prediction, bits_per_pixel(path))
        return tested(self, prediction) if self.stability else prediction

    def _predict_or_fail(self, path: str | Path) -> Prediction:
        try:
            return self._judge(path)
        except FileError as error:
            return self.fail(path, error)
        except Exception as error:  # a bug of ours costs one video, not the run
            log.debug("%s", path, exc_info=True)
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            return self.fail(path, InternalError(path, said))

    def fail(self, path: str | Path, error: FileError) -> Prediction:
        """The prediction of a file that cannot be used."""
        return replace(failed(str(path), error.cause, self.model), key=self.key(path))

    def key(self, path: str | Path) -> str:
        """The key of a file's prediction (see Prediction), 16 hexadecimal digits.

        A file is known by its path, size and time of change: that costs no reading, and a file
        that was moved or written anew is at worst judged once more.
        """
        file: object = None
        with suppress(OSError, ValueError, StorageError):  # not there, or no name of a file
            if storage.is_remote(path):
                file = storage.state(path)
            else:
                state = Path(path).stat()
                file = (state.st_size, state.st_mtime_ns)
        place = path if storage.is_remote(path) else str(Path(path).absolute())
        judge = (self.bundle.sha256, self.bundle.spec, self.decision, self.stability)
        origin = repr((place, file, judge))
        return hashlib.sha256(origin.encode()).hexdigest()[:16]

    def score(self, path: str | Path) -> VideoLogits:
        """The raw scores of a video, or of a `.pt` file of its faces.

        Raises:
            VideoError, StoreError: the file cannot be used.
        """
        if Path(path).suffix == pt_file.SUFFIX:
            return self._score_faces(path)
        stream = self.preprocessor.stream(path)
        groups = batched(stream, self._at_once)
        first = next(groups, [])
        precision = self._choose_precision([crop.rgb for crop in first])

        def encode(crops: list[FaceCrop]) -> tuple[list[FaceCrop], list[_Face]]:
            return crops, self._encode([crop.rgb for crop in crops], precision)

        tracks: dict[int, _Encoded] = {}
        for crops, faces in threaded(encode, chain([first], groups), self._threads):
            for crop, (row, cells) in zip(crops, faces, strict=True):
                track = tracks.setdefault(crop.track, _Encoded([], [], [], []))
                track.times.append(crop.time)
                track.boxes.append(crop.box)
                track.features.append(row)
                track.maps.append(cells)
        summary = stream.summary
        return self._scored(str(path), summary, [tracks[track] for track in summary.kept])

    def _score_faces(self, path: str | Path) -> VideoLogits:
        """`score` of a `.pt` file."""
        if self._corrupted:
            raise StoreError(path, "holds faces; only a video can be corrupted")
        video = pt_file.read(path)
        wrong = video.spec.differences(self.bundle.spec)
        if wrong:
            raise StoreError(path, f"does not fit the model: made with {', '.join(wrong)}")
        return self.score_video(choose_faces(video, self.decision.faces, path, self._asked), path)

    def judge(self, video: ProcessedVideo, name: str | None = None) -> Prediction:
        """Judge faces that are cut out already; `name` is the video's in the result."""
        return scoped(decide(self.score_video(video, name), self.decision, self.model))

    def score_video(
        self, video: ProcessedVideo, name: str | Path | None = None, precision: str | None = None
    ) -> VideoLogits:
        """The raw scores of faces that are cut out already.

        Args:
            video: the faces.
            name: the video's in the result; None for its own.
            precision: "float32", "bfloat16" or "float16"; None for what does for these faces.
        """
        crops = [crop for track in video.tracks for crop in track.crops]
        encode = partial(self._encode, precision=precision or self._choose_precision(crops))
        groups = threaded(encode, batched(crops, self._at_once), self._threads)
        faces = (face for group in groups for face in group)
        tracks = []
        for track in video.tracks:
            features, maps = zip(*islice(faces, len(track)), strict=True)
            tracks.append(
                _Encoded(list(track.times), list(track.boxes), list(features), list(maps))
            )
        return self._scored(str(name or video.video), video, tracks)

    def _scored(
        self, name: str, video: ProcessedVideo | Summary, tracks: list[_Encoded]
    ) -> VideoLogits:
        # A core each, or the last digits would follow the number of cores (or of workers).
        score = partial(self._score_track, spec=video.spec)
        with stage("judge", sum(len(track.times) for track in tracks)):
            judged = tuple(threaded(score, tracks, self._threads))
        return VideoLogits(
            name,
            judged,
            video.sampled,
            video.duration,
            video.warnings,
            video.spec,
        )

    def _encode(self, crops: list[NDArray[np.uint8]], precision: str) -> list[_Face]:
        """Of faces, each (S, S, 3) uint8, features and map."""
        if not crops:
            return []
        with stage("encode", len(crops)):
            features, maps = self.runtime.encode(np.stack(crops), precision)
        cells = [None] * len(crops) if maps is None else maps
        return list(zip(features, cells, strict=True))

    def _score_track(self, track: _Encoded, spec: FaceSpec) -> TrackLogits:
        features = np.stack(track.features)
        windows = make_windows(len(features), spec.sequence_length, spec.overlap)
        scores: list[NDArray[np.float64]] = []
        curves: list[NDArray[np.float64]] = []
        for group in batched(windows, _WINDOWS_AT_ONCE):
            mask = np.stack([window.mask for window in group])
            batch = np.zeros((*mask.shape, features.shape[1]), np.float32)
            for row, window in zip(batch, group, strict=True):
                row[: window.stop - window.start] = features[window.start : window.stop]
            logits = self.runtime.judge(batch, mask)
            scores.append(logits.window.astype(np.float64))
            if logits.frames is not None:
                curves += list(logits.frames.astype(np.float64))
        boxes, times = np.stack(track.boxes), np.array(track.times)
        maps = [cells for cells in track.maps if cells is not None]
        return TrackLogits(
            times, boxes, windows, np.concatenate(scores), curves or None,
            np.stack(maps) if maps else None,
        )  # fmt: skip

    def _choose_precision(self, crops: list[NDArray[np.uint8]]) -> str:
        """What the backend is fast in, unless a video's first faces lose a score by it."""
        fast, *_, sure = (self.runtime.precisions[0], *self.runtime.precisions)
        if not crops or fast == sure:
            return sure

        def tried(precision: str) -> NDArray[np.float64]:
            rows = [row for row, _ in self._encode(crops[:_TRIED], precision)]
            logits = self.runtime.judge(np.stack(rows)[None], np.ones((1, len(rows)), np.bool_))
            raw = np.concatenate([part.ravel() for part in logits if part is not None])
            return self.decision.probability(raw.astype(np.float64))

        exact, quick = threaded(tried, (sure, fast), self._threads)
        lost = float(np.abs(exact - quick).max())
        if lost <= _TOLERANCE:
            return fast
        log.debug("%s would move a score by %.3f: scoring in %s", fast, lost, sure)
        return sure
