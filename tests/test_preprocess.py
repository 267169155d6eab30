import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeClip, Unmask, filmed
from numpy.typing import NDArray

from unmask.corpora import read_table
from unmask.data import pt_file
from unmask.data.preprocessor import VideoPreprocessor
from unmask.data.pt_file import ProcessedVideo
from unmask.data.tree import preprocess_tree
from unmask.detection.detector import Detector
from unmask.engine import Engine
from unmask.errors import CorpusError, InternalError, UsageError
from unmask.faces import MTCNN
from unmask.models import Bundle
from unmask.video.encoder import encode


def test_a_clip_becomes_faces_with_real_times(clip: Path, preprocessor: VideoPreprocessor) -> None:
    video = preprocessor.process_video(clip)
    (track,) = video.tracks
    assert video.sampled == len(track) == 12
    # 10 frames a second, sampled at k / 4: what is on display
    assert track.times == pytest.approx([int(k / 4 * 10) / 10 for k in range(12)], abs=1e-3)
    assert track.crops.shape == (12, 32, 32, 3)
    assert video.coverage == 1
    assert video.duration == pytest.approx(3, abs=0.11)


def test_the_documents_defaults(tmp_path: Path, make_clip: MakeClip) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=15)
    VideoPreprocessor().save_video(clip, tmp_path / "clip.pt")
    content = torch.load(tmp_path / "clip.pt", weights_only=True)
    assert content["windows"].shape == (2, 30, 3, 224, 224)
    assert content["num_windows"] == 2
    spans = [(round(a * 3), round(b * 3)) for a, b in content["timestamps"]]
    assert spans == [(0, 29), (15, 44)]


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_another_backend_finds_the_same_faces(
    clip: Path, tmp_path: Path, unmask: Unmask, backend: str
) -> None:
    out = tmp_path / "clip.pt"
    result = unmask("preprocess", clip, out, "--backend", backend, "--faces", "largest")
    assert result.returncode == 0, result.stderr
    (ours,), (theirs,) = VideoPreprocessor().process_video(clip).tracks, pt_file.read(out).tracks
    assert theirs.times.tolist() == ours.times.tolist()
    assert theirs.boxes == pytest.approx(ours.boxes, abs=0.01)
    assert theirs.landmarks == pytest.approx(ours.landmarks, abs=0.01)


def test_frames_without_a_face_are_skipped_and_stay_gaps(
    tmp_path: Path,
    photo: NDArray[np.uint8],
    preprocessor: VideoPreprocessor,
) -> None:
    face = np.ascontiguousarray(photo[0:240, 100:340])
    empty = np.full_like(face, 90)
    frames = [face] * 10 + [empty] * 10 + [face] * 10
    encode(tmp_path / "gap.mp4", iter(frames), Fraction(10), crf=18)
    video = preprocessor.process_video(tmp_path / "gap.mp4")
    (track,) = video.tracks
    assert video.sampled == 12
    assert len(track) == 8
    assert np.diff(track.times).max() == pytest.approx(1.3, abs=0.11)
    assert video.coverage == pytest.approx(8 / 12)


def test_no_face_is_no_error(tmp_path: Path, preprocessor: VideoPreprocessor) -> None:
    encode(tmp_path / "x.mp4", iter([np.full((64, 64, 3), 90, np.uint8)] * 20), Fraction(10), 18)
    video = preprocessor.save_video(tmp_path / "x.mp4", tmp_path / "x.pt")
    assert video.tracks == ()
    assert video.coverage == 0
    content = torch.load(tmp_path / "x.pt", weights_only=True)
    assert content["num_windows"] == len(content["windows"]) == 0
    assert pt_file.read(tmp_path / "x.pt").sampled == 8


@pytest.fixture
def tree(tmp_path: Path, clip: Path) -> Path:
    root = tmp_path / "split"
    for name in ("train/real/a.mp4", "train/real/b.mp4", "test/fake/a.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, root / name)
    return root


@pytest.mark.parametrize("workers", [1, 2])
def test_a_tree_becomes_the_same_tree(
    tree: Path, tmp_path: Path, preprocessor: VideoPreprocessor, workers: int
) -> None:
    (tree / "test/fake/broken.mp4").write_text("not a video")
    (tree / "test/fake/gone.mp4").symlink_to(tree / "nowhere.mp4")
    progress: list[tuple[int, int, int]] = []
    report = preprocess_tree(
        tree, tmp_path / "out", preprocessor, Engine(workers), lambda *p: progress.append(p)
    )
    written = sorted(str(Path(p).relative_to(tmp_path / "out")) for p in report.done)
    assert written == ["test/fake/a.pt", "train/real/a.pt", "train/real/b.pt"]
    assert sorted(Path(str(e).split(":")[0]).name for e in report.failed) == [
        "broken.mp4", "gone.mp4",
    ]  # fmt: skip
    assert [(done, total) for done, total, _ in progress] == [(k, 5) for k in range(6)]
    assert progress[-1] == (5, 5, 2)


def test_what_is_done_is_not_done_again(
    tree: Path, tmp_path: Path, preprocessor: VideoPreprocessor
) -> None:
    out = tmp_path / "out"
    first = preprocess_tree(tree, out, preprocessor)
    times = {p: Path(p).stat().st_mtime_ns for p in first.done}
    times.pop(out / "test/fake/a.pt")
    (out / "test/fake/a.pt").write_bytes(b"half a file")
    again = preprocess_tree(tree, out, preprocessor)
    assert again.done == [out / "test/fake/a.pt"]
    assert {p: Path(p).stat().st_mtime_ns for p in again.skipped} == times
    other = VideoPreprocessor(8, 4, 48, overlap=2, min_face_size=40)
    assert len(preprocess_tree(tree, out, other).done) == 3


def test_two_videos_of_one_name_get_two_files(
    tree: Path, tmp_path: Path, preprocessor: VideoPreprocessor
) -> None:
    shutil.copy(tree / "train/real/a.mp4", tree / "train/real/a.mov")
    report = preprocess_tree(tree / "train", tmp_path / "out", preprocessor)
    assert sorted(Path(p).name for p in report.done) == ["a.mov.pt", "a.mp4.pt", "b.pt"]


def test_the_table_goes_along(processed: Path) -> None:
    rows = read_table(processed / "videos.jsonl")
    assert len(rows) == 10
    assert all(row.path.is_file() and row.path.suffix == ".pt" for row in rows)
    assert {row.segments for row in rows if row.label} == {((1.0, 2.0),)}


def test_nothing_but_the_faces_tells_a_fake_from_a_real(
    clip: Path, tmp_path: Path, preprocessor: VideoPreprocessor
) -> None:
    """The same pixels as a real and as a fake leave files that differ in nothing."""
    for category in ("Celeb-real", "Celeb-synthesis"):
        (tmp_path / "tree" / "train" / category).mkdir(parents=True)
        shutil.copy(clip, tmp_path / "tree" / "train" / category / "a.mp4")
    preprocess_tree(tmp_path / "tree", tmp_path / "out", preprocessor, Engine(2))
    real, fake = sorted((tmp_path / "out").rglob("*.pt"))
    assert real.parent.name == "Celeb-real"
    assert real.read_bytes() == fake.read_bytes()


class Buggy(VideoPreprocessor):
    """Breaks at one video, in a way that nobody foresaw."""

    def save_video(self, path: str | Path, out: str | Path) -> ProcessedVideo:
        if Path(path).name == "broken.mp4":
            raise RuntimeError("kernel size can't be greater than input size")
        return super().save_video(path, out)


def test_a_bug_at_one_video_does_not_end_the_run(tmp_path: Path, make_clip: MakeClip) -> None:
    for name in ("a", "broken", "c"):
        make_clip(tmp_path / "tree" / f"{name}.mp4", seconds=1)
    buggy = Buggy(8, 4, 32, overlap=2, min_face_size=40)
    report = preprocess_tree(tmp_path / "tree", tmp_path / "out", buggy)
    assert report.done == [tmp_path / "out" / "a.pt", tmp_path / "out" / "c.pt"]
    (error,) = report.failed
    assert isinstance(error, InternalError)
    assert error.path == tmp_path / "tree" / "broken.mp4"
    assert "RuntimeError: kernel size can't" in str(error)


def test_a_folder_without_videos_is_named(tmp_path: Path, preprocessor: VideoPreprocessor) -> None:
    with pytest.raises(CorpusError, match="holds no videos"):
        preprocess_tree(tmp_path, tmp_path / "out", preprocessor)
    with pytest.raises(CorpusError, match="is not a folder"):
        preprocess_tree(tmp_path / "none", tmp_path / "out", preprocessor)


def test_exact_and_followed_faces_agree(clip: Path, tmp_path: Path) -> None:
    made = {
        exact: VideoPreprocessor(8, 10, 64, overlap=2, exact=exact).process_video(clip).tracks[0]
        for exact in (False, True)
    }
    assert np.array_equal(made[False].times, made[True].times)
    a, b = made[False].boxes, made[True].boxes
    side = (b[:, 2:] - b[:, :2]).mean()
    assert 0 < np.abs(a - b).max() < 0.12 * side
    assert np.abs(np.diff(a, 2, axis=0)).mean() < 0.7 * np.abs(np.diff(b, 2, axis=0)).mean()


@pytest.mark.parametrize("suffix", [".pt", ".mp4"])
def test_what_damage_took_lowers_the_coverage(
    tmp_path: Path, photo: NDArray[np.uint8], bundle: Bundle, suffix: str
) -> None:
    path = tmp_path / "clip.mkv"
    encode(path, filmed(photo, 150), Fraction(10), crf=18)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    preprocessor = VideoPreprocessor(8, 4, 32, overlap=2)
    if suffix == ".pt":
        path = tmp_path / "clip.pt"
        video = preprocessor.save_video(tmp_path / "clip.mkv", path)
        assert video.coverage < 0.8
    prediction = Detector(bundle).predict(path)
    assert 0.2 < prediction.coverage < 0.8
    assert "lost to damage" in (prediction.reason or "")
    assert "cut short" in (prediction.reason or "")


def test_landmarks_lie_where_the_face_is_in_the_crop(tmp_path: Path, clip: Path) -> None:
    """Against a search of the crop itself, through the file."""
    VideoPreprocessor(image_size=160, margin=56).save_video(clip, tmp_path / "clip.pt")
    (track,) = pt_file.read(tmp_path / "clip.pt").tracks
    assert track.landmarks is not None
    for crop, landmarks in zip(track.crops, track.landmarks, strict=True):
        (face, *_) = MTCNN().detect([np.ascontiguousarray(crop)])[0]
        apart = np.linalg.norm(face.landmarks - landmarks, axis=1)
        assert apart.max() < 0.12 * np.linalg.norm(landmarks[1] - landmarks[0])


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"image_size": 32, "margin": 32}, "margin of 32 pixels must be less than the 32"),
        ({"margin": -1}, "margin: should be greater"),
        ({"sequence_length": 8, "overlap": 8}, "windows of 8 faces cannot overlap by 8"),
        ({"image_size": 10**6}, "image_size: should be less"),
        ({"target_fps": 0}, "target_fps: should be greater"),
        ({"target_fps": float("nan")}, "target_fps: "),
        ({"faces": 0}, "faces"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], cause: str) -> None:
    with pytest.raises(UsageError, match=cause):
        VideoPreprocessor(**settings)
