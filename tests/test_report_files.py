"""What reports leave on the disk: copies, names, facts, an index; and whether they hold."""

import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from conftest import Image, MakeClip, Unmask, filmed, random_video
from reports import movie as movie
from reports import predicted
from reports import reporter as reporter
from test_formats import read_counter
from test_video import write_times

import unmask as package
from unmask.data import pt_file
from unmask.detection.detector import Detector
from unmask.detection.prediction import (
    ScoredFace,
)
from unmask.errors import FileError, ReportError
from unmask.report import page as report_page
from unmask.report import write
from unmask.report.document import read_document
from unmask.report.footage import look, telling
from unmask.report.index import write_index
from unmask.report.page import clock
from unmask.report.playable import is_playable, write_copy
from unmask.report.verify import compare, find_video
from unmask.report.write import write_report
from unmask.video.encoder import encode
from unmask.video.reader import Video


def test_a_copy_is_small_and_plays(photo: Image, tmp_path: Path) -> None:
    source, copy = tmp_path / "still.mkv", tmp_path / "copy.mp4"
    encode(source, filmed(photo, 4, side=1000), Fraction(2), 30, "libx265")
    with Video(source) as video:
        assert not is_playable(source, video.info)
    write_copy(source, copy)
    with Video(copy) as video:
        assert is_playable(copy, video.info)
        assert (video.info.width, video.info.height) == (480, 480)
        assert [frame.time for frame in video.frames()] == [0, 0.5, 1, 1.5]


def test_a_copy_keeps_the_times(tmp_path: Path) -> None:
    """A picture that stays on display is repeated, so that the curve fits the copy."""
    source, copy = tmp_path / "vfr.mkv", tmp_path / "copy.mp4"
    times = [0, 0.1, 0.2, 0.3, 2.0, 2.1, 2.2, 4.0]
    write_times(source, times)
    write_copy(source, copy)
    with Video(copy) as video:
        assert video.info.fps is not None
        slack = 0.5 / video.info.fps + 2e-3
        shown = [(frame.time, read_counter(frame.rgb)) for frame in video.frames()]
    assert shown[-1][0] == pytest.approx(4.0, abs=slack)
    for time, number in shown:
        assert times[number] <= time + slack
        assert number == len(times) - 1 or time <= times[number + 1] + slack


def test_what_failed_has_a_report(reporter: Detector, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    gone = tmp_path / "gone.mp4"
    for path, prediction in zip((broken, gone), reporter.predict([broken, gone]), strict=True):
        text = write_report(prediction, reporter, tmp_path).read_text()
        assert "Not analysed" in text
        assert "<video" not in text
        assert prediction.reason is not None
        assert (read_document(tmp_path / f"{path.stem}.html").file is None) == (path == gone)


def test_a_report_of_faces_needs_no_video(reporter: Detector, tmp_path: Path) -> None:
    faces = tmp_path / "faces.pt"
    pt_file.write(faces, random_video([9]))
    prediction = reporter.predict(faces)
    text = write_report(prediction, reporter, tmp_path).read_text()
    assert "<video" not in text
    assert text.count('class="original"') == 9


def test_a_page_is_never_that_of_another_file(
    movie: Path, reporter: Detector, make_clip: MakeClip, tmp_path: Path
) -> None:
    other = make_clip(tmp_path / "other" / "clip.mp4", start=50)
    out = tmp_path / "out"
    names = [
        write_report(predicted(video=str(video)), reporter, out, page=page).name
        for video, page in ((movie, None), (other, None), (movie, None), (movie, "index"))
    ]
    assert names == ["clip.html", "clip_2.html", "clip.html", "index_2.html"]
    long = write_report(predicted(video=str(movie)), reporter, out, page="ü" * 300)
    assert long.exists()


def test_a_service_says_where_its_video_is(movie: Path, reporter: Detector, tmp_path: Path) -> None:
    path = write_report(
        predicted(video="upload-17.tmp"),
        reporter,
        tmp_path,
        name="holiday.mp4",
        page="17",
        video=movie,
        video_url="/jobs/17/video",
    )
    assert path == tmp_path / "17.html"
    text = path.read_text()
    assert 'src="/jobs/17/video"' in text
    assert "upload-17" not in text
    assert read_document(path).source is None
    without = write_report(predicted(), reporter, tmp_path, video=movie, page="18", video_url="")
    assert "<video" not in without.read_text()


def test_names_of_any_bytes(movie: Path, reporter: Detector, tmp_path: Path) -> None:
    video = Path(shutil.copy(movie, tmp_path / os.fsdecode(b"odd\xff.mp4")))
    path = write_report(predicted(video=str(video)), reporter, tmp_path)
    document = read_document(path)
    assert (document.name, document.player) == ("odd?.mp4", "odd%FF.mp4")
    assert find_video(document, path) == video
    assert write_index(tmp_path).read_text().count("odd?.mp4</a>") == 1


def test_cuts_and_the_telling_faces(photo: Image, reporter: Detector, tmp_path: Path) -> None:
    video, views = tmp_path / "cut.mp4", filmed(photo, 30)
    encode(video, (255 - v if n >= 15 else v for n, v in enumerate(views)), Fraction(10), 18)
    prediction = predicted(video=str(video))
    footage = look(prediction, reporter.bundle.spec, video)
    assert footage.cuts == (1.5,)
    assert [face.high for face in footage.faces] == [True] * 6 + [False] * 6
    scores = [face.scored.score for face in footage.faces]
    assert scores[:6] == sorted(scores[:6], reverse=True)
    assert max(scores[6:]) <= min(scores[:6])
    assert len({face.scored for face in footage.faces}) == 12
    moments = [0.1 * k for k in range(100)]  # the highest scores lie at the beginning
    many = tuple(ScoredFace(t, 1 - t / 20, 0, (0.0, 0.0, 9.0, 9.0)) for t in moments)
    high = [n for n, is_high in telling(many).items() if is_high]
    assert [many[n].time for n in high] == pytest.approx([0, 1, 2, 3, 4, 5], abs=0.11)


def test_times_are_those_of_a_player() -> None:
    assert [clock(t) for t in (0, 2.34, 59.96, 3725.5)] == [
        "0:00.0", "0:02.3", "1:00.0", "1:02:05.5",
    ]  # fmt: skip


# Checked again


@pytest.fixture
def judged(unmask: Unmask, model: Path, movie: Path, tmp_path: Path) -> Path:
    """A report of the command."""
    video = Path(shutil.copy(movie, tmp_path / "clip.mp4"))
    done = unmask("predict", video, "--model", model, "--report", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    return tmp_path / "out" / "clip.html"


def test_verify_says_whether_a_report_holds(
    judged: Path, unmask: Unmask, model: Path, tmp_path: Path
) -> None:
    same = unmask("verify", judged, "--model", model)
    assert (same.returncode, same.stderr) == (0, "")
    assert "same result" in same.stdout
    document = read_document(judged)
    assert len(document.prediction["stability"]) == 3  # on in reports

    text = judged.read_text()
    score = document.prediction["confidence"]
    forged = judged.with_name("forged.html")
    forged.write_text(text.replace(f'"confidence":{score}', f'"confidence":{score / 2}'))
    other = unmask("verify", forged, "--model", model)
    assert other.returncode == 1
    assert f"confidence was {score / 2:g}, now {score:g}" in other.stdout

    video = tmp_path / "clip.mp4"
    moved = video.rename(tmp_path / "moved.mp4")
    missing = unmask("verify", judged, "--model", model)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "clip.mp4: missing" in missing.stderr
    assert unmask("verify", judged, "--model", model, "--video", moved).returncode == 0
    video.write_bytes(moved.read_bytes() + b"\0")
    changed = unmask("verify", judged, "--model", model)
    assert changed.returncode == 1
    assert "the file was changed" in changed.stdout


def test_verify_wants_the_model_of_the_report(judged: Path, unmask: Unmask) -> None:
    unnamed = unmask("verify", judged)
    assert unnamed.returncode == 1
    assert "name it with --model" in unnamed.stderr
    other = unmask("verify", judged, "--model", "small")
    assert other.returncode == 1
    assert "another model" in other.stdout


def test_what_is_no_report_is_said_so(tmp_path: Path, unmask: Unmask) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>hello</p>")
    with pytest.raises(ReportError, match="no report"):
        read_document(page)
    page.write_text('{"format": 1}')
    with pytest.raises(ReportError, match="name"):
        read_document(page)
    assert unmask("verify", tmp_path / "none.html").returncode == 1


def test_numbers_are_compared_with_some_tolerance() -> None:
    before = {"a": [0.5, {"b": 1.0}], "c": True, "d": None}
    assert list(compare("x", before, {"a": [0.505, {"b": 1.0}], "c": True, "d": None})) == []
    now = {"a": [0.52, {"b": 1.0}, 2], "c": False, "d": 0.0}
    assert list(compare("x", before, now)) == [
        "x.a[0] was 0.5, now 0.52",
        "x.a[2] was None, now 2",
        "x.c was True, now False",
        "x.d was None, now 0.0",
    ]


# Many


def test_an_index_holds_the_reports_of_earlier_runs(
    tmp_path: Path, unmask: Unmask, model: Path, movie: Path
) -> None:
    out, reports = tmp_path / "out.jsonl", tmp_path / "reports"
    videos = [Path(shutil.copy(movie, tmp_path / f"{name}.mp4")) for name in "abc"]
    options = ("--model", model, "--report", reports, "--no-stability")
    written = ("--format", "jsonl", "-o", out)
    assert unmask("predict", videos[0], *options, *written).returncode == 0
    done = unmask("predict", *videos, *options, *written, "--resume", "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in reports.iterdir()} == {
        "a.html", "b.html", "c.html", "index.html",
    }  # fmt: skip
    index = (reports / "index.html").read_text()
    assert all(f'href="./{name}.html"' in index for name in "abc")
    assert len(out.read_text().splitlines()) == 3
    assert read_document(reports / "a.html").prediction["stability"] is None


def test_a_report_that_cannot_be_written_costs_that_video_only(
    tmp_path: Path, unmask: Unmask, model: Path, movie: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = report_page.render

    def render(document: Any, *rest: Any) -> str:
        if document.name == "a.mp4":
            raise FileError("a.html", "cannot be written: disk full")
        if document.name == "b.mp4":
            raise ZeroDivisionError("a bug")
        return real(document, *rest)

    monkeypatch.setattr(write, "render", render)
    videos = [Path(shutil.copy(movie, tmp_path / f"{name}.mp4")) for name in "abc"]
    reports = tmp_path / "reports"
    options = ("--model", model, "--no-stability", "--format", "csv")
    done = unmask("predict", *videos, "--report", reports, *options)
    assert done.returncode == 1
    assert "a.html: cannot be written: disk full" in done.stderr
    assert "b.mp4: report: ZeroDivisionError: a bug (a bug in unmask" in done.stderr
    assert len(done.stdout.splitlines()) == 4  # every result is there
    assert {path.name for path in reports.iterdir()} == {"c.html", "index.html"}
    (tmp_path / "file").write_text("")
    done = unmask("predict", videos[0], "--report", tmp_path / "file" / "in", *options)
    assert done.returncode == 1


def test_the_front_door_writes_reports(tmp_path: Path, model: Path, movie: Path) -> None:
    judge = package.load_model(model)
    page = package.write_report(judge.predict(movie), judge, tmp_path)
    assert page == tmp_path / "clip.html"
    assert read_document(page).origin.command.startswith("unmask predict clip.mp4 --model")
