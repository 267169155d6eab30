"""The command, as a user types it: exit status, what goes where, and one clear line on errors."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from conftest import MakeClip, Unmask

SCRIPT = Path(sys.executable).with_name("unmask")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["module", "script"])
def test_a_process_of_its_own(name: str, clip: Path, model: Path) -> None:
    """The two entry points; the tests below call what these call."""
    command = [SCRIPT] if name == "script" else [sys.executable, "-m", "unmask"]
    done = subprocess.run(
        [*command, "predict", "NOWHERE", clip, "--model", model, "--format", "jsonl"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    failure, total = done.stderr.splitlines()
    assert failure == "unmask: NOWHERE: no such file"
    assert total.startswith("2 videos: 1 scored (")
    failed, judged = map(json.loads, done.stdout.splitlines())
    assert failed["verdict"] == "failed"
    check_contract(judged)


@pytest.mark.slow
def test_the_road(tmp_path: Path, make_clip: MakeClip, unmask: Unmask) -> None:
    """Recordings -> fakes -> split -> faces -> model -> metrics -> verdict, verb by verb."""
    for number in range(6):
        make_clip(tmp_path / "reals" / f"{number}.mp4", 4, start=31 * number)
    steps: list[list[str | Path]] = [
        ["synth", "reals", "raw", "--seed", "3", "--workers", "1"],
        ["split", "raw", "tree", "--by", "identity", "--ratios", "0.5", "0.25", "0.25"],
        ["preprocess", "tree", "faces", "--fps", "4", "--size", "32", "--length", "8",
         "--overlap", "2", "--workers", "2"],
        ["train", "faces", "--out", "model", "--set", "epochs=2", "--set", "backbone=test_resnet",
         "--set", "weights=random", "--set", "hidden=8", "--set", "workers=0"],
        ["evaluate", "faces", "--model", "model", "--out", "evaluation"],
        ["predict", "reals/0.mp4", "--model", "model", "--format", "json", "-o", "out.json"],
        ["predict", "faces/test", "--model", "model"],
        ["info", "model", "reals/0.mp4"],
    ]  # fmt: skip
    for step in steps:
        arguments = [tmp_path / a if a in PLACES or "/" in str(a) else a for a in step]
        done = unmask(*arguments)
        assert done.returncode == 0, (step, done.stdout, done.stderr)
    for name in ("test_metrics_summary.json", "test_detailed_predictions.json"):
        assert json.loads((tmp_path / "evaluation" / name).read_text())
        assert json.loads((tmp_path / "model" / "evaluation" / name).read_text())
    check_contract(json.loads((tmp_path / "out.json").read_text()))


PLACES = {"reals", "raw", "tree", "faces", "model", "evaluation", "out.json"}


def check_contract(p: dict[str, Any]) -> None:
    assert p.keys() >= {
        "video", "verdict", "is_fake", "confidence", "segments", "timeline", "windows", "tracks",
        "coverage", "reason", "model",
    }  # fmt: skip
    assert p["model"].keys() == {"name", "sha256"}
    if p["verdict"] == "failed":
        assert p["confidence"] is p["is_fake"] is None
        assert p["reason"]
        return
    assert p["verdict"] in ("fake", "real", "inconclusive")
    assert 0 <= p["confidence"] <= 1
    assert 0 < p["coverage"] <= 1
    times = [entry["time"] for entry in p["timeline"]]
    assert times == sorted(times)
    assert all(0 <= entry["score"] <= 1 for entry in p["timeline"] + p["windows"])
    assert all(w["start"] <= w["end"] for w in p["windows"])
    assert all(t.keys() == {"id", "start", "end", "confidence"} for t in p["tracks"])
    for s in p["segments"]:
        assert s["start"] < s["end"]
        assert s.keys() == {"start", "end", "start_time", "end_time", "confidence", "track"}


def test_predict_in_every_format(clip: Path, model: Path, tmp_path: Path, unmask: Unmask) -> None:
    other = shutil.copy(clip, tmp_path / "other.mp4")
    one = unmask("predict", clip, "--model", model, "--format", "json")
    check_contract(json.loads(one.stdout))
    several = unmask("predict", clip, other, "--model", model, "--format", "json")
    assert [p["video"] for p in json.loads(several.stdout)] == [str(clip), str(other)]
    lines = unmask("predict", tmp_path, "--model", model, "--format", "jsonl")
    objects = [json.loads(line) for line in lines.stdout.splitlines()]
    assert len(objects) == 2
    for p in objects:
        check_contract(p)
    table = unmask("predict", tmp_path / "*.mp4", "--model", model, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    assert [row["video"] for row in rows] == sorted([str(clip), str(other)])
    text = unmask("predict", clip, "--model", model)
    assert "probability of fake 0." in text.stdout
    assert all(done.returncode == 0 for done in (one, several, lines, table, text))
    assert one.stderr == ""
    written = unmask("predict", clip, "--model", model, "--format", "jsonl", "-o", tmp_path / "o")
    assert written.stdout == ""
    check_contract(json.loads((tmp_path / "o").read_text()))


def test_one_bad_video_does_not_stop_the_others(
    clip: Path, model: Path, tmp_path: Path, unmask: Unmask
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    none = tmp_path / "none.mp4"
    done = unmask("predict", bad, clip, none, "--model", model, "--format", "json")
    assert done.returncode == 1
    predictions = json.loads(done.stdout)
    for p in predictions:
        check_contract(p)
    assert [p["verdict"] == "failed" for p in predictions] == [True, False, True]
    assert done.stderr.splitlines()[:2] == [
        f"unmask: {bad}: not a video that can be read (damaged, or no video)",
        f"unmask: {none}: no such file",
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "cause"),
    [
        (["predict"], 2, "Missing argument"),
        (["predict", "x.mp4", "--model", "nothing"], 1, "comes along (small)"),
        (["predict", "x.mp4", "--model", "MODEL", "--faces", "few"], 2, "faces must be"),
        (["predict", "x.mp4", "--model", "MODEL", "--format", "xml"], 2, "'xml' is not one of"),
        (["predict", "x.mp4", "--model", "MODEL", "--device", "abacus"], 2, "not to be had"),
        (["predict", "x.mp4", "--model", "NOWHERE"], 1, "NOWHERE: no such file"),
        (["predict", "EMPTY", "--model", "MODEL"], 1, "EMPTY: holds no videos"),
        (["predict", "EMPTY/*.mp4", "--model", "MODEL"], 1, "matches no file"),
        (["predict", "x", "--model", "MODEL", "-o", "TEXT/o"], 1, "cannot be written"),
        (["predict", "x", "--model", "MODEL", "-o", "TEXT/o", "--format", "jsonl"], 1, "cannot be"),
        (["split", "EMPTY", "out"], 1, "EMPTY: no known layout"),
        (["split", "EMPTY", "out", "--by", "hair"], 2, "'hair' is not one of"),
        (["preprocess", "EMPTY", "OUT"], 1, "EMPTY: holds no videos"),
        (["preprocess", "TEXT", "OUT"], 1, "not a video"),
        (["synth", "EMPTY", "OUT"], 1, "EMPTY: holds no videos"),
        (["train", "EMPTY", "--out", "OUT"], 1, "no such folder"),
        (["train", "EMPTY", "--out", "OUT", "--set", "x"], 2, "key=value"),
        (["train", "EMPTY", "--out", "OUT", "--set", "x=1"], 2, "unknown setting 'x'"),
        (["train", "EMPTY", "--out", "OUT", "--preset", "x"], 2, "unknown preset"),
        (["evaluate", "EMPTY"], 2, "name one with --model"),
        (["evaluate", "TEXT"], 1, "Invalid JSON"),
        (["info", "TEXT"], 1, "not a video"),
        (["fly"], 2, "No such command"),
    ],
)
def test_errors_are_one_line_and_a_status(
    arguments: list[str], status: int, cause: str, tmp_path: Path, model: Path, unmask: Unmask
) -> None:
    empty, text = tmp_path / "EMPTY", tmp_path / "TEXT"
    empty.mkdir()
    text.write_text("hello")
    places = {
        "MODEL": model,
        "TEXT": text,
        "TEXT/o": text / "o",
        "OUT": tmp_path / "OUT",
        "EMPTY": empty,
    }
    done = unmask(*(places.get(a, str(empty / "*.mp4") if "*" in a else a) for a in arguments))
    assert done.returncode == status, done.stderr
    assert cause in done.stderr
    assert "Traceback" not in done.stderr
    if "Usage:" not in done.stderr:
        assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_preprocess_reports_the_broken_and_goes_on(
    clip: Path, tmp_path: Path, unmask: Unmask
) -> None:
    (clip.parent / "bad.mp4").write_text("no video")
    done = unmask("preprocess", clip.parent, tmp_path / "out", "--workers", "1")
    assert done.returncode == 1
    assert "1 written, 0 already there, 0 of them without a face, 1 failed" in done.stdout
    assert "bad.mp4: not a video" in done.stderr
    again = unmask("preprocess", clip.parent, tmp_path / "out", "--workers", "1")
    assert "0 written, 1 already there" in again.stdout


def test_one_video_becomes_one_pt(clip: Path, tmp_path: Path, unmask: Unmask) -> None:
    done = unmask("preprocess", clip, tmp_path / "faces.pt")
    assert done.returncode == 0
    assert "9 faces in 9 sampled frames" in done.stdout
    info = json.loads(unmask("info", tmp_path / "faces.pt").stdout)
    assert info["made_with"]["target_fps"] == 3
    assert info["people"][0]["faces"] == 9


@pytest.mark.slow
def test_a_closed_pipe_is_no_traceback(clip: Path, model: Path) -> None:
    command = f"{sys.executable} -m unmask predict {clip} --model {model} --format json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_a_contact_sheet_shows_the_people(
    tmp_path: Path, make_clip: MakeClip, unmask: Unmask
) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    done = unmask("info", clip, "--sheet", tmp_path / "sheet.png")
    assert json.loads(done.stdout)["people"] == 1
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    assert sheet.std() > 20
    assert unmask("info", clip, clip, "--sheet", tmp_path / "two.png").returncode == 2
    assert unmask("info", clip, "--sheet", tmp_path / "sheet.mp3").returncode == 2


def test_a_video_that_takes_too_long_fails_and_says_so(
    tmp_path: Path, make_clip: MakeClip, model: Path, unmask: Unmask
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", 60)
    verbs: list[list[str | Path]] = [
        ["preprocess", clip, tmp_path / "x.pt"],
        ["predict", clip, "--model", model],
    ]
    for verb in verbs:
        done = unmask(*verb, "--timeout", "0.01")
        assert done.returncode == 1
        assert f"{clip}: takes longer than 0.01 s" in done.stderr
    assert not (tmp_path / "x.pt").exists()


def test_exact_is_kept_in_the_file(tmp_path: Path, make_clip: MakeClip, unmask: Unmask) -> None:
    clip = make_clip(tmp_path / "clip.mp4", 1)
    for flags in ([], ["--exact"]):
        assert unmask("preprocess", clip, tmp_path / "x.pt", *flags).returncode == 0
        made_with = json.loads(unmask("info", tmp_path / "x.pt").stdout)["made_with"]
        assert made_with["exact"] is bool(flags)
