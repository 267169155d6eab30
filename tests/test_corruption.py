"""Corruptions, on frames and files whose content is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Image, MakeClip

from unmask.detection.detector import Detector
from unmask.detection.scoring import Scorer, labelled_videos, score_grid, score_videos
from unmask.errors import StoreError, UsageError
from unmask.models import Bundle
from unmask.video.corruption import CLEAN, KINDS, LEVELS, Corruption, grid
from unmask.video.reader import Frame, Limits, Video

PIXELS = [kind for kind in KINDS if kind not in ("h264", "h265", "drop")]


def frames(photo: Image, count: int = 40) -> list[Frame]:
    return [Frame(k, k / 3, photo[:, :480]) for k in range(count)]


def error(a: Image, b: Image) -> float:
    return float(np.square(a.astype(float) - b).mean())


@pytest.mark.parametrize("kind", PIXELS)
def test_each_level_is_worse_than_the_one_before(kind: str, photo: Image) -> None:
    errors = []
    for level in LEVELS:
        (frame,) = Corruption(kind, level).frames(iter(frames(photo, 1)))
        assert frame.rgb.dtype == np.uint8
        assert frame.rgb.shape == (512, 480, 3)
        errors.append(error(frame.rgb, photo[:, :480]))
    assert errors == sorted(errors)
    assert errors[0] > 0.1  # of 255, squared


def test_noise_and_brightness_are_what_they_say(photo: Image) -> None:
    grey = [replace(frame, rgb=np.full((300, 300, 3), 128, np.uint8)) for frame in frames(photo, 1)]
    (noisy,) = Corruption("noise", 2).frames(iter(grey))
    assert noisy.rgb.std() == pytest.approx(10, rel=0.02)
    (dark,) = Corruption("brightness", 2).frames(iter(grey))
    assert set(dark.rgb.ravel().tolist()) == {70}  # 128 * 0.55


def test_dropped_frames_leave_the_others_at_their_times(photo: Image) -> None:
    given = frames(photo, 2000)
    for level, share in zip(LEVELS, (0.1, 0.3, 0.5, 0.7, 0.9), strict=True):
        kept = list(Corruption("drop", level).frames(iter(given)))
        assert 1 - len(kept) / 2000 == pytest.approx(share, abs=0.03)
        assert all(given[frame.index] is frame for frame in kept)
        again = Corruption("drop", level).frames(iter(given))
        assert [f.index for f in again] == [f.index for f in kept]


@pytest.mark.parametrize("kind", ["h264", "h265"])
def test_encoding_again_keeps_what_happens_when(
    kind: str, tmp_path: Path, make_clip: MakeClip
) -> None:
    clip = make_clip(tmp_path / "a.mp4", 3, 12)
    with Video(clip) as video:
        clean = list(video.frames(3))
    errors = []
    for level in LEVELS:
        with Corruption(kind, level).file(clip, Limits()) as copy, Video(copy) as video:
            worse = list(video.frames(3))
            assert video.info.codec == ("hevc" if kind == "h265" else "h264")
        assert [f.time for f in worse] == pytest.approx([f.time for f in clean], abs=0.002)
        pairs = zip(clean, worse, strict=True)
        errors.append(np.mean([error(a.rgb, b.rgb) for a, b in pairs]))
        assert not copy.exists()
    assert errors == sorted(errors)


def test_no_corruption_changes_nothing(photo: Image, tmp_path: Path) -> None:
    given = frames(photo, 3)
    assert list(CLEAN.frames(iter(given))) == given
    with CLEAN.file(tmp_path / "x.mp4", Limits()) as path:
        assert path == tmp_path / "x.mp4"


def test_a_grid_by_name() -> None:
    assert len(grid("all")) == 40
    assert grid("jpeg:3, blur") == [Corruption("jpeg", 3), *(Corruption("blur", n) for n in LEVELS)]
    for wrong in ("fog", "jpeg:6", "jpeg:x", ""):
        with pytest.raises(UsageError, match=r"no corruption|kind:level"):
            grid(wrong)


def test_scores_under_corruption_are_kept_and_taken_up(
    processed: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector(bundle)
    records = labelled_videos(processed.parent / "split")
    clean = score_videos(Scorer(detector), records)
    assert [video.input_type for video in clean] == ["video", "video"]
    asked: list[str | Path] = []

    def counted(self: Detector, paths: list[str | Path]) -> object:
        asked.extend(paths)
        return predict(self, paths)

    predict = Detector.predict
    monkeypatch.setattr(Detector, "predict", counted)
    chosen = [Corruption("brightness", 5), Corruption("h264", 5)]
    cells = score_grid(Scorer(detector), records, chosen, 0.5, tmp_path)
    assert [(cell.kind, cell.level, cell.parameter) for cell in cells] == [
        ("brightness", 5, "times 0.2"),
        ("h264", 5, "crf 43"),
    ]
    assert len(asked) == 4
    assert score_grid(Scorer(detector), records, chosen, 0.5, tmp_path) == cells
    assert len(asked) == 4
    file = tmp_path / "corrupted" / "h264_5.json"
    file.unlink()
    assert score_grid(Scorer(detector), records, chosen, 0.5, tmp_path) == cells
    assert len(asked) == 6
    file.write_text("[]")
    score_grid(Scorer(detector), records, chosen, 0.5, tmp_path)
    assert len(asked) == 8
    # Whatever scores follow from makes them anew: the decision, a label.
    config = replace(bundle.config, decision=replace(bundle.decision, aggregate="max"))
    other = Detector(replace(bundle, config=config))
    score_grid(Scorer(other), records, chosen, 0.5, tmp_path)
    assert len(asked) == 12
    wrong = [replace(record, label=1) for record in records]
    score_grid(Scorer(other), wrong, chosen, 0.5, tmp_path)
    assert len(asked) == 16


def test_faces_alone_cannot_be_corrupted(processed: Path, bundle: Bundle) -> None:
    path = labelled_videos(processed)[0].path
    with pytest.raises(StoreError, match="only a video can be corrupted"):
        Detector(bundle).under(Corruption("jpeg", 1)).predict(path)
