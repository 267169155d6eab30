"""Shards: what a tree holds once it is packed, what a kill leaves, and what damage does."""

import json
import shutil
import subprocess
import tarfile
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Unmask, pack, random_video
from test_store import Bomb
from torch.testing import assert_close

from unmask import storage
from unmask.corpora import VideoRecord, write_table
from unmask.data import pt_file, shards
from unmask.data.packing import Packer
from unmask.data.preprocessor import VideoPreprocessor
from unmask.data.tree import preprocess_tree
from unmask.detection.scoring import labelled_videos
from unmask.engine import Shard
from unmask.errors import CorpusError, StoreError, UsageError
from unmask.face_spec import FaceSpec
from unmask.training.dataset import DeepfakeWindowDataset

NAMES = ("a", "b.c", "50%", "ü" * 60, "n" * 120)
SPEC = FaceSpec(4, 32, 0, 8, 2)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Ten files of 23 faces, one without any, and a table of what is known of them."""
    root, records = tmp_path / "tree", []
    for label, category in enumerate(("real", "fake")):
        for number, name in enumerate(NAMES):
            path = root / "train" / category / f"{name}.pt"
            pt_file.write(path, random_video([20, 3], 2 * number + label))
            records.append(VideoRecord(
                path, label, category, ("ann",), name, "swap" if label else None, "train",
                ((1.0, 2.0),) if label else None, "f",
            ))  # fmt: skip
    pt_file.write(root / "train" / "real" / "nobody.pt", random_video([]))
    write_table(root / "videos.jsonl", records)
    return root


@pytest.fixture
def packed(tree: Path, tmp_path: Path) -> Path:
    return pack(Path(shutil.copytree(tree, tmp_path / "packed")))


def only_shard(packed: Path) -> tuple[Path, Path]:
    """The first shard and its index."""
    return packed / "train-000000.tar", packed / "train-000000.tar.json"


def assert_same(one: DeepfakeWindowDataset, other: DeepfakeWindowDataset) -> None:
    assert len(one) == len(other) > 0
    for name in ("labels", "methods", "people", "digest", "spec"):
        assert getattr(one, name) == getattr(other, name)
    for k in range(len(one)):
        for a, b in zip(one.sample(k), other.sample(k), strict=True):
            assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_a_packed_tree_is_the_tree(tree: Path, packed: Path) -> None:
    assert len(list(packed.glob("*.tar"))) > 2
    one, other = (DeepfakeWindowDataset(root, "train", "pad") for root in (tree, packed))
    assert one.recordings == other.recordings
    assert_same(one, other)
    before, after = (labelled_videos(root, "train") for root in (tree, packed))
    assert [vars(r) | {"path": r.path.relative_to(tree)} for r in before] == [
        vars(r) | {"path": r.path.relative_to(packed)} for r in after
    ]


def test_others_read_the_tar(tree: Path, packed: Path, tmp_path: Path) -> None:
    """Python's tarfile, tar, and whoever splits a name at its first dot, as webdataset does."""
    keys, before = [], {path.read_bytes() for path in tree.rglob("*.pt")}
    after = set()
    for shard in packed.glob("*.tar"):
        with tarfile.open(shard) as archive:
            for info in archive:
                folder, _, name = info.name.rpartition("/")
                key, _, extension = name.partition(".")
                assert extension == "pt"
                keys.append(f"{folder}/{key}")
                file = archive.extractfile(info)
                assert file is not None
                after.add(file.read())
    assert len(keys) == len(set(keys)) == 11
    assert before == after
    subprocess.run(["tar", "xf", packed / "train-000000.tar"], cwd=tmp_path, check=True)
    assert (tmp_path / "train" / "fake" / "a.pt").read_bytes() in before


def run(tree: Path, steps: int | None = None, size: int = 150_000) -> None:
    """Pack in another order than that of the names, for so many steps."""
    outputs = sorted({*tree.rglob("*.pt"), *(tree / name for name in shards.members(tree))})
    packer = Packer(tree, outputs, size, SPEC)
    for out in outputs[:steps][::-1]:
        packer.settle(out)
    if steps is None:
        packer.finish()


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("steps", [0, 3, 8])
def test_a_run_that_was_killed_ends_with_the_same_shards(
    tree: Path, tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path(shutil.copytree(tree, tmp_path / "whole"))
    run(whole)
    files = {path: path.read_bytes() for path in tree.rglob("*.pt")}
    run(tree, steps)  # and killed
    for path, content in files.items():  # killed before these went
        path.write_bytes(content)
    (tree / "train-000009.tar").write_bytes(b"killed before its index was there")
    run(tree)
    (tree / "train-000009.tar").unlink()
    assert contents(tree) == contents(whole)


def test_a_tar_without_an_index_is_written_again(tree: Path) -> None:
    (tree / "train-000000.tar").write_bytes(b"half")
    run(tree)
    assert len(DeepfakeWindowDataset(tree, "train", "pad")) == 10 * 4


def test_preprocess_writes_shards_and_goes_on(
    processed: Path, preprocessor: VideoPreprocessor, tmp_path: Path
) -> None:
    source, target = processed.parent / "split", tmp_path / "out"
    first = preprocess_tree(source, target, preprocessor, pack=100_000)
    assert len(first.done) == 10
    assert not list(target.rglob("*.pt"))
    again = preprocess_tree(source, target, preprocessor, pack=100_000)
    assert len(again.skipped) == 10
    for split in ("train", "val", "test"):
        assert_same(DeepfakeWindowDataset(processed, split), DeepfakeWindowDataset(target, split))
    other = VideoPreprocessor(8, 4, 48, overlap=2, min_face_size=40)
    with pytest.raises(CorpusError, match=r"tar: holds .*other settings: name another folder"):
        preprocess_tree(source, target, other, pack=100_000)
    with pytest.raises(UsageError, match="copy them from there"):
        preprocess_tree(source, f"memory://{uuid.uuid4().hex}", preprocessor, pack=1)


def test_parts_of_a_run_pack_side_by_side(
    processed: Path, preprocessor: VideoPreprocessor, tmp_path: Path
) -> None:
    for number in (1, 2):
        source, part = processed.parent / "split", Shard(number, 2)
        preprocess_tree(source, tmp_path, preprocessor, shard=part, pack=10**9)
    assert {path.name for path in tmp_path.glob("train*.tar")} == {
        "train-1of2-000000.tar", "train-2of2-000000.tar",
    }  # fmt: skip
    assert_same(DeepfakeWindowDataset(processed, "train"), DeepfakeWindowDataset(tmp_path, "train"))


def test_a_truncated_shard_costs_its_files_and_says_what_to_do(packed: Path) -> None:
    whole = len(DeepfakeWindowDataset(packed, "train", "pad"))
    shard, _ = only_shard(packed)
    shard.write_bytes(shard.read_bytes()[:-512])
    dataset = DeepfakeWindowDataset(packed, "train", "pad")
    assert 0 < len(dataset) < whole
    assert "train-000000.tar: has " in str(dataset.broken[0])
    assert "train-000000.tar.json anew" in str(dataset.broken[0])
    shard.unlink()
    assert "cannot be read" in str(DeepfakeWindowDataset(packed, "train", "pad").broken[0])


def change(index: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(index.read_text())
    edit(content)
    index.write_text(json.dumps(content))
    shards.forget()


def shifted(content: dict[str, Any]) -> None:
    for row in content["files"].values():
        row[0] += 512 if row[0] + row[1] + 512 <= content["size"] else 0


def swapped(content: dict[str, Any]) -> None:
    one, other, *_ = content["files"]
    files = content["files"]
    files[one], files[other] = files[other], files[one]


@pytest.mark.parametrize("edit", [shifted, swapped])
def test_an_index_that_does_not_fit_is_told(
    packed: Path, edit: Callable[[dict[str, Any]], None]
) -> None:
    change(only_shard(packed)[1], edit)
    with pytest.raises(StoreError, match=r"train-000000\.tar: .*not where the index says"):
        pt_file.read(packed / "train" / "fake" / "a.pt")


@pytest.mark.parametrize(
    ("edit", "cause"),
    [
        (lambda c: c["files"].update({"../../x.pt": [512, 1, 0, [], 0]}), "no index of a shard"),
        (lambda c: c["files"].update({"a/b/c.pt": [512, 10**12, 0, [], 0]}), "no index of a"),
        (lambda c: c["files"].update({"a/b/c.pt": [100, 1, 0, [], 0]}), "no index of a shard"),
        (lambda c: c["files"].update({"a/b/c.pt": [512, 1, 7, [], 0]}), "no index of a shard"),
        (lambda c: c["files"].update({"a/b/c.pt": [512, 1, 0, [10**9], 0]}), "less than"),
        (lambda c: c.update(format=2), "format"),
        (lambda c: c["specs"][0].update(sequence_length=10**13), "sequence_length"),
    ],
)
def test_a_broken_index_is_named(
    packed: Path, edit: Callable[[dict[str, Any]], None], cause: str
) -> None:
    change(only_shard(packed)[1], edit)
    with pytest.raises(CorpusError, match=rf"train-000000\.tar\.json: .*{cause}"):
        DeepfakeWindowDataset(packed, "train")


def test_a_file_in_two_shards_is_told(packed: Path) -> None:
    for path in only_shard(packed):
        shutil.copy(path, packed / path.name.replace("000000", "000077"))
    with pytest.raises(CorpusError, match=r"000077.*too: remove one"):
        DeepfakeWindowDataset(packed, "train")


def test_shards_without_their_indexes_are_told(packed: Path) -> None:
    for index in packed.glob("*.json"):
        index.unlink()
    shutil.rmtree(packed / "train")
    with pytest.raises(CorpusError, match=r"has no index \(\.tar\.json\)"):
        DeepfakeWindowDataset(packed, "train")


def shard_of(content: Path, root: Path) -> Path:
    """A shard of one file, whatever that is, as an index might offer it; the file's name in it."""
    tar = root / "train-000000.tar"
    with tarfile.open(tar, "w") as archive:
        archive.add(content, "train/real/x.pt")
    with tarfile.open(tar) as archive:
        info = archive.getmember("train/real/x.pt")
    row = {"train/real/x.pt": (info.offset_data, info.size, shards_entry())}
    (root / "train-000000.tar.json").write_text(shards.index_text(tar.stat().st_size, row))
    return root / "train" / "real" / "x.pt"


def shards_entry() -> Any:
    from unmask.data.entry import Entry

    return Entry(SPEC, (20,), 20)


def test_what_is_hostile_in_a_file_is_refused_in_a_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "ran"))
    good = tmp_path / "good.pt"
    pt_file.write(good, random_video([20]))
    files = {name: tmp_path / f"{name}.pt" for name in ("bomb", "zipped", "short", "list", "big")}
    torch.save({"faces": Bomb(), "windows": torch.zeros(1)}, files["bomb"])
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(files["zipped"], "w", 8) as new:
        for info in old.infolist():
            new.writestr(info.filename, b"" if "data/" in info.filename else old.read(info))
    files["short"].write_bytes(good.read_bytes()[:5000])
    torch.save([1, 2], files["list"])
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(files["big"], "w") as new:
        for info in old.infolist():  # the pictures are fewer than the pickle says
            content = b"few" if info.filename.endswith("data/0") else b""
            if "/data/" not in info.filename:
                content = old.read(info)
            new.writestr(info.filename, content)
    for name, file in files.items():
        root = tmp_path / f"in_{name}"
        root.mkdir()
        with pytest.raises(StoreError, match=r"x\.pt"):
            pt_file.read(shard_of(file, root))
    assert not (tmp_path / "ran").exists()
    root = tmp_path / "in_good"
    root.mkdir()
    assert len(pt_file.read(shard_of(good, root)).tracks[0]) == 20


def test_an_address_is_read_like_a_folder(tree: Path, packed: Path) -> None:
    root = f"memory://{uuid.uuid4().hex}/faces"
    for path in packed.glob("*.*"):
        with storage.published(storage.join(root, path.name)) as copy:
            shutil.copy(path, copy)
    there = DeepfakeWindowDataset(root, "train", "pad")
    assert_same(DeepfakeWindowDataset(tree, "train", "pad"), there)
    files, remote = storage.address.opened(f"{root}/train-000000.tar")
    files.pipe_file(remote, b"short")
    with pytest.raises(StoreError, match=r"memory://.*train-000000\.tar: ends before byte"):
        there.sample(0)


def test_the_command_packs_trains_and_tells(
    processed: Path, unmask: Unmask, tmp_path: Path
) -> None:
    source, target = processed.parent / "split", tmp_path / "shards"
    options = ("--size", 32, "--length", 8, "--overlap", 2, "--fps", 4, "--workers", 1)
    done = unmask("preprocess", source, target, "--shards", "100K", *options)
    assert done.returncode == 0, done.stderr
    about = json.loads(unmask("info", target).stdout)
    assert about["shards"] > 3
    assert about["train"]["videos"] == {"Celeb-real": 3, "Celeb-synthesis": 3}
    assert unmask("preprocess", source, target, "--shards", "much", *options).returncode == 2
    settings = ("backbone=test_resnet", "hidden=8", "workers=0", "weights=random", "epochs=1")
    plain = tmp_path / "plain"
    assert unmask("preprocess", source, plain, *options).returncode == 0
    for data in (target, plain):
        chosen = [part for setting in settings for part in ("--set", setting)]
        done = unmask("train", data, "--out", tmp_path / f"model of {data.name}", *chosen)
        assert done.returncode == 0, done.stderr
    one, other = (
        (tmp_path / f"model of {name}" / "history.jsonl").read_text()
        for name in ("shards", "plain")
    )
    assert one == other
    model = tmp_path / "model of shards"
    done = unmask("evaluate", target, "--model", model, "--out", tmp_path / "e")
    assert "auc" in done.stdout.lower()
