"""The manifest beside a preprocessed tree: a cache that must never be believed wrongly."""

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import random_video

from unmask.data import pt_file
from unmask.data.entry import Entry
from unmask.data.manifest import MANIFEST, read_entries
from unmask.errors import StoreError
from unmask.face_spec import FaceSpec
from unmask.training.dataset import DeepfakeWindowDataset


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for label, counts in (("real", [20, 3]), ("fake", [9])):
        pt_file.write(tmp_path / "train" / label / "a.pt", random_video(counts))
    return tmp_path


def paths(tree: Path) -> list[Path]:
    return sorted(tree.rglob("*.pt"))


def test_it_knows_what_the_files_hold(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, real = paths(tree)
    spec = FaceSpec(4, 32, 0, 8, 2)
    expected = {fake: Entry(spec, (9,), 9), real: Entry(spec, (20, 3), 20)}
    assert read_entries(tree, paths(tree)) == expected
    monkeypatch.setattr(pt_file, "read", lambda path: pytest.fail(f"{path} was opened"))
    assert read_entries(tree, paths(tree)) == expected
    assert list(read_entries(tree, [real])) == [real]


def test_windows_are_the_same_with_and_without_it(tree: Path) -> None:
    first, again = (DeepfakeWindowDataset(tree, "train", "pad") for _ in range(2))
    assert (tree / MANIFEST).exists()
    assert len(first) == len(again) == 2 + 3 + 1  # of 9, of 20 and of 3 faces
    assert first.labels == again.labels
    assert first.recordings == again.recordings


def test_a_file_that_changed_is_read_again(tree: Path) -> None:
    fake, _ = paths(tree)
    read_entries(tree, paths(tree))
    pt_file.write(fake, random_video([5, 5]))
    found = read_entries(tree, [fake])[fake]
    assert isinstance(found, Entry)
    assert found.faces == (5, 5)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 99}', '{"format": 1, "specs": [], "files": {"a": [1]}}']
)
def test_a_broken_manifest_is_made_anew(tree: Path, text: str) -> None:
    expected = read_entries(tree, paths(tree))
    (tree / MANIFEST).write_text(text)
    assert read_entries(tree, paths(tree)) == expected
    assert json.loads((tree / MANIFEST).read_text())["files"].keys() == {
        "train/fake/a.pt",
        "train/real/a.pt",
    }


@pytest.mark.parametrize("wrong", [{"sequence_length": 10**13}, {"margin": 32}, {"mood": "glum"}])
def test_a_manifest_out_of_bounds_is_not_believed(tree: Path, wrong: dict[str, object]) -> None:
    expected = read_entries(tree, paths(tree))
    content = json.loads((tree / MANIFEST).read_text())
    content["specs"][0] |= wrong
    (tree / MANIFEST).write_text(json.dumps(content))
    assert read_entries(tree, paths(tree)) == expected


def test_a_manifest_that_lies_costs_the_file_and_no_crash(tree: Path) -> None:
    """Size and time right, content wrong: as after a restored backup."""
    read_entries(tree, paths(tree))
    content = json.loads((tree / MANIFEST).read_text())
    content["files"]["train/fake/a.pt"][3] = [90]
    (tree / MANIFEST).write_text(json.dumps(content))
    dataset = DeepfakeWindowDataset(tree, "train", "pad")
    last = next(i for i in range(len(dataset)) if dataset.labels[i + 1] == 0)
    with pytest.raises(StoreError, match=r"a\.pt: holds fewer windows"):
        dataset.sample(last)


def test_what_cannot_be_read_is_an_error_each_time(tree: Path) -> None:
    fake, real = paths(tree)
    fake.write_bytes(b"no tensor")
    for _ in range(2):
        found = read_entries(tree, [fake, real])
        assert isinstance(found[fake], StoreError)
        assert isinstance(found[real], Entry)
    fake.unlink()
    assert isinstance(read_entries(tree, [fake])[fake], StoreError)


def test_a_copied_tree_keeps_its_manifest_or_makes_one(tree: Path, tmp_path: Path) -> None:
    read_entries(tree, paths(tree))
    copy = tmp_path / "copy"
    shutil.copytree(tree / "train", copy / "train")
    shutil.copy(tree / MANIFEST, copy)
    for path in paths(copy):
        os.utime(path, ns=(1, 1))
    found = read_entries(copy, paths(copy))
    assert [e for e in found.values() if isinstance(e, StoreError)] == []
