"""A video, or a tree of videos -> `.pt` files of faces."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from copy import copy
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Self

from unmask.backends import Backend, lacks
from unmask.data import pt_file
from unmask.data.pt_file import ProcessedVideo, Summary, Writer
from unmask.documents import check
from unmask.errors import StoreError, UsageError
from unmask.face_spec import FaceSpec
from unmask.faces import MTCNN, FaceCrop, FaceFinder, Tracker
from unmask.stages import stage, timed
from unmask.threads import ahead
from unmask.video.reader import Limits, Video

OpenVideo = Callable[[Path, Limits], AbstractContextManager[Video]]
_FRAMES_AHEAD = 4  # decoded while the ones before are searched


class VideoPreprocessor:
    """Finds the faces of a video and cuts them into windows.

    Args:
        sequence_length: faces a window.
        target_fps: samples a second.
        image_size: side of a face crop in pixels.
        overlap: faces that successive windows share.
        margin: pixels of the crop, both sides together, around the detector's box.
        faces: "largest" face of each frame, "all" people, or the N most prominent.
        exact: find the faces of every sample as MTCNN alone would, in every size, and cut them
            out just so; slower by far (see FaceFinder). The crops are those of the design.
        min_face_size: smallest face looked for, in pixels of the frame.
        device: where the face detector runs.
        limits: what a video may cost before it is refused.
        backend: who computes the face detector (see MTCNN).

    Raises:
        UsageError: a setting is out of bounds (see FaceSpec), or the backend is not installed.
    """

    def __init__(
        self,
        sequence_length: int = 30,
        target_fps: float = 3,
        image_size: int = 224,
        *,
        overlap: int = 6,
        margin: int = 0,
        faces: str | int = "largest",
        exact: bool = False,
        min_face_size: int = 20,
        device: str = "cpu",
        limits: Limits = Limits(),  # noqa: B008
        backend: Backend = "auto",
    ) -> None:
        if why := lacks(backend):
            raise UsageError(why)
        settings = {
            "target_fps": target_fps,
            "image_size": image_size,
            "margin": margin,
            "sequence_length": sequence_length,
            "overlap": overlap,
            "faces": faces,
            "exact": exact,
        }
        self.spec = check(FaceSpec, settings)
        self.open_video: OpenVideo = Video
        self.min_face_size = min_face_size
        self.device = device
        self.limits = limits
        self.backend = backend

    @classmethod
    def from_spec(
        cls,
        spec: FaceSpec,
        device: str = "cpu",
        limits: Limits | None = None,
        backend: Backend = "auto",
    ) -> "VideoPreprocessor":
        """The preprocessor that makes what a model with this spec was trained on."""
        return cls(**asdict(spec), device=device, limits=limits or Limits(), backend=backend)

    @cached_property
    def _detector(self) -> MTCNN:
        return MTCNN(self.min_face_size, device=self.device, backend=self.backend)

    def opening(self, open_video: OpenVideo) -> Self:
        """The same preprocessor, which opens its videos in another way."""
        other = copy(self)
        other.open_video = open_video
        return other

    def stream(self, path: str | Path) -> "FaceStream":
        """Decode, find faces, link and crop; the faces come one by one, in bounded memory.

        Args:
            path: of the video.

        Raises:
            VideoError: while iterating, where the file is not a video that can be read.
        """
        spec = self.spec
        finder = FaceFinder(self._detector, spec.exact, largest=spec.faces == "largest")
        return FaceStream(Path(path), spec, finder, self.limits, self.open_video)

    def process_video(self, path: str | Path) -> ProcessedVideo:
        """`stream`, in memory. A video without a face has no tracks.

        Raises:
            VideoError: the file is not a video that can be read.
        """
        stream = self.stream(path)
        crops: dict[int, list[FaceCrop]] = {}
        for crop in stream:
            crops.setdefault(crop.track, []).append(crop)
        return ProcessedVideo.of(stream.summary, crops)

    def save_video(self, path: str | Path, out: str | Path) -> ProcessedVideo:
        """`stream`, into the file `out`, atomically; memory does not grow with the video.

        Raises:
            VideoError: the file is not a video that can be read.
            FileError: `out` cannot be written.
        """
        stream = self.stream(path)
        with Writer(out, self.spec) as writer:
            for crop in stream:
                writer.add(crop)
            writer.finish(stream.summary)
        return pt_file.read(out)

    def is_done(self, out: str | Path) -> bool:
        """Whether `out` is a whole file made with these settings."""
        try:
            return pt_file.read(out).spec == self.spec
        except StoreError:
            return False


class FaceStream:
    """The faces of a video as they are found, in order within a track.

    Attributes:
        summary: what else is to be said of the video; set when the iteration has ended.
    """

    summary: Summary

    def __init__(
        self,
        path: Path,
        spec: FaceSpec,
        finder: FaceFinder,
        limits: Limits,
        open_video: OpenVideo = Video,
    ) -> None:
        self._path, self._spec, self._finder, self._limits = path, spec, finder, limits
        self._open = open_video

    def __iter__(self) -> Iterator[FaceCrop]:
        spec = self._spec
        tracker = Tracker(spec.faces, spec.image_size, spec.margin, spec.exact)
        sampled, last = 0, 0.0
        with (
            self._open(self._path, self._limits) as video,
            closing(ahead(timed("decode", video.frames(spec.target_fps)), _FRAMES_AHEAD)) as frames,
        ):
            for sighting in self._finder.find(frames):
                sampled, last = sampled + 1, sighting.frame.time
                with stage("crop", 1):
                    crops = tracker.add(sighting)
                yield from crops
            with stage("crop", 0):
                crops = tracker.finish()
            yield from crops
            self.summary = Summary(
                video=self._path.name,
                spec=spec,
                kept=tuple(tracker.kept),
                sampled=sampled + video.lost,
                duration=max(video.info.duration or 0.0, last),
                warnings=tuple(video.warnings),
                resolution=min(video.info.width, video.info.height),
            )
