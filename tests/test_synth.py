import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import MakeClip
from numpy.typing import NDArray

from unmask import make_fakes
from unmask.corpora import read_corpus, read_table
from unmask.engine import Engine
from unmask.errors import CorpusError, InternalError, UsageError
from unmask.synth import FAMILIES, tree
from unmask.synth.tree import SynthSettings
from unmask.video.encoder import Codec, Encoder
from unmask.video.reader import Video


@pytest.fixture(scope="module")
def reals(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Path:
    root = tmp_path_factory.mktemp("reals")
    for number in range(4):
        make_clip(root / f"person {number}.mp4", 7, start=40 * number)
    return root


@pytest.fixture(scope="module")
def made(reals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fakes")
    report = make_fakes(reals, out)
    assert len(report.fakes) == 4
    assert not report.failed
    return out


def pictures(path: Path) -> NDArray[np.float64]:
    with Video(path) as video:
        return np.stack([frame.rgb for frame in video.frames()]).astype(float)


def test_the_truth_says_which_frames_were_altered(
    reals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared before compression, which would smear every change over its neighbours."""
    shown: list[list[NDArray[np.uint8]]] = []  # by turns of a recording and of its fake

    class Recorder(Encoder):
        def __init__(
            self, path: Path, fps: Fraction, codec: Codec, crf: int = 0, container: str = ""
        ) -> None:
            super().__init__(path, fps, codec, crf, container)
            assert fps == 10
            self._pictures: list[NDArray[np.uint8]] = []
            if codec != "ffv1":
                shown.append(self._pictures)

        def add(self, picture: NDArray[np.uint8]) -> None:
            super().add(picture)
            self._pictures.append(picture)

    monkeypatch.setattr("unmask.video.encoder.Encoder", Recorder)
    monkeypatch.setattr(tree, "Encoder", Recorder)
    partial = 0
    fakes = make_fakes(reals, tmp_path / "out").fakes
    for fake, a, b in zip(fakes, shown[::2], shown[1::2], strict=True):
        differs = [bool((x != y).any()) for x, y in zip(a, b, strict=True)]
        with av.open(str(tmp_path / "out" / "masks" / f"{fake.path.stem}.nut")) as grey:
            masks = [frame.to_ndarray(format="gray") for frame in grey.decode(video=0)]
        for x, y, mask in zip(a, b, masks, strict=True):
            assert (x == y)[mask == 0].all()
        clock = np.arange(len(a)) / 10
        truth = [any(s - 1e-6 <= t < e - 1e-6 for s, e in fake.segments or ()) for t in clock]
        assert all(said for said, seen in zip(truth, differs, strict=True) if seen)
        if fake.method not in ("slow face", "region replacement"):  # which may show it as it is
            assert differs == truth
        partial += not all(differs)
    assert partial


def test_the_tree_is_a_celeb_df_corpus(made: Path) -> None:
    records = read_corpus(made)
    assert len(records) == 8
    fakes = [r for r in records if r.label]
    assert all(r.segments and r.method in FAMILIES for r in fakes)
    assert {r.source for r in fakes} == {r.source for r in records if not r.label}


@pytest.mark.slow
def test_a_seed_makes_the_same_fakes_again(reals: Path, made: Path, tmp_path: Path) -> None:
    truth = read_table(made / "truth.jsonl")
    for folder, workers in (("again", 1), ("workers", 2)):
        make_fakes(reals, tmp_path / folder, engine=Engine(workers))
        for record in truth:
            again = tmp_path / folder / "Celeb-synthesis" / record.path.name
            off = np.abs(pictures(record.path) - pictures(again))
            assert not off.any()
    other = make_fakes(reals, tmp_path / "other", SynthSettings(seed=1)).fakes
    assert [r.segments for r in other] != [r.segments for r in truth]


def test_what_is_finished_is_kept_and_what_is_missing_is_made(
    reals: Path, made: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(made, out)
    kept = out / "Celeb-synthesis" / "id0_id0_0000.mp4"
    gone = out / "Celeb-synthesis" / "id1_id1_0001.mp4"
    before = kept.stat().st_mtime_ns
    gone.unlink()
    gone.with_suffix(".jsonl").unlink()
    make_fakes(reals, out)
    assert kept.stat().st_mtime_ns == before
    assert (pictures(gone) == pictures(made / "Celeb-synthesis" / gone.name)).all()
    with pytest.raises(UsageError, match="other settings"):
        make_fakes(reals, out, SynthSettings(seed=1))
    fewer = tmp_path / "fewer"
    shutil.copytree(reals, fewer)
    next(fewer.iterdir()).unlink()
    with pytest.raises(UsageError, match="of other recordings"):
        make_fakes(fewer, out)


def test_a_clip_without_a_face_makes_no_fake(tmp_path: Path, make_clip: MakeClip) -> None:
    (tmp_path / "in").mkdir()
    make_clip(tmp_path / "in" / "face.mp4", 1)
    (tmp_path / "in" / "text.mp4").write_text("no video")
    report = make_fakes(tmp_path / "in", tmp_path / "out")
    assert len(report.fakes) == 1
    assert ["text.mp4" in str(error) for error in report.failed] == [True]
    (tmp_path / "none").mkdir()
    with pytest.raises(CorpusError, match="holds no videos"):
        make_fakes(tmp_path / "none", tmp_path / "out")


def test_a_bug_at_one_recording_does_not_end_the_run(
    tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def buggy(path: Path, *rest: object) -> int:
        raise ZeroDivisionError

    clip = make_clip(tmp_path / "in" / "face.mp4", 1)
    monkeypatch.setattr(tree, "encode", buggy)
    report = make_fakes(tmp_path / "in", tmp_path / "out")
    assert report.fakes == []
    (error,) = report.failed
    assert isinstance(error, InternalError)
    assert error.path == clip


def test_fakes_are_never_taken_for_recordings(reals: Path, tmp_path: Path) -> None:
    for folder in ("Celeb-real", "Celeb-synthesis"):
        shutil.copytree(reals, tmp_path / folder)
    (tmp_path / "List_of_testing_videos.txt").write_text("1 Celeb-real/id9_0000.mp4\n")
    with pytest.raises(CorpusError, match="none of the videos"):
        make_fakes(tmp_path, tmp_path / "out")


def test_people_come_from_the_table(reals: Path, tmp_path: Path) -> None:
    (tmp_path / "in").symlink_to(reals)
    rows = "".join(f"in/person {n}.mp4,real,{who}\n" for n, who in enumerate("aba"))
    (tmp_path / "t.csv").write_text(f"path,label,identity\n{rows}in/person 3.mp4,fake,c\n")
    report = make_fakes(tmp_path / "t.csv", tmp_path / "out", SynthSettings(max_seconds=1))
    assert sorted(r.source or "" for r in report.fakes) == ["id0_0000", "id0_0002", "id1_0001"]


def test_the_file_says_nothing(made: Path) -> None:
    """Codec, format, size, rate and length are those of the recording; bytes nearly so."""
    for fake in read_table(made / "truth.jsonl"):
        facts = []
        for path in (made / "Celeb-real" / f"{fake.source}.mp4", fake.path):
            with av.open(str(path)) as file:
                stream = file.streams.video[0]
                facts.append(
                    (
                        file.format.name, stream.codec_context.name, stream.format.name,
                        stream.width, stream.height, stream.average_rate, stream.frames,
                        stream.duration, dict(file.metadata), dict(stream.metadata),
                    )
                )  # fmt: skip
        assert facts[0] == facts[1]
        sizes = [p.stat().st_size for p in (made / "Celeb-real" / f"{fake.source}.mp4", fake.path)]
        assert 0.6 < sizes[1] / sizes[0] < 1.6
