"""Many files at once: which, in which order, interrupted, resumed, watched; and every format."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import MakeClip, Unmask, random_video
from safetensors.torch import load_file, save_file

import unmask as package
from unmask.data import pt_file
from unmask.detection import batch
from unmask.detection.formats import as_edl, as_timeline, as_vtt
from unmask.detection.prediction import ModelId, Prediction, ScoredFace, ScoredTrack
from unmask.detection.selftest import SELFTEST, draw_faces
from unmask.detection.writers import FORMATS, PredictionWriter, finished
from unmask.segments import Segment


def faces(path: Path, seed: int = 0, count: int = 9) -> Path:
    """A `.pt` file, which is judged in no time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pt_file.write(path, random_video([count], seed))
    return path


@pytest.fixture
def many(tmp_path: Path) -> list[Path]:
    return [faces(tmp_path / "many" / f"{name}.pt", seed) for seed, name in enumerate("abcdef")]


def verdicts(text: str) -> list[str]:
    """File names of JSON lines, in their order."""
    return [Path(json.loads(line)["video"]).name for line in text.splitlines()]


# Which files


def test_paths_come_from_arguments_folders_patterns_and_standard_input(
    tmp_path: Path, model: Path, unmask: Unmask, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = (faces(tmp_path / name) for name in ("in/a[1].pt", "in/below/b.pt", "c.pt"))

    def judged(*arguments: object, listed: str = "") -> list[str]:
        stdin = io.TextIOWrapper(io.BytesIO(os.fsencode(listed)))
        monkeypatch.setattr(sys, "stdin", stdin)
        done = unmask("predict", *arguments, "--model", model, "--format", "jsonl")
        assert done.returncode == 0, done.stderr
        return verdicts(done.stdout)

    assert judged(tmp_path / "in", c) == [a.name, b.name, c.name]
    assert judged(tmp_path / "in", "--no-recursive") == [a.name]
    assert judged(tmp_path / "*.pt") == [c.name]
    assert judged("-", listed=f"{c}\r\n\n{a}") == [c.name, a.name]
    assert judged(c, "-", listed=f"{tmp_path / 'in'}\n") == [c.name, a.name, b.name]
    empty = unmask("predict", "-", "--model", model)  # all of it is read
    assert (empty.returncode, empty.stdout) == (1, "")
    assert "lists no file" in empty.stderr


def test_names_that_are_no_text_go_through(tmp_path: Path, model: Path, unmask: Unmask) -> None:
    odd = tmp_path / os.fsdecode(b"odd\xff.mp4")
    odd.write_text("no video")
    out = tmp_path / "out"
    for form in ("csv", "text", "jsonl"):
        done = unmask("predict", odd, "--model", model, "--format", form, "-o", out)
        assert done.returncode == 1
        assert "not a video" in done.stderr
    assert json.loads(out.read_text())["video"] == str(odd)


def test_same_stems_get_names_of_their_own() -> None:
    jobs = batch.name_jobs(["a/x.mp4", "b/x.mp4", "b/x_2.mp4", None, "c/x.mp4"])
    names = [job and job.name for job in jobs]
    assert names == ["x", "x_2", "x_2_2", None, "x_3"]


# Formats, read by other means than those that wrote them


@pytest.fixture
def prediction() -> Prediction:
    """Two people; the second one's segment is the first in time."""
    people = (ScoredTrack(0, 0, 3700, 0.9), ScoredTrack(1, 0, 9, 0.8))
    segments = (Segment(2.04, 3700.5, 0.91, 0), Segment(0.5, 0.51, 0.82, 1))
    timeline = (
        ScoredFace(0.0, 0.25, 0, (1.0, 2.0, 3.5, 4.0)),
        ScoredFace(1 / 3, 0.75, 1, (0,) * 4),
    )
    name, judge = 'dir/odd --> name,\n".mp4', ModelId("m", "")
    return Prediction(name, "fake", 0.9, segments, timeline, (), people, 1.0, judge)


def test_webvtt_has_the_segments_as_cues(prediction: Prediction) -> None:
    header, note, *cues = as_vtt(prediction).rstrip("\n").split("\n\n")
    assert header == "WEBVTT"
    assert note.startswith("NOTE\n")
    assert note.count("-->") == 0  # or it would be a cue
    assert note.count("\n") == 1
    found = []
    for cue in cues:
        times, text = cue.split("\n")
        match = re.fullmatch(r"(\d\d):(\d\d):(\d\d\.\d{3}) --> (\d\d):(\d\d):(\d\d\.\d{3})", times)
        assert match
        h, m, s, h2, m2, s2 = map(float, match.groups())
        person = int(text.rpartition(" ")[2])
        found.append((3600 * h + 60 * m + s, 3600 * h2 + 60 * m2 + s2, person))
    assert found == [(0.5, 0.51, 1), (2.04, 3700.5, 0)]


@pytest.mark.parametrize("fps", [24000 / 1001, 25.0, 30000 / 1001, 60.0])
def test_edit_lists_have_the_segments_as_events(prediction: Prediction, fps: float) -> None:
    title, mode, *lines = as_edl(prediction, fps).splitlines()
    assert title.startswith("TITLE: odd -> name")
    assert mode == "FCM: NON-DROP FRAME"
    events = [line.split() for line in lines if re.match(r"\d{3} ", line)]
    assert [event[:4] for event in events] == [[f"00{n}", "AX", "V", "C"] for n in (1, 2)]

    def frames(code: str) -> int:
        h, m, s, f = map(int, code.split(":"))
        assert f < round(fps)
        return (3600 * h + 60 * m + s) * round(fps) + f

    end = 0
    for event, (start, stop) in zip(events, [(0.5, 0.51), (2.04, 3700.5)], strict=True):
        source_in, source_out, record_in, record_out = map(frames, event[4:])
        assert source_in == pytest.approx(start * fps, abs=0.51)
        assert source_out == pytest.approx(stop * fps, abs=1.01)
        assert record_out - record_in == source_out - source_in > 0
        assert record_in == end
        end = record_out


def test_the_timeline_is_a_row_a_face(prediction: Prediction) -> None:
    rows = list(csv.reader(io.StringIO(as_timeline(prediction), newline="")))
    assert rows == [
        [prediction.video, "0.000", "0", "0.250000", "1.0", "2.0", "3.5", "4.0"],
        [prediction.video, "0.333", "1", "0.750000", "0", "0", "0", "0"],
    ]


def test_vtt_and_edl_of_several_videos_make_a_folder(
    tmp_path: Path, make_clip: MakeClip, model: Path, unmask: Unmask
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", 1)
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    one = unmask("predict", clip, "--model", model, "--format", "vtt")
    assert one.stdout.startswith("WEBVTT\n\nNOTE\nclip.mp4: ")
    assert unmask("predict", clip, bad, "--model", model, "--format", "edl").returncode == 2
    out = tmp_path / "out"
    several = unmask(
        "predict", clip, bad, clip, "--model", model, "--format", "edl", "-o", out
    )  # fmt: skip
    assert several.returncode == 1
    assert sorted(path.name for path in out.iterdir()) == ["clip.edl", "clip_2.edl"]
    assert (out / "clip.edl").read_text().startswith("TITLE: clip.mp4\nFCM: NON-DROP FRAME\n")


@pytest.mark.parametrize("form", FORMATS)
def test_whatever_finishes_first_the_order_is_that_of_the_inputs(
    form: str, tmp_path: Path, prediction: Prediction
) -> None:
    outputs = []
    for order in ([0, 1, 2, 3], [2, 3, 1, 0]):
        out = tmp_path / f"{order[0]}"
        with PredictionWriter(form, out) as writer:
            for number in order:
                named = Prediction(f"{number}.mp4", *list(vars(prediction).values())[1:])
                writer.add(named, number, str(number))
        files = sorted(out.iterdir()) if out.is_dir() else [out]
        outputs.append([file.read_bytes() for file in files])
    if form == "jsonl":  # as each finishes
        outputs = [sorted(output[0].splitlines()) for output in outputs]
    assert outputs[0] == outputs[1]


@pytest.mark.slow
def test_with_two_processes_the_output_is_the_same(
    many: list[Path], model: Path, make_clip: MakeClip, unmask: Unmask
) -> None:
    folder = many[0].parent
    make_clip(folder / "clip.mp4", 2)
    (folder / "bad.mp4").write_text("no video")
    runs = [
        unmask("predict", folder, "--model", model, "--format", "json", "--workers", number)
        for number in (1, 2)
    ]
    assert runs[0] == runs[1]
    assert len(json.loads(runs[0].stdout)) == 8
    assert runs[0].returncode == 1


# Interrupted and resumed


@contextmanager
def started(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """The command in a process of its own, gone in the end."""
    paths = os.pathsep.join([str(Path(package.__file__).parents[1]), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-m", "unmask", "predict", *map(str, arguments)],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stderr
        process.stderr.close()


def wait_for_lines(path: Path, count: int, process: "subprocess.Popen[str]") -> None:
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "header"), [("jsonl", 0), ("csv", 1)])
def test_killed_and_resumed_is_as_if_nothing_had_been(
    form: str, header: int, many: list[Path], model: Path, tmp_path: Path, unmask: Unmask
) -> None:
    """Killed while it hangs at the third of six, and the power cut tears the last line."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    how = [*many, "--model", model, "--format", form, "-o"]
    assert unmask("predict", *how, whole).returncode == 0
    kept = many[2].rename(tmp_path / "kept")
    state = kept.stat()
    os.mkfifo(many[2])
    with started(*how, out) as process:
        wait_for_lines(out, header + 2, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    shutil.move(kept, many[2])
    assert many[2].stat().st_mtime_ns == state.st_mtime_ns
    third = whole.read_bytes().splitlines(keepends=True)[header + 2]
    out.write_bytes(out.read_bytes() + third[: len(third) // 2])
    resumed = unmask("predict", *how, out, "--resume")
    assert resumed.returncode == 0
    assert "6 videos: 6 scored" in resumed.stderr
    assert "2 of them before" in resumed.stderr
    assert out.read_bytes() == whole.read_bytes()
    unmask("predict", *how, out, "--resume")
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_finished(many: list[Path], model: Path, tmp_path: Path) -> None:
    many[2].unlink()
    os.mkfifo(many[2])
    out = tmp_path / "out"
    with started(*many, "--model", model, "--format", "jsonl", "-o", out) as process:
        wait_for_lines(out, 2, process)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130
    assert verdicts(out.read_text()) == ["a.pt", "b.pt"]
    total, interrupted = filter(None, said.splitlines())
    assert total.startswith("2 videos: 2 scored")
    assert "interrupted; what was finished is kept" in interrupted


def test_resuming_knows_a_video_by_file_model_and_faces(
    many: list[Path], model: Path, tmp_path: Path, unmask: Unmask
) -> None:
    out = tmp_path / "out.jsonl"
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")

    def resume(*arguments: object) -> list[str]:
        """What was added to the output."""
        before = out.read_text() if out.exists() else ""
        how = ["--format", "jsonl", "-o", out, "--resume", "--model", model]
        done = unmask("predict", *how, *arguments)
        assert done.returncode == (1 if bad in arguments else 0)
        after = out.read_text()
        assert after.startswith(before)
        return verdicts(after[len(before) :])

    a, b = many[:2]
    assert resume(a) == ["a.pt"]
    assert resume(a, b, bad) == ["b.pt", "bad.mp4"]
    assert resume(bad, b, a) == []  # a failure is a result; it still counts
    assert resume(a, a) == ["a.pt"]  # a line stands for one input
    faces(a, 77)
    assert resume(a, b) == ["a.pt"]
    other = tmp_path / "other"
    shutil.copytree(model, other)
    config = json.loads((other / "config.json").read_text())
    config["decision"]["smoothing"] = 1
    (other / "config.json").write_text(json.dumps(config))
    assert resume(b, "--model", other) == ["b.pt"]
    assert resume("--faces", "1", bad) == ["bad.mp4"]
    assert resume("--faces", "1", bad) == []


def test_resuming_refuses_what_it_did_not_write(
    many: list[Path], model: Path, tmp_path: Path, unmask: Unmask
) -> None:
    out = tmp_path / "out"
    for form, content in (("jsonl", '{"a": 1}\n'), ("jsonl", "hello\n"), ("csv", "video,b\n1,2\n")):
        out.write_text(content)
        done = unmask(
            "predict", many[0], "--model", model, "--format", form, "-o", out, "--resume"
        )  # fmt: skip
        assert done.returncode == 1
        assert "line 1 is no prediction in this format" in done.stderr
        assert out.read_text() == content
    for arguments in (["--format", "jsonl"], ["--format", "json", "-o", out]):
        done = unmask("predict", many[0], "--model", model, "--resume", *arguments)
        assert done.returncode == 2
        assert "--resume needs -o FILE and --format jsonl or csv" in done.stderr


def test_torn_lines_are_cut_off_wherever_they_tear(tmp_path: Path, prediction: Prediction) -> None:
    """Also in the middle of a name that holds a line end, or before the header is whole."""
    for form in ("csv", "jsonl"):
        out = tmp_path / form
        with PredictionWriter(form, out) as writer:
            for number in range(2):
                writer.add(prediction, number, "")
        content = out.read_bytes()
        for length in range(len(content) + 1):
            out.write_bytes(content[:length])
            rows = finished(form, out)
            assert rows in ([], [("", "fake")], [("", "fake")] * 2)
            with PredictionWriter(form, out, append=True) as writer:
                for number in range(2 - len(rows)):
                    writer.add(prediction, number, "")
            assert out.read_bytes() == content


# What is said of them all


def test_totals_stand_last(many: list[Path], model: Path, tmp_path: Path, unmask: Unmask) -> None:
    none = tmp_path / "none.mp4"
    done = unmask("predict", many[0], none, many[1], "--model", model)
    assert done.returncode == 1
    total = done.stderr.splitlines()[-1]
    counts = list(map(int, re.findall(r"\d+", total)))
    assert counts[:2] == [3, 2]
    assert sum(counts[2:5]) == 2
    assert counts[5:] == [1]
    assert unmask("predict", many[0], "--model", model).stderr == ""
    quiet = unmask("-q", "predict", many[0], none, "--model", model)
    assert quiet.stderr == f"unmask: {none}: no such file\n"


# Watching a folder


def test_a_file_is_complete_when_it_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_POLL", 0)
    monkeypatch.setattr(batch, "_SETTLED", 0)
    file, notes, coming = tmp_path / "a.mp4", tmp_path / "notes.txt", batch.watch(tmp_path)
    assert next(coming) is None
    notes.touch()
    for size in (0, 0, 1, 2, 3):
        file.write_bytes(bytes(size))
        assert next(coming) is None
    assert next(coming) == str(file)
    assert [next(coming) for _ in range(3)] == [None] * 3
    file.write_bytes(bytes(9))
    assert [next(coming) for _ in range(4)] == [None, str(file), None, None]
    file.unlink()
    assert next(coming) is None


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_videos_are_judged_as_they_come_until_an_interrupt(
    workers: int, tmp_path: Path, model: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    first = faces(folder / "first.pt")
    how = ["--model", model, "--format", "jsonl", "-o", out, "--workers", workers]
    with started("--watch", folder, *how) as process:
        wait_for_lines(out, 1, process)
        (folder / "bad.mp4").write_text("no video")
        wait_for_lines(out, 2, process)
        shutil.copy(first, folder / "last.pt")
        wait_for_lines(out, 3, process)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130
    assert verdicts(out.read_text()) == ["first.pt", "bad.mp4", "last.pt"]
    assert "3 videos: 2 scored" in said


def test_a_folder_is_watched_or_paths_are_given(
    model: Path, tmp_path: Path, unmask: Unmask
) -> None:
    done = unmask("predict", tmp_path, "--watch", tmp_path)
    assert done.returncode == 2
    assert "one of them" in done.stderr


# The self-test


def test_the_selftest_tells_right_weights_from_wrong_ones(
    model: Path, tmp_path: Path, unmask: Unmask
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    none = unmask("selftest", "--model", folder)
    assert none.returncode == 1
    assert "selftest.json: no such file" in none.stderr
    assert unmask("selftest", "--model", folder, "--write").returncode == 0
    kept = (folder / SELFTEST).read_text()
    right = unmask("selftest", "--model", folder)
    assert right.returncode == 0
    assert "all is well" in right.stdout

    weights = folder / "model.safetensors"
    state = load_file(weights)
    name = next(name for name in state if name.startswith("head.") and name.endswith("weight"))
    state[name] = -state[name]
    save_file(state, weights)
    wrong = unmask("selftest", "--model", folder)
    assert wrong.returncode == 1
    assert "of the weights" in wrong.stderr

    now = hashlib.sha256(weights.read_bytes()).hexdigest()
    was = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    (folder / SELFTEST).write_text(kept.replace(was, now))  # as of a build that computes wrongly
    off = unmask("selftest", "--model", folder)
    assert off.returncode == 1
    assert "off, more than" in off.stderr
    assert unmask("selftest", "--model", folder, "--write").returncode == 0
    assert unmask("selftest", "--model", folder).returncode == 0


def test_drawn_faces_are_the_same_everywhere() -> None:
    drawn = draw_faces(12, 64)
    digest = hashlib.sha256(drawn.tobytes()).hexdigest()
    assert digest.startswith("290248704a95ff53")
