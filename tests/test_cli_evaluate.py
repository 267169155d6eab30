"""`unmask evaluate` and its options, as a user gives them."""

import json
from pathlib import Path
from typing import Any

import pytest

from unmask.cli import cli
from unmask.errors import UnmaskError
from unmask.evaluation import read_scores

pytestmark = pytest.mark.usefixtures("logger_as_it_was")


def evaluate(*arguments: object) -> object:
    return cli(["-q", "evaluate", *map(str, arguments)], standalone_mode=False)


def report(out: Path) -> dict[str, Any]:
    content = json.loads((out / "report.json").read_text())
    assert isinstance(content, dict)
    return content


def scores(path: Path, prefix: str, shift: float = 0.0) -> Path:
    lines = ["video,label,score,method"]
    for k in range(20):
        lines.append(f"{prefix}{k},{k % 2},{0.3 + 0.02 * k + 0.2 * (k % 2) + shift:.3f},m{k % 2}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_videos_and_their_faces_give_the_same_report(
    processed: Path, model: Path, tmp_path: Path
) -> None:
    assert evaluate(processed, "--model", model, "--out", tmp_path / "pt") == 0
    raw = processed.parent / "split"
    assert evaluate(raw, "--model", model, "--out", tmp_path / "mp4") == 0
    one, other = report(tmp_path / "pt"), report(tmp_path / "mp4")
    assert one["metrics"] == other["metrics"]
    brier = [r["levels"]["frame"]["measures"]["brier"]["value"] for r in (one, other)]
    assert brier[0] == pytest.approx(brier[1], abs=1e-3)
    kinds = [[row["by"] for row in r["slices"]] for r in (one, other)]
    assert kinds == [["category", "category", "resolution", "face size"]] * 2
    for out in ("pt", "mp4"):  # both show the faces of the mistake
        assert "data:image/jpeg" in (tmp_path / out / "report.html").read_text()


@pytest.mark.slow
def test_fitting_on_another_split_or_file(processed: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--goal", "eer", "--calibrate", "temperature", "--out", out]
    evaluate(processed, "--model", model, "--fit", "train", *options)
    found = report(out)
    assert found["goal"] == "eer"
    assert found["calibration"]["videos"] == 6
    held_out, reported = scores(tmp_path / "a.csv", "a"), scores(tmp_path / "b.csv", "b", 0.05)
    evaluate(reported, "--fit", held_out, "--goal", "accuracy", "--out", out)
    assert report(out)["metrics"]["threshold"] == pytest.approx(0.55, abs=0.1)
    with pytest.raises(UnmaskError, match="20 of its videos are among those reported"):
        evaluate(reported, "--fit", reported, *options)


def test_cross_fitting_judges_each_video_by_what_others_fitted(
    processed: Path, model: Path, tmp_path: Path
) -> None:
    """The scores are one rising function of the raw ones in a fold, and not over all."""
    arguments = ("--model", model, "--split", "train", "--calibrate", "temperature")
    assert evaluate(processed, *arguments, "--fit", "cross", "--out", tmp_path / "a",
                    "--save", tmp_path / "saved") == 0  # fmt: skip
    found = read_scores(tmp_path / "a" / "test_detailed_predictions.json")
    assert all(video.verdict in ("real", "fake", "inconclusive") for video in found)
    content = report(tmp_path / "a")
    counted = {truth: sum(row.values()) for truth, row in content["verdicts"].items()}
    assert counted == {
        "real": sum(not v.label for v in found), "fake": sum(v.label for v in found)
    }  # fmt: skip
    assert "cross-fitted" in (tmp_path / "saved" / "card.md").read_text()
    # What is saved was fitted on all: it gives the scores of a fit on the same split.
    assert evaluate(processed, "--model", tmp_path / "saved", "--split", "train",
                    "--out", tmp_path / "b") == 0  # fmt: skip
    whole = read_scores(tmp_path / "b" / "test_detailed_predictions.json")
    assert [v.name for v in whole] == [v.name for v in found]
    assert any(
        abs((a.score or 0) - (b.score or 0)) > 1e-6 for a, b in zip(found, whole, strict=True)
    )


def test_a_threshold_of_nought_is_a_threshold(tmp_path: Path) -> None:
    evaluate(scores(tmp_path / "a.csv", "a"), "--threshold", "0", "--out", tmp_path / "out")
    assert report(tmp_path / "out")["metrics"]["recall"] == 1


@pytest.mark.slow
def test_a_grid_is_in_the_report(processed: Path, model: Path, tmp_path: Path) -> None:
    raw, out = processed.parent / "split", tmp_path / "out"
    evaluate(raw, "--model", model, "--corrupt", "jpeg:5,h265:5", "--out", out)
    rows = report(out)["robustness"]
    assert [row["kind"] for row in rows] == ["none", "jpeg", "h265"]
    assert sorted(p.name for p in (out / "corrupted").iterdir()) == ["h265_5.json", "jpeg_5.json"]
    # Scores under corruption are a file of scores like any other.
    evaluate(out / "corrupted" / "jpeg_5.json", "--out", tmp_path / "again")


@pytest.mark.parametrize(
    ("arguments", "status", "cause"),
    [
        (["SCORES", "--fit", "SCORES"], 2, "they take --fit"),
        (["SCORES", "--goal", "eer"], 2, "they take --fit"),
        (["SCORES", "--fit", "x.csv", "--goal", "eer", "--threshold", "0.3"], 2, "take either"),
        (["SCORES", "--fit", "x.csv", "--goal", "best"], 2, "a goal is accuracy"),
        (["SCORES", "--fit", "NOWHERE.csv", "--goal", "eer"], 1, "no such file"),
        (["SCORES", "--protocol", "mine"], 2, "unknown protocol 'mine'"),
        (["SCORES", "--corrupt", "jpeg"], 2, "takes videos and a model"),
        (["TREE", "--model", "MODEL", "--corrupt", "jpeg"], 2, "takes videos and a model"),
        (["TREE", "--model", "MODEL", "--corrupt", "fog"], 2, "no corruption 'fog'"),
        (["TREE", "--model", "MODEL", "--split", "holdout"], 1, "has no holdout split"),
        (["TREE", "--model", "MODEL", "--fit", "test", "--goal", "eer"], 2, "among those reported"),
        (["SCORES", "--against", "NOWHERE.csv"], 1, "no such file"),
    ],
)
def test_what_is_wrong_is_named(
    arguments: list[str], status: int, cause: str, processed: Path, model: Path, tmp_path: Path
) -> None:
    places = {"SCORES": scores(tmp_path / "s.csv", "v"), "TREE": processed, "MODEL": model}
    with pytest.raises(UnmaskError, match=cause) as caught:
        evaluate(*(places.get(a, a) for a in arguments), "--out", tmp_path / "out")
    assert caught.value.exit_code == status
    assert not (tmp_path / "out").exists()
