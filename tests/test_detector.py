import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import TINY, Unmask, random_video
from numpy.typing import NDArray

from unmask import Detector
from unmask.data import pt_file
from unmask.data.preprocessor import VideoPreprocessor
from unmask.data.pt_file import ProcessedVideo
from unmask.detection.heatmap import overlay
from unmask.detection.scores import VideoLogits
from unmask.detection.stability import Trim
from unmask.device import autocast
from unmask.errors import StoreError, UsageError, VideoError
from unmask.face_spec import FaceSpec
from unmask.models import Bundle, BundleConfig, Decision, DeepfakeNet, save_bundle
from unmask.models.runtime import Encoded, Judged
from unmask.video.encoder import encode
from unmask.video.reader import Limits, Video


@pytest.fixture(scope="module")
def detector(bundle: Bundle) -> Detector:
    return Detector(bundle)


def test_a_video_and_its_pt_are_judged_alike(clip: Path, tmp_path: Path, bundle: Bundle) -> None:
    detector = Detector(bundle)
    preprocessor = VideoPreprocessor.from_spec(replace(bundle.spec, faces="largest"))
    preprocessor.save_video(clip, tmp_path / "clip.pt")
    a, b = detector.predict(clip), detector.predict(tmp_path / "clip.pt")
    assert replace(a, video="") == replace(b, video="")
    assert a.verdict in ("fake", "real")
    assert len(a.timeline) == 12


def test_scores_are_those_of_the_network_on_each_window(detector: Detector, bundle: Bundle) -> None:
    """Encoding every face once must not differ from running every window through the network."""
    video = random_video([21])
    prediction = detector.judge(video)
    crops = torch.from_numpy(video.tracks[0].crops).permute(0, 3, 1, 2)
    with torch.inference_mode(), autocast(torch.device("cpu")):
        expected = [
            float(bundle.net(crops[None, w.start : w.stop]).window.sigmoid())
            for _, w in video.windows
        ]
    assert [w.score for w in prediction.windows] == pytest.approx(expected, abs=5e-3)
    assert prediction.confidence == pytest.approx(np.mean(expected), abs=5e-3)


def test_lower_precision_is_given_up_where_it_moves_a_score(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "unmask")
    video = random_video([21])
    monkeypatch.setattr("unmask.models.runtime.fast_precision", lambda device: "bfloat16")
    fast = Detector(bundle).judge(video)
    assert "float32" not in caplog.text
    net = DeepfakeNet(TINY).eval()
    net.load_state_dict(bundle.net.state_dict())
    head = net.frame_head
    assert head is not None
    faces = torch.from_numpy(video.tracks[0].crops[None, :2]).permute(0, 1, 4, 2, 3)
    with torch.no_grad():  # one logit at 0, and all so steep that rounding shows
        frames = net(faces).frames
        assert frames is not None
        head.bias.sub_(frames[0, 0])
        head.weight.mul_(1e4)
        head.bias.mul_(1e4)
    steep = Detector(replace(bundle, network=net)).judge(video)
    assert "bfloat16 would move a score by" in caplog.text
    monkeypatch.setattr("unmask.models.runtime.fast_precision", lambda device: "float32")
    exact = Detector(replace(bundle, network=net)).judge(video)
    assert steep.timeline == exact.timeline
    assert fast.confidence == pytest.approx(Detector(bundle).judge(video).confidence, abs=1e-2)


def test_fewer_faces_than_a_window_count(detector: Detector, bundle: Bundle) -> None:
    video = random_video([3])
    prediction = detector.judge(video)
    crops = torch.from_numpy(video.tracks[0].crops).permute(0, 3, 1, 2)
    with torch.inference_mode(), autocast(torch.device("cpu")):
        expected = float(bundle.net(crops[None]).window.sigmoid())
    assert prediction.confidence == pytest.approx(expected, abs=5e-3)
    assert len(prediction.timeline) == 3


def test_the_worst_person_decides(detector: Detector) -> None:
    prediction = detector.judge(random_video([9, 12]))
    assert [t.id for t in prediction.tracks] == [0, 1]
    assert prediction.confidence == max(t.confidence for t in prediction.tracks)
    assert {f.track for f in prediction.timeline} == {0, 1}


def test_no_face_fails_with_a_reason(detector: Detector, tmp_path: Path) -> None:
    encode(tmp_path / "x.mp4", iter([np.full((64, 64, 3), 90, np.uint8)] * 20), Fraction(10), 18)
    for prediction in (
        detector.predict(tmp_path / "x.mp4"),
        detector.judge(ProcessedVideo("x.mp4", (), 8, FaceSpec(4, 32, 0, 8, 2), 2.0)),
    ):
        assert prediction.verdict == "failed"
        assert prediction.confidence is prediction.is_fake is None
        assert prediction.reason == "no face found in 8 sampled frames"
        assert prediction.coverage == 0


def test_files_that_cannot_be_used(detector: Detector, tmp_path: Path, clip: Path) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    with pytest.raises(VideoError):
        detector.predict(tmp_path / "bad.mp4")
    pt_file.write(tmp_path / "other.pt", random_video([9], spec=FaceSpec(5, 32, 0, 8, 2)))
    with pytest.raises(StoreError, match=r"does not fit the model: made with target_fps 5.0"):
        detector.predict(tmp_path / "other.pt")
    names = [tmp_path / "bad.mp4", clip, tmp_path / "other.pt"]
    verdicts = [p.verdict for p in detector.predict(names)]
    assert [v == "failed" for v in verdicts] == [True, False, True]


class Scripted:
    """A network that reads the number of a frame off the face's pixels."""

    name, precisions = "scripted", ("float32",)

    def __init__(self, logits: list[float]) -> None:
        self._logits = np.array(logits, np.float32)

    def encode(self, faces: NDArray[np.uint8], precision: str) -> Encoded:
        return Encoded(self._logits[faces[:, 0, 0, 0]][:, None], None)

    def judge(self, features: NDArray[np.float32], mask: NDArray[np.bool_]) -> Judged:
        logits = np.where(mask, features[..., 0], np.float32(-1e9))
        return Judged(logits.max(axis=1), logits)


def scripted(frames: list[float], decision: Decision) -> Detector:
    """A detector whose network gives face k the logit frames[k], read off the face's pixels."""
    net = DeepfakeNet(replace(TINY, temporal="mean", pooling="mean"))
    detector = Detector(
        Bundle(BundleConfig("scripted", net.config, FaceSpec(4, 32, 0, 8, 2), decision), net)
    )

    detector.runtime = Scripted(frames)
    return detector


def numbered(count: int) -> ProcessedVideo:
    video = random_video([count])
    crops = (
        np.zeros((count, 32, 32, 3), np.uint8)
        + np.arange(count, dtype=np.uint8)[:, None, None, None]
    )
    return replace(video, tracks=(replace(video.tracks[0], crops=crops),))


def test_segments_are_cut_from_the_frame_curve() -> None:
    frames = [-5.0] * 6 + [5.0] * 8 + [-5.0] * 6
    decision = Decision(smoothing=1, frame_smoothing=1, aggregate="max")
    prediction = scripted(frames, decision).judge(numbered(20))
    (segment,) = prediction.segments
    assert (segment.start, segment.end) == (1.5, 3.5)  # faces 6 to 13, four a second
    assert segment.confidence > 0.99
    assert prediction.verdict == "fake"
    assert [f.score > 0.5 for f in prediction.timeline] == [x > 0 for x in frames]


def test_between_the_thresholds_it_abstains() -> None:
    decision = Decision(real_below=0.3, fake_above=0.8)
    for logit, verdict in ((-3.0, "real"), (0.5, "inconclusive"), (3.0, "fake")):
        prediction = scripted([logit] * 9, decision).judge(numbered(9))
        assert prediction.verdict == verdict
        assert prediction.is_fake == {"real": False, "fake": True}.get(verdict)


def test_impossible_devices_and_people_are_refused(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="not to be had"):
        Detector(bundle, device="abacus")
    with pytest.raises(UsageError, match="faces must be"):
        Detector(bundle, faces="few")


@pytest.fixture(scope="module")
def mapping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of random weights with a map head, for small faces."""
    torch.manual_seed(0)
    config = replace(
        TINY, backbone="test_efficientnet", temporal="mean", pooling="mean", head_hidden=0,
        map_head=True,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("mapping") / "m"
    spec = FaceSpec(4, 64, 16, 1, 0)
    save_bundle(folder, Bundle(BundleConfig("m", config, spec, Decision()), DeepfakeNet(config)))
    return folder


def test_a_heatmap_for_every_face_and_none_in_the_json(mapping: Path, clip: Path) -> None:
    prediction = Detector.from_pretrained(mapping).predict(clip)
    assert prediction.heatmaps is not None
    assert prediction.heatmaps.shape == (len(prediction.timeline), 4, 4)
    assert prediction.heatmaps.min() >= 0
    assert prediction.heatmaps.max() <= 1
    assert "heatmaps" not in prediction.to_dict()
    json.dumps(prediction.to_dict())


def test_where_the_map_says_nothing_the_face_stays() -> None:
    face = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert (overlay(face, np.zeros((4, 4), np.float32)) == face).all()
    half = np.zeros((4, 4), np.float32)
    half[:, 2:] = 1
    changed = (overlay(face, half) != face).any(axis=2)
    assert changed[:, 48:].mean() > 0.9
    assert not changed[:, :8].any()


def test_heatmaps_are_written_for_videos_and_refused_without_a_map(
    mapping: Path, model: Path, clip: Path, tmp_path: Path, unmask: Unmask
) -> None:
    done = unmask("predict", clip, clip, "--model", mapping, "--heatmaps", tmp_path / "h")
    assert done.returncode == 0
    names = sorted(path.name for path in (tmp_path / "h").iterdir())
    assert names == [f"{clip.stem}.png", f"{clip.stem}_2.png"]
    picture = cv2.imread(str(tmp_path / "h" / names[0]))
    assert picture is not None
    assert picture.shape[0] == 2 * 224 + 2 * 20
    assert picture.shape[1] % 224 == 0
    refused = unmask("predict", clip, "--model", model, "--heatmaps", tmp_path)
    assert refused.returncode == 2
    assert "makes no heatmaps" in refused.stderr


class Named(Detector):
    """Judges a copy by its name: what `said` holds of it, else what the model says."""

    said: dict[str, float]

    def under(self, corruption: Any) -> "Named":
        other = super().under(corruption)
        other.said = self.said
        other.kind = getattr(corruption, "kind", "trim")
        return other

    kind = "clean"

    def score(self, path: str | Path) -> VideoLogits:
        found = super().score(path)
        logit = np.array([self.said.get(self.kind, 3.0)])
        tracks = tuple(
            replace(t, window_logits=logit.repeat(len(t.windows)), frame_logits=None)
            for t in found.tracks
        )
        return replace(found, tracks=tracks)


@pytest.mark.parametrize(
    ("said", "verdict", "changed"),
    [
        ({}, "fake", ""),
        ({"h264": -3.0}, "inconclusive", "not encoded again"),
        ({"trim": -3.0}, "inconclusive", "not without its first third"),
        ({"clean": -3.0}, "inconclusive", "not at half the resolution"),
    ],
)
def test_a_verdict_that_copies_do_not_share_is_given_up(
    bundle: Bundle, clip: Path, said: dict[str, float], verdict: str, changed: str
) -> None:
    detector = Named(bundle, stability=True)
    detector.said = said
    prediction = detector.predict(clip)
    assert prediction.verdict == verdict
    assert changed in (prediction.reason or "")
    assert prediction.stability is not None
    assert [trial.verdict for trial in prediction.stability].count("fake") == 3 - (
        sum(key != "clean" for key in said)
    )
    assert json.loads(prediction.to_json())["stability"][0]["copy"] == "encoded again"


def test_a_trimmed_copy_lacks_its_start(clip: Path) -> None:
    with Trim(1.0).open(clip, Limits()) as video:
        times = [frame.time for frame in video.frames(4)]
    assert min(times) >= 1.0
    with Video(clip) as video:
        assert times == [frame.time for frame in video.frames(4) if frame.time >= 1.0]
