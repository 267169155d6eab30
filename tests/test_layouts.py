"""Every corpus in small, with its official file names and their oddities."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from unmask.corpora import (
    LAYOUTS,
    VideoRecord,
    drop_leaks,
    find_leaks,
    label_of,
    lay_out,
    read_corpus,
    split_records,
)
from unmask.corpora.leaks import shares
from unmask.errors import CorpusError, UsageError


def touch(root: Path, names: Iterable[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def by_name(records: list[VideoRecord], root: Path) -> dict[str, VideoRecord]:
    return {record.path.relative_to(root).as_posix(): record for record in records}


def celeb_df(root: Path) -> Path:
    # As it is also seen: a level videos/, and Youtube-real.
    names = ["Celeb-real/id0_0000.mp4", "Celeb-real/id1_0003.mp4", "Youtube-real/00011.mp4"]
    touch(root / "videos", [*names, "Celeb-synthesis/id0_id1_0000.mp4"])
    lines = "1 Youtube-real/00011.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4"
    (root / "List_of_testing_videos.txt").write_text(lines)  # no last newline
    return root


def faceforensics(root: Path) -> Path:
    names = [f"original_sequences/youtube/c23/videos/{k:03}.mp4" for k in (0, 3, 54, 71)]
    for method in ("Deepfakes", "Face2Face", "FaceShifter"):
        for pair in ("000_003", "003_000", "071_054"):
            names += [
                f"manipulated_sequences/{method}/{c}/videos/{pair}.mp4" for c in ("c23", "c40")
            ]
    names += [
        "original_sequences/actors/c23/videos/01__walking_outside.mp4",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_27__walking_outside__XZ7LOSM2.mp4",
    ]
    touch(root, names)
    (root / "train.json").write_text('[["000", "003"]]')
    (root / "val.json").write_text("[]")
    (root / "test.json").write_text('[["071", "054"]]')
    return root


def dfdc(root: Path) -> Path:
    touch(root, ["dfdc_train_part_0/aaa.mp4", "dfdc_train_part_0/bbb.mp4",
                 "dfdc_train_part_7/ccc.mp4", "test/ddd.mp4"])  # fmt: skip
    table = {
        "aaa.mp4": {"label": "FAKE", "split": "train", "original": "bbb.mp4"},
        "bbb.mp4": {"label": "REAL", "split": "train", "original": None},
        "gone.mp4": {"label": "REAL", "split": "train", "original": None},
    }
    (root / "dfdc_train_part_0/metadata.json").write_text(json.dumps(table))
    last = {"ccc.mp4": {"label": "FAKE", "split": "train", "original": "bbb.mp4"}}
    (root / "dfdc_train_part_7/metadata.json").write_text(json.dumps(last))
    (root / "labels.csv").write_text("filename,label\nddd.mp4,1\n")
    return root


def dfdc_preview(root: Path) -> Path:
    table = {
        "original_videos/1/1_A_001.mp4": {
            "augmentations": [], "label": "real", "set": "train",
            "target_id": 1, "swapped_id": None,
        },
        "method_A/2/2_D/2_1_D_001.mp4": {
            "augmentations": ["fps"], "label": "fake", "set": "test",
            "target_id": 2, "swapped_id": 1,
        },
    }  # fmt: skip
    touch(root, table)
    (root / "dataset.json").write_text(json.dumps(table))
    return root


def fakeavceleb(root: Path) -> Path:
    place = "African/men/id00076"
    names = {
        "RealVideo-RealAudio": "00109.mp4",
        "RealVideo-FakeAudio": "00109_fake.mp4",
        "FakeVideo-RealAudio": "00109_2_id00166_wavtolip.mp4",
        "FakeVideo-FakeAudio": "00109_10_id00476_wavtolip.mp4",
    }
    touch(root, [f"{folder}/{place}/{name}" for folder, name in names.items()])
    lines = ["source,target1,target2,method,category,type,race,gender,path,"]
    for (folder, name), method in zip(
        names.items(), ("real", "rtvc", "wav2lip", "faceswap-wav2lip"), strict=True
    ):
        lines.append(
            f"id00076,-,-,{method},A,{folder},African,men,{name},FakeAVCeleb/{folder}/{place}"
        )
    (root / "meta_data.csv").write_text("\n".join(lines))
    return root


def lav_df(root: Path) -> Path:
    rows: list[dict[str, Any]] = [
        {"file": "train/000001.mp4", "split": "train", "fake_periods": [], "modify_video": False,
         "modify_audio": False, "original": None, "duration": 5.0},
        {"file": "dev/000002.mp4", "split": "dev", "fake_periods": [[0.5, 1.25]],
         "modify_video": True, "modify_audio": True, "original": "train/000001.mp4"},
        {"file": "test/000003.mp4", "split": "test", "fake_periods": [[1, 2]],
         "modify_video": False, "modify_audio": True, "original": "train/000001.mp4"},
    ]  # fmt: skip
    touch(root, [str(row["file"]) for row in rows])
    (root / "metadata.min.json").write_text(json.dumps(rows))
    return root


def av_deepfake1m(root: Path) -> Path:
    clip = "id00012/21Uxsk56VDQ/00001"
    rows: list[dict[str, Any]] = [
        {"file": f"{clip}/real.mp4", "original": None, "modify_type": "real",
         "fake_segments": [], "visual_fake_segments": [], "audio_fake_segments": []},
        {"file": f"{clip}/fake_video.mp4", "original": f"{clip}/real.mp4",
         "modify_type": "visual_modified", "fake_segments": [[1, 2]],
         "visual_fake_segments": [[1, 2.5]], "audio_fake_segments": []},
        {"file": f"{clip}/fake_audio.mp4", "original": f"{clip}/real.mp4",
         "modify_type": "audio_modified", "fake_segments": [[3, 4]],
         "visual_fake_segments": [], "audio_fake_segments": [[3, 4]]},
    ]  # fmt: skip
    touch(root / "val", [str(row["file"]) for row in rows])
    (root / "val_metadata.json").write_text(json.dumps(rows))
    return root


def own_folders(root: Path) -> Path:
    return touch(root, ["train/real/a.mp4", "test/fake/b.mp4", "fake/c.mp4"])


MAKERS = {
    "celeb-df": celeb_df,
    "faceforensics": faceforensics,
    "dfdc": dfdc,
    "dfdc-preview": dfdc_preview,
    "fakeavceleb": fakeavceleb,
    "lav-df": lav_df,
    "av-deepfake1m": av_deepfake1m,
    "folders": own_folders,
}


@pytest.mark.parametrize("name", MAKERS)
def test_each_is_recognised_and_no_other(tmp_path: Path, name: str) -> None:
    root = MAKERS[name](tmp_path)
    assert [key for key, layout in LAYOUTS.items() if layout.matches(root)] == [name]
    records = read_corpus(root)
    assert records == read_corpus(root, name)
    assert all(record.path.is_file() for record in records)
    assert all(record.label == label_of(record.category) for record in records)


@pytest.mark.parametrize("name", MAKERS)
def test_each_can_be_laid_out_without_losing_a_video(tmp_path: Path, name: str) -> None:
    records = read_corpus(MAKERS[name](tmp_path / "raw"))
    lay_out(split_records(records, "random"), tmp_path / "split")
    links = list((tmp_path / "split").glob("*/*/*.mp4"))
    assert sorted(p.resolve() for p in links) == sorted(r.path.resolve() for r in records)


def test_all_layouts_are_tried_here() -> None:
    assert set(MAKERS) | {"csv"} == set(LAYOUTS)


def test_celeb_df(tmp_path: Path) -> None:
    records = by_name(read_corpus(celeb_df(tmp_path)), tmp_path / "videos")
    assert records["Youtube-real/00011.mp4"].split == "test"
    assert records["Youtube-real/00011.mp4"].label == 0
    fake = records["Celeb-synthesis/id0_id1_0000.mp4"]
    assert (fake.label, fake.split, fake.source) == (1, "test", "id0_0000")
    assert records["Celeb-real/id1_0003.mp4"].split is None


def test_celeb_df_plus_plus_names_the_method(tmp_path: Path) -> None:
    touch(tmp_path, ["Celeb-real/id0_0000.mp4",
                     "Celeb-synthesis/FaceSwap/inswap/id0_id1_0000.mp4",
                     "Celeb-synthesis/TalkingFace/sadtalker/id0_id1_0000_1.mp4"])  # fmt: skip
    swap, talk = (r for r in read_corpus(tmp_path) if r.label)
    assert (swap.method, swap.source) == ("FaceSwap/inswap", "id0_0000")
    assert (talk.method, talk.source) == ("TalkingFace/sadtalker", "id0_0000")


def test_faceforensics(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "unmask")
    records = by_name(read_corpus(faceforensics(tmp_path)), tmp_path)
    assert len(records) == 4 + 9 + 2  # of both compressions one
    assert "c23 is read, not c40" in caplog.text
    for order in ("000_003", "003_000"):
        fake = records[f"manipulated_sequences/Face2Face/c23/videos/{order}.mp4"]
        assert (fake.label, fake.split, fake.method) == (1, "train", "Face2Face")
        assert fake.identities == tuple(order.split("_"))
        assert fake.source == order[:3]
    real = records["original_sequences/youtube/c23/videos/071.mp4"]
    assert (real.label, real.split, real.source, real.method) == (0, "test", "071", None)
    actor = records["original_sequences/actors/c23/videos/01__walking_outside.mp4"]
    (swap,) = (r for r in records.values() if r.method == "DeepFakeDetection")
    assert swap.source == actor.source == "01__walking_outside"
    assert swap.identities == ("actor 01", "actor 27")
    (tmp_path / "val.json").write_text('[["000", "001"]]')
    with pytest.raises(CorpusError, match="000 is in two splits"):
        read_corpus(tmp_path)


def test_dfdc(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = by_name(read_corpus(dfdc(tmp_path)), tmp_path)
    assert "1 of 5 listed videos are not here" in caplog.text
    fake, real = records["dfdc_train_part_0/aaa.mp4"], records["dfdc_train_part_0/bbb.mp4"]
    assert (fake.label, real.label) == (1, 0)
    assert fake.source == real.source == records["dfdc_train_part_7/ccc.mp4"].source == "bbb"
    assert (records["test/ddd.mp4"].label, records["test/ddd.mp4"].split) == (1, "test")


def test_dfdc_preview(tmp_path: Path) -> None:
    real, fake = read_corpus(dfdc_preview(tmp_path))
    assert (real.label, real.split, real.identities) == (0, "train", ("1",))
    assert (fake.label, fake.split, fake.identities, fake.method) == (
        1,
        "test",
        ("2", "1"),
        "method_A",
    )


def test_fakeavceleb(tmp_path: Path) -> None:
    records = {r.path.parts[-5]: r for r in read_corpus(fakeavceleb(tmp_path))}
    assert [records[k].label for k in ("RealVideo-RealAudio", "RealVideo-FakeAudio")] == [0, 0]
    assert records["FakeVideo-RealAudio"].method == "wav2lip"  # read off the shifted column
    assert records["FakeVideo-FakeAudio"].method == "faceswap-wav2lip"
    assert {r.identities for r in records.values()} == {("id00076",)}


def test_lav_df_has_periods_of_the_picture_only(tmp_path: Path) -> None:
    real, fake, sound = read_corpus(lav_df(tmp_path))
    assert (real.label, real.segments, real.split) == (0, (), "train")
    assert (fake.label, fake.segments, fake.split) == (1, ((0.5, 1.25),), "val")
    assert (sound.label, sound.segments, sound.split) == (0, (), "test")
    assert real.source == fake.source == "train/000001"


def test_av_deepfake1m_is_scored_against_the_picture(tmp_path: Path) -> None:
    real, fake, sound = read_corpus(av_deepfake1m(tmp_path))
    assert [r.label for r in (real, fake, sound)] == [0, 1, 0]
    assert (fake.segments, sound.segments) == (((1.0, 2.5),), ())
    assert fake.identities == ("id00012",)
    assert fake.source == real.source == "id00012/21Uxsk56VDQ/00001/real"


def test_a_csv_has_people_and_segments(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "path,label,identity,split,segments\na.mp4,fake,ann; bob,test,0.5-2;3-4.5\nb.mp4,0,,,\n"
    )
    fake, real = read_corpus(tmp_path / "t.csv")
    assert (fake.identities, fake.split) == (("ann", "bob"), "test")
    assert fake.segments == ((0.5, 2.0), (3.0, 4.5))
    assert (real.identities, real.split, real.segments) == ((), None, ())
    for row, cause in (
        ("a.mp4,1,,weekend,", "split: should be train, val or test, not 'weekend'"),
        ("a.mp4,1,,,2:3", "segments: should be start-end;start-end, not '2:3'"),
        ("a.mp4,1,,,2-end", r"segments\.0\.1: should be a valid number.*, not 'end'"),
        ("a.mp4,perhaps,,,", "label: should be real .0. or fake .1., not 'perhaps'"),
        (",1,,,", "path: should be a valid string"),
    ):
        (tmp_path / "t.csv").write_text(f"path,label,identity,split,segments\n{row}\n")
        with pytest.raises(CorpusError, match=f"line 2: {cause}"):
            read_corpus(tmp_path / "t.csv")


def test_what_fits_two_layouts_has_to_be_named(tmp_path: Path) -> None:
    lav_df(celeb_df(tmp_path))
    with pytest.raises(CorpusError, match=r"fits celeb-df and lav-df.*--corpus"):
        read_corpus(tmp_path)
    assert len(read_corpus(tmp_path, "lav-df")) == 3
    with pytest.raises(UsageError, match="there are celeb-df"):
        read_corpus(tmp_path, "imagenet")


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("dfdc", "metadata.json", "[]"),
        ("dfdc", "metadata.json", '{"a.mp4": {"label": "perhaps"}}'),
        ("dfdc-preview", "dataset.json", "{"),
        ("lav-df", "metadata.min.json", '[{"name": "a"}]'),
        (
            "lav-df",
            "metadata.min.json",
            '[{"file": "a", "modify_video": true, "fake_periods": [1]}]',
        ),
        ("av-deepfake1m", "val_metadata.json", "{}"),
        ("fakeavceleb", "meta_data.csv", "a,b\n"),
        ("dfdc", "metadata.json", '{"../up.mp4": {"label": "FAKE"}}'),
        ("dfdc", "labels.csv", "filename,label\n../up.mp4,1\n"),
        ("dfdc", "labels.csv", "name,label\n"),
        ("dfdc-preview", "dataset.json", '{"/up.mp4": {"label": "fake"}}'),
        ("lav-df", "metadata.min.json", '[{"file": "../up.mp4", "modify_video": true}]'),
        (
            "av-deepfake1m",
            "val_metadata.json",
            '[{"file": "a/../../../up.mp4", "visual_fake_segments": []}]',
        ),
        ("av-deepfake1m", "val_metadata.json", '[{"file": "a/b.mp4"}]'),
        ("celeb-df", "List_of_testing_videos.txt", "label name\n"),
        ("celeb-df", "List_of_testing_videos.txt", "1 Celeb-real/nobody.mp4\n"),
        ("faceforensics", "train.json", "[1]"),
    ],
)
def test_damaged_tables_are_named(tmp_path: Path, name: str, file: str, text: str) -> None:
    root = MAKERS[name](tmp_path / "corpus")
    (tmp_path / "up.mp4").touch()
    (root / file).write_text(text)
    with pytest.raises(CorpusError, match=file.replace(".", r"\.")):
        read_corpus(root, name)


def test_errors_of_tables_name_the_row_and_the_field(tmp_path: Path) -> None:
    root = lav_df(tmp_path / "lav")
    rows = [{"file": "a.mp4", "modify_video": False}, {"file": "a.mp4", "modify_video": "maybe"}]
    (root / "metadata.min.json").write_text(json.dumps(rows))
    with pytest.raises(CorpusError, match=r"1\.modify_video: should be .* boolean, not 'maybe'"):
        read_corpus(root)
    (root / "metadata.min.json").write_text('[{"file": "../a.mp4", "modify_video": true}]')
    with pytest.raises(CorpusError, match=r"the row of '\.\./a\.mp4': should be a file below"):
        read_corpus(root)
    root = dfdc(tmp_path / "dfdc")
    (root / "dfdc_train_part_0/metadata.json").write_text('{"a.mp4": {"label": "perhaps"}}')
    with pytest.raises(CorpusError, match=r"a\.mp4\.label: should be real .* not 'perhaps'"):
        read_corpus(root)


def leaky() -> list[VideoRecord]:
    def row(name: str, split: str | None, *people: str, source: str = "") -> VideoRecord:
        return VideoRecord(Path(name), 0, "real", people, source or name, split=split)

    return [
        row("a", "train", "ann"), row("b", "train", "bob"), row("c", "val", "bob", "cyd"),
        row("d", "test", "cyd"), row("e", "train", source="d"), row("f", "val"),
        row("g", None, "ann"),
    ]  # fmt: skip


def test_leaks_are_counted_and_named() -> None:
    leaks = find_leaks(leaky())
    assert [(leak.kind, leak.name, leak.videos) for leak in leaks] == [
        ("identity", "bob", {"train": 1, "val": 1}),
        ("identity", "cyd", {"val": 1, "test": 1}),
        ("source", "d", {"train": 1, "test": 1}),
    ]
    assert shares(leaky(), "identity") == (1, 1)
    assert shares(leaky(), "source") == (1, 1)


def test_dropping_leaks_leaves_the_test_whole_and_no_leak() -> None:
    left = drop_leaks(leaky())
    assert [record.path.name for record in left] == ["a", "b", "d", "f"]
    assert not find_leaks(left)


def test_a_split_by_identity_has_no_leak_and_the_official_one_of_celeb_df_has(
    tmp_path: Path,
) -> None:
    """In small what Celeb-DF v2 does: the people of the test list are in the training set, too."""
    names = [f"Celeb-real/id{i}_000{j}.mp4" for i in range(6) for j in range(3)]
    names += [f"Celeb-synthesis/id{i}_id{i ^ 1}_000{j}.mp4" for i in range(6) for j in range(3)]
    touch(tmp_path, names)
    lines = [f"1 Celeb-real/id{i}_0000.mp4" for i in range(5)]
    (tmp_path / "List_of_testing_videos.txt").write_text("\n".join(lines))
    records = read_corpus(tmp_path)
    assert shares(split_records(records, "official"), "identity") == (5, 5)
    assert shares(split_records(records, "official"), "source") == (5, 5)
    assert not find_leaks(split_records(records, "identity"))
