from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Stored, random_video

from unmask import DeepfakeWindowDataset, create_dataloaders
from unmask.corpora import VideoRecord, write_table
from unmask.data import pt_file
from unmask.data.choice import choose_faces
from unmask.data.pt_file import ProcessedVideo
from unmask.data.windows import Window
from unmask.errors import CorpusError, StoreError, UsageError
from unmask.face_spec import FaceSpec
from unmask.faces import FaceTrack
from unmask.synth import Forged, Forger
from unmask.training.degrade import Degradation
from unmask.training.loader import TrainingWindows
from unmask.training.sampler import Draw


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """18 faces make windows at 0, 6, 10; 5 faces one short window; none none."""
    for number, (category, counts) in enumerate(
        [
            ("Celeb-real", [18]),
            ("YouTube-real", [5]),
            ("Celeb-synthesis", [18]),
            ("Celeb-synthesis", []),
            ("notes", [18]),
        ]
    ):
        path = tmp_path / "train" / category / f"{number}.pt"
        pt_file.write(path, random_video(counts, seed=number))
    return tmp_path


def test_the_index_is_flat_and_labelled(tree: Path, stored: Stored) -> None:
    dataset = DeepfakeWindowDataset(stored(tree), "train")
    assert len(dataset) == 6  # short windows are left out
    assert dataset.labels == [0, 0, 0, 1, 1, 1]
    real = random_video([18], seed=0).tracks[0].crops
    for index, start in enumerate((0, 6, 10)):
        window, label = dataset[index]
        assert window.shape == (8, 3, 32, 32)
        assert window.dtype == torch.uint8
        assert label.item() == 0.0
        assert (window.permute(0, 2, 3, 1).numpy() == real[start : start + 8]).all()


def test_short_windows_are_padded_on_request(tree: Path, stored: Stored) -> None:
    dataset = DeepfakeWindowDataset(stored(tree), "train", short="pad")
    assert len(dataset) == 7
    (short,) = (s for s in map(dataset.sample, range(7)) if not s.mask.all())
    assert short.mask.tolist() == [True] * 5 + [False] * 3
    assert short.faces[5:].eq(0).all()
    assert short.clip_label == 0


def test_frames_are_labelled_by_the_known_segments(processed: Path, stored: Stored) -> None:
    dataset = DeepfakeWindowDataset(stored(processed), "test")
    samples = [dataset.sample(k) for k in range(len(dataset))]
    assert all(not s.frame_labels.any() for s in samples if s.clip_label == 0)
    fakes = [s.frame_labels.tolist() for s in samples if s.clip_label == 1]
    # 16 faces at 4 a second in windows at 0, 6 and 8; manipulated from 1 to 2 seconds
    assert fakes[0] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert fakes[1] == [1, 1, 0, 0, 0, 0, 0, 0]
    assert fakes[2] == [0] * 8


def test_a_fake_without_known_segments_is_fake_throughout(tree: Path, stored: Stored) -> None:
    assert DeepfakeWindowDataset(stored(tree), "train").sample(3).frame_labels.all()


def test_loaders_batch_and_shuffle(tree: Path, stored: Stored) -> None:
    loaders = create_dataloaders(stored(tree), batch_size=4, num_workers=2)
    assert loaders.train is not None
    assert loaders.val is loaders.test is None
    batches = list(loaders.train)
    assert [tuple(x.shape) for x, _ in batches] == [(4, 8, 3, 32, 32), (2, 8, 3, 32, 32)]
    assert sorted(torch.cat([y for _, y in batches]).tolist()) == [0, 0, 0, 1, 1, 1]
    torch.manual_seed(0)
    orders = {tuple(torch.cat([y for _, y in loaders.train]).tolist()) for _ in range(10)}
    assert len(orders) > 1


def test_a_broken_file_is_left_out_and_told(tree: Path) -> None:
    (tree / "train" / "Celeb-real" / "bad.pt").write_bytes(b"nonsense")
    dataset = DeepfakeWindowDataset(tree, "train")
    assert len(dataset) == 6
    assert [error.path.name for error in dataset.broken] == ["bad.pt"]


def test_bad_trees_are_named(tree: Path) -> None:
    with pytest.raises(CorpusError, match="no such folder"):
        DeepfakeWindowDataset(tree, "val")
    with pytest.raises(UsageError):
        DeepfakeWindowDataset(tree, "train", short="stretch")
    other = FaceSpec(5, 32, 0, 8, 2)
    pt_file.write(tree / "train" / "Celeb-real" / "z.pt", random_video([9], spec=other))
    with pytest.raises(CorpusError, match="target_fps"):
        DeepfakeWindowDataset(tree, "train")
    pt_file.write(tree / "val" / "Celeb-real" / "a.pt", random_video([3]))
    with pytest.raises(CorpusError, match="no window"):
        DeepfakeWindowDataset(tree, "val")
    (tree / "test").mkdir()
    with pytest.raises(CorpusError, match=r"no \.pt file"):
        DeepfakeWindowDataset(tree, "test")


@pytest.mark.parametrize("augment", ["flip", "strong"])
def test_every_real_window_is_met_by_a_fake_of_it(
    processed: Path, stored: Stored, augment: str
) -> None:
    dataset = DeepfakeWindowDataset(stored(processed), "train")
    forger = Forger(["self-blending", "face swap"])
    windows = TrainingWindows(dataset, augment, 48 if augment == "strong" else 0, forger=forger)
    reals = [k for k, label in enumerate(dataset.labels) if not label]
    assert len(windows) == len(windows.labels) == len(reals)
    assert windows.recordings == [dataset.recordings[k] for k in reals]
    changed = 0
    for index in range(len(windows)):
        first, again, later = (windows[Draw(index, (0, epoch, index))] for epoch in (1, 1, 2))
        assert isinstance(first, list)
        assert isinstance(again, list)
        assert isinstance(later, list)
        real, fake = first
        assert (real.clip_label.item(), fake.clip_label.item()) == (0, 1)
        assert torch.equal(fake.faces, again[1].faces)
        assert not torch.equal(fake.faces, later[1].faces)
        size = 48 if augment == "strong" else dataset.spec.image_size
        assert fake.faces.shape[-2:] == (size, size)
        assert not real.cells.any()
        assert not real.frame_labels.any()
        assert torch.equal(fake.cells.flatten(1).any(dim=1), fake.frame_labels > 0)
        # Augmented alike: the frames that are not altered are the same.
        differs = (fake.faces != real.faces).flatten(1).any(dim=1)
        if augment == "flip":  # a codec has a memory
            assert not differs[fake.frame_labels == 0].any()
        changed += int(differs.any())
    assert changed >= len(reals) - 1


def test_the_map_of_a_fake_shows_where_it_differs(processed: Path) -> None:
    """Cells move with the picture, cropped and mirrored as it is."""
    dataset = DeepfakeWindowDataset(processed, "train")
    index = dataset.labels.index(0)
    size = dataset.spec.image_size

    def forge(track: FaceTrack, window: Window) -> Forged:
        real = np.full((window.stop - window.start, 3, size, size), 100, np.uint8)
        fake, masks = real.copy(), np.zeros(real[:, 0].shape, np.uint8)
        fake[..., : size // 2, : size // 4] = 200
        masks[:, : size // 2, : size // 4] = 255
        return Forged(real, fake, masks)

    for seed in range(8):
        change = replace(Degradation.draw(np.random.default_rng(seed), 64, size), steps=())
        real, fake = dataset.pair(index, change, forge)
        lighter = (fake.faces.float() - real.faces)[:, 0] / 100
        seen = F.adaptive_avg_pool2d(lighter, fake.cells.shape[-1])
        assert torch.allclose(seen, fake.cells, atol=0.1)


def test_true_fakes_stand_beside_their_recording_or_a_real_one(
    tmp_path: Path, stored: Stored
) -> None:
    """One fake of recording a; one of nobody's, which may be borrowed; one without its window."""
    records = []
    for seed, (name, label, source, frames) in enumerate(
        [("a", 0, "a", 8), ("b", 0, "b", 8), ("x", 1, "a", 8), ("y", 1, None, 8), ("z", 1, "b", 40)]
    ):
        category = ("real", "fake")[label]
        path = tmp_path / "train" / category / f"{name}.pt"
        pt_file.write(path, random_video([frames], seed))
        records.append(VideoRecord(path, label, category, (), source, name if label else None))
    write_table(tmp_path / "videos.jsonl", records)
    dataset = DeepfakeWindowDataset(stored(tmp_path), "train")
    assert dataset.labels == [1] * 9 + [0] * 2
    reals = {"a": dataset.sample(9), "b": dataset.sample(10)}
    windows = TrainingWindows(dataset, "none", forger=Forger(["self-blending"]), true_fakes=1.0)
    assert len(windows) == 2
    fakes = {s: dataset.sample(k) for k, s in enumerate(dataset.methods) if s}
    kinds = set()
    for epoch in range(60):
        got = windows[Draw(0, (0, epoch, 0))]
        assert isinstance(got, list)
        real, fake = got
        assert (real.clip_label.item(), fake.clip_label.item()) == (0, 1)
        assert not real.cells.any()
        paired = bool(fake.cells.isnan().all())
        kinds.add(paired)
        if torch.equal(fake.faces, fakes["x"].faces):
            assert paired
            assert torch.equal(real.faces, reals["a"].faces)
        assert paired or (fake.cells.any() and not fake.cells.isnan().any())
    assert kinds == {True, False}


def test_a_swap_takes_the_face_of_another_person(tmp_path: Path, stored: Stored) -> None:
    """Two recordings of Ann; one of nobody known, whose footage is hers; and a stranger's."""
    folder, records = tmp_path / "train" / "real", []
    for seed, (name, people, footage) in enumerate(
        [("a", ("ann",), None), ("b", ("ann",), "f"), ("c", (), "f"), ("d", (), None)]
    ):
        path = folder / f"{name}.pt"
        pt_file.write(path, random_video([8], seed))
        records.append(VideoRecord(path, 0, "real", people, name, footage=footage))
    write_table(tmp_path / "videos.jsonl", records)
    pt_file.write(tmp_path / "train" / "fake" / "e.pt", random_video([8], 9))
    dataset = DeepfakeWindowDataset(stored(tmp_path), "train")
    assert dataset.labels == [1, 0, 0, 0, 0]
    assert dataset.people == [-1, 0, 0, 0, 1]
    taken = []

    class Recorder(Forger):
        def forge(
            self, track: FaceTrack, window: Window, other: FaceTrack | None, rng: Any
        ) -> Forged:
            assert other is not None
            taken.append((track.crops[0, 0, 0].tolist(), other.crops[0, 0, 0].tolist()))
            faces = track.crops[window.start : window.stop].transpose(0, 3, 1, 2).copy()
            return Forged(faces, faces, np.full_like(faces[:, 0], 255))

    windows = TrainingWindows(dataset, "none", forger=Recorder(["face swap"]))
    for index in range(4):
        for epoch in range(12):
            assert isinstance(windows[Draw(index, (0, epoch, index))], list)
    shown = {str(dataset.track(k)[0].crops[0, 0, 0].tolist()): k for k in range(1, 5)}
    pairs = {(shown[str(own)], shown[str(other)]) for own, other in taken}
    assert pairs == {(1, 4), (2, 4), (3, 4), (4, 1), (4, 2), (4, 3)}


def crowd(path: Path) -> ProcessedVideo:
    """Two people, of whom the second is the larger while both are seen."""
    one, two = random_video([12, 6], seed=3).tracks
    boxes = np.tile(np.array([0, 0, 10, 10], np.float32), (12, 1))
    tracks = (replace(one, boxes=boxes), replace(two, times=one.times[3:9], boxes=2 * boxes[:6]))
    video = random_video([12, 6])
    video = replace(video, tracks=tracks, spec=replace(video.spec, faces="all"))
    pt_file.write(path, video)
    return pt_file.read(path)


def test_the_largest_face_of_each_frame_out_of_all(tmp_path: Path) -> None:
    video = crowd(tmp_path / "x.pt")
    (track,) = choose_faces(video, "largest", "x.pt").tracks
    assert track.times.tolist() == video.tracks[0].times.tolist()
    sides = track.boxes[:, 2].tolist()
    assert sides == [10] * 3 + [20] * 6 + [10] * 3
    assert np.array_equal(track.crops[3:9], video.tracks[1].crops)
    assert np.array_equal(track.crops[:3], video.tracks[0].crops[:3])
    assert choose_faces(video, 1, "x.pt").tracks == video.tracks[:1]
    assert choose_faces(video, "all", "x.pt") == video


def test_faces_that_were_not_kept_cannot_be_chosen(tmp_path: Path) -> None:
    kept = choose_faces(crowd(tmp_path / "x.pt"), "largest", "x.pt")
    kept = replace(kept, spec=replace(kept.spec, faces="largest"))
    said = "holds the faces of the largest face of each frame, not of all people"
    with pytest.raises(StoreError, match=said):
        choose_faces(kept, "all", "x.pt", required=True)
    assert said in choose_faces(kept, "all", "x.pt").warnings


@pytest.mark.parametrize(("faces", "windows"), [(None, 3), ("all", 3), ("largest", 2), (1, 2)])
def test_a_dataset_holds_the_faces_that_are_asked_for(
    tmp_path: Path, stored: Stored, faces: str | int | None, windows: int
) -> None:
    for category in ("real", "fake"):
        crowd(tmp_path / "train" / category / "x.pt")
    tree = stored(tmp_path)
    for _ in range(2):  # read, and by the manifest
        dataset = DeepfakeWindowDataset(tree, "train", "pad", faces)
        assert len(dataset) == 2 * windows
        for index in range(len(dataset)):
            dataset.sample(index)
