import os
import pickle
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from conftest import random_video

from unmask.data import pt_file
from unmask.data.pt_file import Summary
from unmask.errors import FileError, StoreError
from unmask.face_spec import FaceSpec
from unmask.faces import FaceCrop

DOCUMENT = FaceSpec()  # 3 fps, 224 px, 30 faces, 6 shared


@pytest.mark.parametrize("counts", [[], [5], [8], [20], [21, 3], [9, 30]])
def test_what_is_written_is_read(tmp_path: Path, counts: list[int]) -> None:
    video = random_video(counts)
    pt_file.write(tmp_path / "x.pt", video)
    again = pt_file.read(tmp_path / "x.pt")
    assert (again.video, again.sampled, again.spec, again.duration, again.warnings) == (
        video.video, video.sampled, video.spec, video.duration, video.warnings,
    )  # fmt: skip
    assert len(again.tracks) == len(video.tracks)
    for a, b in zip(again.tracks, video.tracks, strict=True):
        assert a.id == b.id
        for name in ("times", "boxes", "crops"):
            assert (getattr(a, name) == getattr(b, name)).all()
    assert [(i, w.start, w.stop) for i, w in again.windows] == [
        (i, w.start, w.stop) for i, w in video.windows
    ]


READER = """
import sys, torch
d = torch.load(sys.argv[1], weights_only=True)
assert "unmask" not in sys.modules
w = d["windows"]
assert len(w) == d["num_windows"] == len(d["timestamps"])
assert all(tuple(x.shape) == (30, 3, 224, 224) and x.dtype == torch.uint8 for x in w)
assert (d["sequence_length"], d["target_fps"], d["image_size"]) == (30, 3, 224)
print([int(x.long().sum()) for x in w], d["timestamps"])
"""


@pytest.mark.parametrize(("count", "starts"), [(45, [0, 15]), (60, [0, 24, 30])])
def test_a_stranger_reads_the_documents_form(tmp_path: Path, count: int, starts: list[int]) -> None:
    video = random_video([count], spec=DOCUMENT)
    pt_file.write(tmp_path / "x.pt", video)
    done = subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path / "x.pt")], capture_output=True, text=True
    )
    crops = video.tracks[0].crops.astype(int)
    sums = [int(crops[s : s + 30].sum()) for s in starts]
    stamps = [(s / 3, (s + 29) / 3) for s in starts]
    assert done.stdout.strip() == f"{sums} {stamps}", done.stderr


@pytest.mark.parametrize("count", [30, 45, 54, 90])
def test_each_face_is_stored_once(tmp_path: Path, count: int) -> None:
    pt_file.write(tmp_path / "x.pt", random_video([count], spec=DOCUMENT))
    pixels = count * 3 * 224 * 224
    assert pixels < (tmp_path / "x.pt").stat().st_size < pixels * 1.01
    content = torch.load(tmp_path / "x.pt", weights_only=True)
    places = {w.untyped_storage().data_ptr() for w in [*content["windows"], content["faces"]]}
    assert len(places) == 1


def test_evenly_spaced_windows_are_one_tensor(tmp_path: Path) -> None:
    for count, kind in ((45, torch.Tensor), (54, torch.Tensor), (12, torch.Tensor), (60, list)):
        pt_file.write(tmp_path / "x.pt", random_video([count], spec=DOCUMENT))
        windows = torch.load(tmp_path / "x.pt", weights_only=True)["windows"]
        assert isinstance(windows, kind)


def test_the_documents_float_files_load(tmp_path: Path) -> None:
    """Windows of floats as the design document writes them: normalised, faces repeated."""
    video = random_video([21], spec=FaceSpec(3, 32, 0, 8, 2))
    crops = torch.from_numpy(video.tracks[0].crops).permute(0, 3, 1, 2).float()
    starts = [window.start for _, window in video.windows]
    content = {
        "windows": torch.stack([(crops[s : s + 8] - 127.5) / 128 for s in starts]),
        "timestamps": [(s / 3, (s + 7) / 3) for s in starts],
        "num_windows": len(starts),
        "sequence_length": 8,
        "target_fps": 3,
        "image_size": 32,
    }
    torch.save(content, tmp_path / "old.pt")
    (track,) = pt_file.read(tmp_path / "old.pt").tracks
    assert (track.crops == video.tracks[0].crops).all()
    assert track.times == pytest.approx(np.arange(21) / 3, abs=1e-5)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["BOMB"],)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_runs_code_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool
) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "ran"))
    path = tmp_path / "evil.pt"
    if legacy:
        path.write_bytes(pickle.dumps({"faces": Bomb()}))
    else:
        torch.save({"faces": Bomb(), "windows": torch.zeros(1)}, path)
    with pytest.raises(StoreError, match=r"evil\.pt"):
        pt_file.read(path)
    assert not (tmp_path / "ran").exists()


def change(path: Path, **values: Any) -> Path:
    content = torch.load(path, weights_only=True)
    for key, value in values.items():
        if value is None:
            del content[key]
        else:
            content[key] = value
    out = path.with_name("changed.pt")
    torch.save(content, out)
    return out


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"times": None}, "'times' is missing"),
        ({"format": 99}, "format 99"),
        ({"faces": torch.zeros(20, 3, 16, 16, dtype=torch.uint8)}, "faces must be"),
        ({"faces": torch.zeros(20, 3, 32, 32)}, "faces must be"),
        ({"faces": [1, 2]}, "faces must be"),
        ({"faces": torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(20, 3, 32, 32)}, "repeats"),
        ({"times": torch.zeros(20, dtype=torch.float64)}, "order of time"),
        ({"track_ids": torch.tensor([0, 1] * 10)}, "together"),
        ({"overlap": 8}, "cannot overlap"),
        ({"sampled": "many"}, "sampled: should be a valid integer"),
        ({"sampled": -1}, "sampled: should be greater"),
        ({"sampled": 10**30}, "sampled: "),
        ({"duration": float("nan")}, "duration: "),
        ({"resolution": 10**13}, "resolution: should be less"),
        ({"sequence_length": 10**13}, "sequence_length: should be less"),
        ({"image_size": 10**13}, "image_size: should be less"),
        ({"image_size": 0}, "image_size: should be greater"),
        ({"image_size": 4096, "sequence_length": 4096}, "too large"),
        ({"overlap": 10**13}, "overlap: should be less"),
        ({"margin": -(10**13)}, "margin: should be greater"),
        ({"margin": 32}, "margin of 32 pixels must be less"),
        ({"target_fps": float("inf")}, "target_fps: "),
        ({"target_fps": 0}, "target_fps: should be greater"),
        ({"people": 10**13}, "faces"),
        ({"warnings": [torch.zeros(1)]}, "warnings"),
        ({"times": torch.arange(20, dtype=torch.float64) * float("nan")}, "seconds"),
    ],
)
def test_wrong_contents_are_named(tmp_path: Path, values: dict[str, Any], cause: str) -> None:
    pt_file.write(tmp_path / "x.pt", random_video([20]))
    path = change(tmp_path / "x.pt", **values)
    with pytest.raises(StoreError, match=cause) as caught:
        pt_file.read(path)
    assert "changed.pt" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"sequence_length": 10**13}, "sequence_length: should be less"),
        ({"image_size": 10**13}, "image_size: should be less"),
        ({"target_fps": -1}, "target_fps: should be greater"),
        ({"timestamps": [(0, float("nan"))]}, "timestamps"),
        ({"timestamps": [0]}, "timestamps"),
        ({"sequence_length": 7}, "windows must be"),
        ({"sequence_length": None}, "'sequence_length' is missing"),
    ],
)
def test_wrong_documents_are_named(tmp_path: Path, values: dict[str, Any], cause: str) -> None:
    content = {"windows": torch.zeros(1, 8, 3, 16, 16), "timestamps": [(0, 2)], "num_windows": 1,
               "sequence_length": 8, "target_fps": 3, "image_size": 16}  # fmt: skip
    torch.save(content, tmp_path / "x.pt")
    assert pt_file.read(tmp_path / "x.pt").sampled == 8
    with pytest.raises(StoreError, match=cause):
        pt_file.read(change(tmp_path / "x.pt", **values))


@pytest.mark.parametrize("content", [[1, 2], {}, {"windows": 3}, {"a": torch.zeros(2)}])
def test_other_files_are_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(StoreError, match=r"x\.pt"):
        pt_file.read(tmp_path / "x.pt")


@pytest.mark.parametrize("size", [0, 10, 1000, 20000])
def test_a_truncated_file_is_refused(tmp_path: Path, size: int) -> None:
    pt_file.write(tmp_path / "x.pt", random_video([20]))
    short = tmp_path / "short.pt"
    short.write_bytes((tmp_path / "x.pt").read_bytes()[:size])
    with pytest.raises(StoreError, match=r"short\.pt"):
        pt_file.read(short)
    with pytest.raises(StoreError, match="no such file"):
        pt_file.read(tmp_path / "none.pt")


@pytest.mark.parametrize("trouble", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_trouble_in_mid_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: BaseException
) -> None:
    path = tmp_path / "x.pt"
    pt_file.write(path, random_video([9]))
    before = path.read_bytes()

    def half(content: object, file: IO[bytes]) -> None:
        file.write(before[:100])
        raise trouble

    monkeypatch.setattr(torch, "save", half)
    expected = FileError if isinstance(trouble, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        pt_file.write(path, random_video([12]))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_really_full_disk_is_a_clear_error() -> None:
    from unmask.atomic import replacing

    full = Path("/dev/full")
    with pytest.raises(FileError, match="No space left"), replacing("x.pt"), full.open("wb") as f:
        f.write(bytes(10**6))


def test_faces_come_in_any_order_of_tracks_and_some_do_not_count(tmp_path: Path) -> None:
    """As they are found, people by turns; the file is the one of the tracks that count."""
    video = random_video([9, 4, 12])
    crops = [
        FaceCrop(track.id, float(time), box, rgb)
        for track in video.tracks
        for time, box, rgb in zip(track.times, track.boxes, track.crops, strict=True)
    ]
    crops.sort(key=lambda crop: crop.time)
    with pt_file.Writer(tmp_path / "a.pt", video.spec) as writer:
        for crop in crops:
            writer.add(crop)
        writer.finish(Summary(video.video, video.spec, (0, 2), video.sampled, video.duration))
    kept = replace(video, tracks=(video.tracks[0], replace(video.tracks[2], id=1)))
    pt_file.write(tmp_path / "b.pt", kept)
    a, b = (torch.load(tmp_path / name, weights_only=True) for name in ("a.pt", "b.pt"))
    assert a.keys() == b.keys()
    for key in ("faces", "times", "boxes", "track_ids"):
        assert torch.equal(a[key], b[key])
    assert torch.equal(torch.stack(list(a["windows"])), torch.stack(list(b["windows"])))
    assert np.array_equal(pt_file.read(tmp_path / "a.pt").tracks[1].crops, video.tracks[2].crops)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.pt", "b.pt"]


def test_a_writer_that_does_not_finish_leaves_nothing(tmp_path: Path) -> None:
    video = random_video([3])
    crop = FaceCrop(0, 0.0, video.tracks[0].boxes[0], video.tracks[0].crops[0])
    with pt_file.Writer(tmp_path / "a.pt", video.spec) as writer:
        writer.add(crop)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_what_stood_there_stands(tmp_path: Path) -> None:
    video = random_video([50])
    path = tmp_path / "a.pt"
    pt_file.write(path, video)
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        with pytest.raises(FileError, match=r"a\.pt.*cannot be written"):
            pt_file.write(path, video)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
