"""A video, or a tree of videos -> `.pt` files of faces."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from unmask import engine, store
from unmask.corpora import TABLE, read_table, write_table
from unmask.errors import CorpusError, FileError, StoreError, UnmaskError, VideoError
from unmask.faces import MTCNN, Tracker
from unmask.spec import FaceSpec
from unmask.store import ProcessedVideo
from unmask.video import Frame, Video, find_videos

_FRAMES_AT_ONCE = 8  # detected together


class VideoPreprocessor:
    """Finds the faces of a video and cuts them into windows.

    Args:
        sequence_length: faces a window.
        target_fps: samples a second.
        image_size: side of a face crop in pixels.
        overlap: faces that successive windows share.
        margin: pixels of the crop, both sides together, around the detector's box.
        people: "largest" face of each frame, "all" people, or the N most prominent.
        min_face_size: smallest face looked for, in pixels of the frame.
        device: where the face detector runs.
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
        min_face_size: int = 20,
        device: str = "cpu",
    ) -> None:
        self.spec = FaceSpec(target_fps, image_size, margin, sequence_length, overlap, people)
        self.min_face_size = min_face_size
        self.device = device

    @classmethod
    def from_spec(cls, spec: FaceSpec, device: str = "cpu") -> "VideoPreprocessor":
        """The preprocessor that makes what a model with this spec was trained on."""
        return cls(**asdict(spec), device=device)

    @cached_property
    def _detector(self) -> MTCNN:
        return MTCNN(self.min_face_size, device=self.device)

    def process_video(self, path: str | Path) -> ProcessedVideo:
        """Decode, find faces, link and crop. A video without a face has no tracks.

        Raises:
            VideoError: the file is not a video that can be read.
        """
        path = Path(path)
        tracker = Tracker(self.spec.people, self.spec.image_size, self.spec.margin)
        sampled, last = 0, 0.0
        with Video(path) as video:
            for frames in _batches(video.frames(self.spec.target_fps)):
                found = self._detector.detect([frame.rgb for frame in frames])
                for frame, faces in zip(frames, found, strict=True):
                    tracker.add(frame, faces)
                sampled += len(frames)
                last = frames[-1].time
            warnings = tuple(video.warnings)
        duration = max(video.info.duration or 0.0, last)
        tracks = tuple(tracker.finish())
        return ProcessedVideo(path.name, tracks, sampled, self.spec, duration, warnings)

    def save_video(self, path: str | Path, out: str | Path) -> ProcessedVideo:
        """`process_video`, written to the file `out`, atomically."""
        processed = self.process_video(path)
        store.write(out, processed)
        return processed

    def is_done(self, out: str | Path) -> bool:
        """Whether `out` is a whole file made with these settings."""
        try:
            return store.read(out).spec == self.spec
        except StoreError:
            return False


def _batches(frames: Iterator[Frame]) -> Iterator[list[Frame]]:
    """Runs of frames of one size."""
    pending: list[Frame] = []
    for frame in frames:
        full = len(pending) == _FRAMES_AT_ONCE
        if pending and (full or frame.rgb.shape != pending[0].rgb.shape):
            yield pending
            pending = []
        pending.append(frame)
    if pending:
        yield pending


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
