"""The same footage under other names, found by its faces."""

import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Image, MakeClip, random_video

from unmask.corpora import VideoRecord, drop_leaks, find_leaks, read_corpus, split_records
from unmask.data import fingerprints, pt_file
from unmask.data.fingerprints import find_footage, fingerprint
from unmask.data.pt_file import ProcessedVideo
from unmask.engine import Engine
from unmask.errors import InternalError
from unmask.faces import FaceTrack, duplicates
from unmask.faces.duplicates import Fingerprints, describe, same_footage
from unmask.video.corruption import Corruption
from unmask.video.reader import Frame


def of_faces(crops: list[Image]) -> ProcessedVideo:
    video = random_video([len(crops)])
    small = np.stack(crops)
    (track,) = video.tracks
    spec = replace(video.spec, image_size=small.shape[1])
    return replace(video, spec=spec, tracks=(FaceTrack(0, track.times, track.boxes, small),))


@pytest.fixture
def tree(tmp_path: Path, photo: Image) -> Path:
    """A face in train, the same face badly encoded in test, and others that are nothing alike."""
    face = np.ascontiguousarray(photo[20:180, 140:300])
    (worse,) = Corruption("jpeg", 5).frames(iter([Frame(0, 0.0, face)]))
    upright = np.ascontiguousarray(face[::-1])
    pt_file.write(tmp_path / "train/real/a.pt", of_faces([face] * 3))
    pt_file.write(tmp_path / "test/fake/b.pt", of_faces([upright, worse.rgb]))
    pt_file.write(tmp_path / "train/fake/c.pt", random_video([5], seed=1))
    pt_file.write(tmp_path / "test/real/d.pt", random_video([5], seed=2))
    pt_file.write(tmp_path / "val/real/e.pt", random_video([], seed=2))
    return tmp_path


def test_the_same_face_in_two_splits_is_a_leak(tree: Path) -> None:
    records, failed = find_footage(read_corpus(tree))
    assert failed == []
    (leak,) = (leak for leak in find_leaks(records) if leak.kind == "footage")
    assert leak.videos == {"train": 1, "test": 1}
    left = {record.path.stem for record in drop_leaks(records)}
    assert left == {"b", "c", "d", "e"}
    by_source = {r.path.stem: r.split for r in split_records(records, "source")}
    assert by_source["a"] == by_source["b"]


def test_one_that_cannot_be_read_is_said_and_the_others_compared(tree: Path) -> None:
    (tree / "train/fake/c.pt").write_bytes(b"no tensor")
    records, failed = find_footage(read_corpus(tree))
    assert [outcome.item.stem for outcome in failed] == ["c"]
    assert [r.path.stem for r in records if r.footage] == ["a", "b"]


def test_a_bug_at_one_file_is_said_and_the_others_compared(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def buggy(crops: list[Image]) -> Fingerprints:
        if len(crops) == 5:  # c and d
            raise ZeroDivisionError
        return describe(crops)

    monkeypatch.setattr(fingerprints, "describe", buggy)
    records, failed = find_footage(read_corpus(tree))
    assert sorted(outcome.item.stem for outcome in failed) == ["c", "d"]
    assert all(isinstance(outcome.error, InternalError) for outcome in failed)
    assert [r.path.stem for r in records if r.footage] == ["a", "b"]


def test_videos_are_searched_for_faces(tmp_path: Path, make_clip: MakeClip) -> None:
    clip = make_clip(tmp_path / "a.mp4")
    shutil.copy(clip, tmp_path / "b.mp4")
    records = [VideoRecord(tmp_path / f"{name}.mp4", 0, "real") for name in "ab"]
    found, _ = find_footage(records, Engine(2))
    assert found[0].footage == found[1].footage == "footage of a"
    rows = fingerprint(clip)
    assert rows.shape == (3, 256)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)


def test_groups_are_the_connected_components() -> None:
    """Against a search through the graph, on random sparse resemblances."""
    rng = np.random.default_rng(0)
    basis = np.eye(64, 256, dtype=np.float32)
    kinds = [rng.choice(64, rng.integers(0, 3), replace=False) for _ in range(40)]
    groups = same_footage([basis[kind] for kind in kinds])
    for a in range(40):
        reached, rim = {a}, [a]
        while rim:
            k = rim.pop()
            near = {b for b in range(40) if set(kinds[k]) & set(kinds[b])} - reached
            reached |= near
            rim += near
        assert {b for b in range(40) if groups[b] == groups[a]} == reached
        assert groups[a] == min(reached)


@pytest.mark.parametrize("block", [1, 7, 64, 10_000])
def test_blocks_find_what_a_comparison_of_all_pairs_finds(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few dimensions, so that chance makes near-duplicates, and chains of them."""
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    rng = np.random.default_rng(1)
    videos = [rng.normal(size=(rng.integers(0, 6), 5)).astype(np.float32) for _ in range(150)]
    videos = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in videos]
    near = np.array([[bool((a @ b.T > 0.95).any()) for b in videos] for a in videos])
    near |= np.eye(len(near), dtype=bool)
    for _ in range(8):  # 2^8 steps: whoever can be reached
        near = near @ near
    expected = near.argmax(axis=1).tolist()
    assert same_footage(videos) == expected
    assert 20 < len(set(expected)) < 140


@pytest.mark.parametrize("alike", [False, True])
def test_memory_does_not_grow_with_the_pairs(alike: bool) -> None:
    """All pairs of 6,000 faces are 36 million: 144 MB of products."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(6_000, 256)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    videos = np.split(rows[:1].repeat(6_000, 0) if alike else rows, 750)
    tracemalloc.start()
    try:
        groups = same_footage(videos)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert groups == ([0] * 750 if alike else list(range(750)))
    assert peak - rows.nbytes < 80e6
