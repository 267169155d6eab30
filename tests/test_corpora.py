import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unmask.corpora import (
    SPLITS,
    VideoRecord,
    lay_out,
    read_corpus,
    read_table,
    split_records,
    write_table,
)
from unmask.errors import CorpusError, UsageError


@pytest.fixture
def celeb(tmp_path: Path) -> Path:
    """Celeb-DF in small: the official names, the list without a last newline."""
    root = tmp_path / "celeb"
    names = [f"Celeb-real/id{i}_000{j}.mp4" for i in range(8) for j in range(3)]
    names += [f"YouTube-real/0000{j}.mp4" for j in range(6)]
    # Fakes stay within pairs of people: (0 1) (2 3) (4 5) (6 7).
    names += [f"Celeb-synthesis/id{i}_id{i ^ 1}_000{j}.mp4" for i in range(8) for j in range(3)]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def with_list(root: Path, polarity: str = "1") -> Path:
    lines = [
        f"{polarity} Celeb-real/id0_0000.mp4",
        "1 YouTube-real/00000.mp4",
        "0 Celeb-synthesis/id4_id5_0001.mp4",
    ]
    (root / "List_of_testing_videos.txt").write_text("\n".join(lines))
    return root


def test_celeb_df_is_read(celeb: Path) -> None:
    records = {str(r.path.relative_to(celeb)): r for r in read_corpus(celeb)}
    assert len(records) == 54
    fake = records["Celeb-synthesis/id4_id5_0001.mp4"]
    assert (fake.label, fake.identities, fake.source) == (1, ("id4", "id5"), "id4_0001")
    real = records["Celeb-real/id0_0002.mp4"]
    assert (real.label, real.identities, real.source) == (0, ("id0",), "id0_0002")
    assert records["YouTube-real/00003.mp4"].identities == ()


def test_the_official_list_is_honoured_with_its_polarity(celeb: Path) -> None:
    records = split_records(read_corpus(with_list(celeb)))
    tests = {r.path.name for r in records if r.split == "test"}
    assert tests == {"id0_0000.mp4", "00000.mp4", "id4_id5_0001.mp4"}
    assert {r.split for r in records} == set(SPLITS)


def test_a_list_of_the_wrong_polarity_is_refused(celeb: Path) -> None:
    with pytest.raises(CorpusError, match="other label"):
        read_corpus(with_list(celeb, polarity="0"))


@pytest.mark.parametrize("seed", range(5))
def test_identities_never_cross_splits(celeb: Path, seed: int) -> None:
    records = split_records(read_corpus(celeb), "identity", (0.5, 0.25, 0.25), seed)
    homes = defaultdict(set)
    for record in records:
        for person in record.identities:
            homes[person].add(record.split)
    assert len(homes) == 8
    assert all(len(splits) == 1 for splits in homes.values())
    for split in SPLITS:
        assert {r.label for r in records if r.split == split} == {0, 1}


def test_a_recording_and_its_fakes_stay_together_by_source(celeb: Path) -> None:
    homes = defaultdict(set)
    for record in split_records(read_corpus(celeb), "source"):
        homes[record.source].add(record.split)
    assert all(len(splits) == 1 for splits in homes.values())


def test_the_same_seed_splits_alike_and_shares_are_kept(celeb: Path) -> None:
    def split(seed: int) -> dict[Path, str | None]:
        return {r.path: r.split for r in split_records(read_corpus(celeb), "random", seed=seed)}

    assert split(1) == split(1)
    assert split(1) != split(2)
    counts = [list(split(1).values()).count(name) for name in SPLITS]
    assert np.allclose(np.array(counts) / 54, [0.7, 0.15, 0.15], atol=0.04)


def test_a_tree_is_laid_out_as_links_and_again_without_leftovers(
    celeb: Path, tmp_path: Path
) -> None:
    target = tmp_path / "split"
    for seed in (0, 1):
        lay_out(split_records(read_corpus(celeb), "random", seed=seed), target)
        links = list(target.glob("*/*/*.mp4"))
        assert len(links) == 54
        assert len({p.name for p in links}) == 54
        assert all(p.is_symlink() and p.read_text().endswith(p.name) for p in links)
    rows = read_table(target / "videos.jsonl")
    assert {row.path for row in rows} == set(links)
    assert all(row.path.parts[-3] == row.split for row in rows)


def test_copies_are_copies(celeb: Path, tmp_path: Path) -> None:
    lay_out(split_records(read_corpus(celeb)), tmp_path / "split", copy=True)
    files = list((tmp_path / "split").glob("*/*/*.mp4"))
    assert len(files) == 54
    assert not any(p.is_symlink() for p in files)


def test_a_table_survives_the_disk(tmp_path: Path) -> None:
    rows = [
        VideoRecord(tmp_path / "a.mp4", 0, "real", ("p",), "a", None, "val", None),
        VideoRecord(tmp_path / "b/b.mp4", 1, "fake", (), None, "swap", None, ((0.5, 2.0),)),
        VideoRecord(tmp_path / "c.mp4", 0, "real", segments=()),
    ]
    write_table(tmp_path / "t.jsonl", rows)
    assert read_table(tmp_path / "t.jsonl") == rows
    assert len(set(read_table(tmp_path / "t.jsonl"))) == 3  # hashable, as records are
    elsewhere = VideoRecord(Path("/elsewhere/b.mp4"), 1, "fake")
    with pytest.raises(CorpusError, match=r"/elsewhere/b\.mp4: should be a file below"):
        write_table(tmp_path / "t.jsonl", [elsewhere])
    assert read_table(tmp_path / "t.jsonl") == rows


GOOD = {"path": "a.mp4", "label": 0, "category": "real"}


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"path": "x"}, "label: Field required"),
        (GOOD | {"label": 2}, "label: should be less than or equal to 1, not 2"),
        (GOOD | {"label": "real"}, "label: should be a valid integer, not 'real'"),
        (GOOD | {"segments": [[0, "end"]]}, "segments.0.1: should be a valid number"),
        (GOOD | {"segments": [[0, float("inf")]]}, "segments.0.1: should be a finite number"),
        (GOOD | {"mood": "glum"}, "mood: Unexpected"),
        (GOOD | {"split": "../.."}, "split: should be train, val or test, not '../..'"),
        (GOOD | {"category": "../../x"}, "category: should be the name of a folder"),
        (GOOD | {"category": ".."}, "category: should be the name of a folder, not '..'"),
        (GOOD | {"category": ""}, "category: should be the name of a folder"),
        ([1], "should be"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: object, cause: str) -> None:
    table = tmp_path / "t.jsonl"
    table.write_text(f"{json.dumps(GOOD)}\n\n{json.dumps(row)}\n")
    with pytest.raises(CorpusError) as caught:
        read_table(table)
    assert str(caught.value).startswith(f"{table}: line 3: ")
    assert cause in str(caught.value)


@pytest.mark.parametrize("path", ["../b.mp4", "x/../../b.mp4", "/etc/passwd", "x/..", ".", ""])
def test_a_path_that_leaves_its_folder_is_refused(tmp_path: Path, path: str) -> None:
    """Of a table beside the videos, and of a CSV."""
    (tmp_path / "in").mkdir()
    (tmp_path / "b.mp4").touch()
    table, listed = tmp_path / "in" / "videos.jsonl", tmp_path / "in" / "t.csv"
    table.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD | {"path": path}))
    with pytest.raises(CorpusError, match="should be a file below") as caught:
        read_table(table)
    assert (caught.value.path, str(Path(path)) in caught.value.cause) == (table, True)
    listed.write_text(f"path,label\na.mp4,real\n{path},fake\n")
    if Path(path).is_absolute():  # of somebody's own list it is meant as it stands
        assert read_corpus(listed)[1].path == Path(path)
        return
    with pytest.raises(CorpusError, match="should be a") as caught:
        read_corpus(listed)
    assert caught.value.path == listed


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize(
    "wrong", [{"split": "../.."}, {"category": "../../x"}, {"category": "../.."}]
)
def test_nothing_is_laid_out_outside_the_target(
    tmp_path: Path, wrong: dict[str, str], copy: bool
) -> None:
    """Whoever made the records."""
    (tmp_path / "a.mp4").write_text("a")
    row = replace(VideoRecord(tmp_path / "a.mp4", 0, "real", split="train"), **wrong)  # type: ignore[arg-type]
    with pytest.raises(CorpusError, match=r"a\.mp4.*should be a file below"):
        lay_out([row], tmp_path / "deep" / "er" / "split", copy)
    assert [path.name for path in tmp_path.rglob("*")] == ["a.mp4"]


def test_a_csv_is_a_corpus(tmp_path: Path) -> None:
    text = "path,label,identity\na.mp4,real,ann\nb.mp4,1,ann\nc.mp4,FAKE,\n"
    (tmp_path / "t.csv").write_text(text)
    rows = read_corpus(tmp_path / "t.csv")
    assert [(r.label, r.identities, r.path.parent) for r in rows] == [
        (0, ("ann",), tmp_path), (1, ("ann",), tmp_path), (1, (), tmp_path),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("a,b\n1,2\n", "no column"),
        ("path,label\nx,maybe\n", "line 2"),
        ("path,label\n", "no videos"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, text: str, cause: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(CorpusError, match=cause):
        read_corpus(tmp_path / "t.csv")


def test_other_folders_are_told_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    with pytest.raises(CorpusError, match=r"looked for Celeb-real.*dataset\.json.*found holiday"):
        read_corpus(tmp_path)
    (tmp_path / "real").mkdir()
    with pytest.raises(CorpusError, match="no videos; looked for real/"):
        read_corpus(tmp_path)
    with pytest.raises(CorpusError, match="no such file"):
        read_corpus(tmp_path / "none")


def test_impossible_requests_are_refused(celeb: Path, tmp_path: Path) -> None:
    records = read_corpus(celeb)
    with pytest.raises(UsageError):
        split_records(records, "colour")
    with pytest.raises(UsageError):
        split_records(records, "random", (0, 0, 0))
    with pytest.raises(CorpusError, match="no official split"):
        split_records(records, "official")
    with pytest.raises(UsageError, match="no split"):
        lay_out(records, tmp_path / "out")
