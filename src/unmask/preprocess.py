"""A video, or a tree of videos -> `.pt` files of faces."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from unmask import engine, store
from unmask.corpora import TABLE, read_table, write_table
from unmask.corruption import CLEAN, Corruption
from unmask.engine import ahead
from unmask.errors import CorpusError, FileError, StoreError, UnmaskError, VideoError
from unmask.faces import MTCNN, FaceCrop, FaceFinder, Tracker
from unmask.spec import FaceSpec
from unmask.store import ProcessedVideo, Summary, Writer
from unmask.video import Limits, Video, find_videos

_FRAMES_AHEAD = 4  # decoded while the ones before are searched


class VideoPreprocessor:
    """Finds the faces of a video and cuts them into windows.

    Args:
        sequence_length: faces a window.
        target_fps: samples a second.
        image_size: side of a face crop in pixels.
        overlap: faces that successive windows share.
        margin: pixels of the crop, both sides together, around the detector's box.
        people: "largest" face of each frame, "all" people, or the N most prominent.
        exact: find the faces of every sample as MTCNN alone would, in every size, and cut them
            out just so; slower by far (see FaceFinder). The crops are those of the design.
        min_face_size: smallest face looked for, in pixels of the frame.
        device: where the face detector runs.
        limits: what a video may cost before it is refused.
    """

    def __init__(
        self,
        sequence_length: int = 30,
        target_fps: float = 3,
        image_size: int = 224,
        *,
        overlap: int = 6,
        margin: int = 0,
        people: str | int = "largest",
        exact: bool = False,
        min_face_size: int = 20,
        device: str = "cpu",
        limits: Limits = Limits(),  # noqa: B008
    ) -> None:
        self.spec = FaceSpec(
            target_fps, image_size, margin, sequence_length, overlap, people, exact
        )
        self.min_face_size = min_face_size
        self.device = device
        self.limits = limits

    @classmethod
    def from_spec(
        cls, spec: FaceSpec, device: str = "cpu", limits: Limits | None = None
    ) -> "VideoPreprocessor":
        """The preprocessor that makes what a model with this spec was trained on."""
        return cls(**asdict(spec), device=device, limits=limits or Limits())

    @cached_property
    def _detector(self) -> MTCNN:
        return MTCNN(self.min_face_size, device=self.device)

    def stream(self, path: str | Path, corruption: Corruption = CLEAN) -> "FaceStream":
        """Decode, find faces, link and crop; the faces come one by one, in bounded memory.

        Args:
            path: of the video.
            corruption: what is done to it first.

        Raises:
            VideoError: while iterating, where the file is not a video that can be read.
        """
        spec = self.spec
        finder = FaceFinder(self._detector, spec.exact, largest=spec.people == "largest")
        return FaceStream(Path(path), spec, finder, self.limits, corruption)

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
        return store.read(out)

    def is_done(self, out: str | Path) -> bool:
        """Whether `out` is a whole file made with these settings."""
        try:
            return store.read(out).spec == self.spec
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
        corruption: Corruption = CLEAN,
    ) -> None:
        self._path, self._spec, self._finder, self._limits = path, spec, finder, limits
        self._corruption = corruption

    def __iter__(self) -> Iterator[FaceCrop]:
        spec = self._spec
        tracker = Tracker(spec.people, spec.image_size, spec.margin, spec.exact)
        sampled, last = 0, 0.0
        with (
            self._corruption.file(self._path, self._limits) as path,
            Video(path, self._limits) as video,
            closing(
                ahead(self._corruption.frames(video.frames(spec.target_fps)), _FRAMES_AHEAD)
            ) as frames,
        ):
            for sighting in self._finder.find(frames):
                sampled, last = sampled + 1, sighting.frame.time
                yield from tracker.add(sighting)
            yield from tracker.finish()
            self.summary = Summary(
                video=self._path.name,
                spec=spec,
                kept=tuple(tracker.kept),
                sampled=sampled + video.lost,
                duration=max(video.info.duration or 0.0, last),
                warnings=tuple(video.warnings),
                resolution=min(video.info.width, video.info.height),
            )


@dataclass(frozen=True)
class TreeReport:
    """What became of a tree of videos.

    Attributes:
        done: `.pt` files written now.
        skipped: `.pt` files that stood already, made with the same settings.
        faceless: videos in whose `.pt` there is no face.
        failed: videos that could not be read, with the cause.
    """

    done: list[Path]
    skipped: list[Path]
    faceless: list[Path]
    failed: list[UnmaskError]


def preprocess_tree(
    source: str | Path,
    target: str | Path,
    preprocessor: VideoPreprocessor,
    workers: int = 1,
    on_progress: Callable[[int, int], None] = lambda finished, total: None,
) -> TreeReport:
    """Turn a tree of videos into the same tree of `.pt` files.

    What stands already and was made with the same settings is skipped, so an interrupted run
    goes on where it was. A broken video is reported and does not stop the others. A table of
    videos in `source` (see unmask.corpora) is carried over.

    Args:
        source: folder of videos, at any depth.
        target: folder for the `.pt` files.
        preprocessor: how.
        workers: processes.
        on_progress: called with (finished, total) after each video.

    Raises:
        CorpusError: `source` is no folder, or holds no videos.
    """
    source, target = Path(source), Path(target)
    if not source.is_dir():
        raise CorpusError(source, "is not a folder")
    videos = find_videos(source)
    if not videos:
        raise CorpusError(source, "holds no videos")
    outputs = _outputs(source, target, videos)
    if (source / TABLE).exists():
        records = read_table(source / TABLE)
        kept = [replace(r, path=outputs[r.path]) for r in records if r.path in outputs]
        write_table(target / TABLE, kept)
    todo = [(video, out) for video, out in outputs.items() if not preprocessor.is_done(out)]
    pending = {out for _, out in todo}
    report = TreeReport([], [out for out in outputs.values() if out not in pending], [], [])
    on_progress(len(report.skipped), len(outputs))
    for finished, outcome in enumerate(
        engine.run(partial(_save, preprocessor), todo, workers), len(report.skipped) + 1
    ):
        video, out = outcome.item
        if outcome.error is None:
            report.done.append(out)
        elif isinstance(outcome.error, FileError):
            report.failed.append(outcome.error)
        else:
            report.failed.append(VideoError(video, str(outcome.error)))
        if outcome.result == 0:
            report.faceless.append(video)
        on_progress(finished, len(outputs))
    return report


def _outputs(source: Path, target: Path, videos: list[Path]) -> dict[Path, Path]:
    """video -> its `.pt`; where a.mp4 and a.mkv stand side by side, the suffix stays in."""
    stems = Counter(video.with_suffix("") for video in videos)
    return {
        video: target
        / video.relative_to(source).with_suffix(
            store.SUFFIX if stems[video.with_suffix("")] == 1 else video.suffix + store.SUFFIX
        )
        for video in videos
    }


def _save(preprocessor: VideoPreprocessor, job: tuple[Path, Path]) -> int:
    """Number of faces written; in a worker the faces themselves stay there."""
    return sum(map(len, preprocessor.save_video(*job).tracks))
