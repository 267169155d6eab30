from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from unmask.backends import Backend
from unmask.data.preprocessor import VideoPreprocessor
from unmask.errors import UsageError
from unmask.faces import MTCNN, Face, FaceTrack, Sighting, Tracker, crop_face
from unmask.faces.compiled import Compiled
from unmask.faces.mtcnn import _bins, _Pictures, _suppress
from unmask.faces.networks import load_networks
from unmask.video.reader import Frame, Video, find_videos

CLIPS = Path(__file__).parents[2] / "shared" / "data"
Picture = NDArray[np.uint8]


@pytest.fixture(scope="module", params=["torch", "onnx", "openvino"])
def detector(request: pytest.FixtureRequest) -> MTCNN:
    return MTCNN(backend=request.param)


def iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inter = float(np.prod(np.maximum(high - low, 0)))
    return inter / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inter)


def test_finds_the_face_of_the_photograph(detector: MTCNN, photo: Picture) -> None:
    faces = detector.detect([photo])[0]
    face = faces[0]
    assert iou(face.box, np.array([175, 65, 275, 195], np.float32)) > 0.7
    assert face.score > 0.99
    right_eye, left_eye, nose, right_mouth, left_mouth = face.landmarks
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < nose[0] < left_mouth[0]
    assert right_eye[1] < nose[1] < right_mouth[1]


def test_a_batch_finds_what_single_frames_find(detector: MTCNN, photo: Picture) -> None:
    frames = [photo, np.ascontiguousarray(photo[:, ::-1]), np.zeros_like(photo)]
    together = detector.detect(frames)
    assert [bool(faces) for faces in together] == [True, True, False]
    for frame, faces in zip(frames, together, strict=True):
        alone = detector.detect([frame])[0]
        assert len(alone) == len(faces)
        for a, b in zip(alone, faces, strict=True):
            assert a.box == pytest.approx(b.box, abs=1e-2)


def test_a_mirrored_picture_has_a_mirrored_face(detector: MTCNN, photo: Picture) -> None:
    (a, *_), (b, *_) = detector.detect([photo, np.ascontiguousarray(photo[:, ::-1])])
    mirrored = b.box[[2, 1, 0, 3]].copy()
    mirrored[[0, 2]] = 512 - mirrored[[0, 2]]
    assert iou(a.box, mirrored) > 0.85


@pytest.mark.parametrize("shape", [(5, 5, 3), (13, 200, 3), (1, 1, 3)])
def test_a_picture_too_small_for_a_face_has_none(
    detector: MTCNN, shape: tuple[int, int, int]
) -> None:
    assert detector.detect([np.full(shape, 128, np.uint8)]) == [[]]
    assert detector.detect([]) == []


@pytest.mark.parametrize(
    "part",
    [
        np.s_[:240, 215:425], np.s_[:240, 40:250], np.s_[90:330, 130:340], np.s_[:160, 130:340],
        np.s_[:180, 40:250], np.s_[:180, 200:425], np.s_[85:330, 40:255], np.s_[85:330, 200:425],
    ],
    ids=["left", "right", "top", "bottom", "bottom right", "bottom left", "top right", "top left"],
)  # fmt: skip
def test_a_face_that_leaves_the_frame_is_followed(
    detector: MTCNN, photo: Picture, part: tuple[slice, slice]
) -> None:
    view = np.ascontiguousarray(photo[part])
    ((face,),) = detector.detect([view])
    offset = [part[1].start or 0, part[0].start or 0] * 2
    whole = np.array([175, 65, 275, 195], np.float32) - np.array(offset, np.float32)
    ((found,),) = detector.detect_near([view], [[whole]])
    assert iou(found.box, face.box) > 0.9


def test_faces_of_several_frames_are_followed_together(detector: MTCNN, photo: Picture) -> None:
    """Parts of one level have one size, wherever and however large the faces are."""
    nothing = np.zeros_like(photo)
    smaller = nothing.copy()
    smaller[-256:, -256:] = photo[::2, ::2]
    frames = [photo, nothing, np.ascontiguousarray(photo[:, ::-1]), smaller]
    searched = detector.detect(frames)
    boxes = [[faces[0].box] if faces else [] for faces in searched]
    boxes[1] = boxes[0]
    together = detector.detect_near(frames, boxes)
    assert [bool(faces) for faces in together] == [True, False, True, True]
    for found, expected in zip(together, searched, strict=True):
        for face in found:
            assert max(iou(face.box, other.box) for other in expected) > 0.95


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_others_compute_what_the_networks_do(backend: Backend) -> None:
    dice = torch.Generator().manual_seed(0)
    pnet, rnet, onet = load_networks()
    for net, sides in (
        (pnet, [(12, 12), (13, 40), (47, 30), (64, 12)]), (rnet, [(24, 24)]), (onet, [(48, 48)])
    ):  # fmt: skip
        other = Compiled(net, backend, threads=1)
        for number, (height, width) in product((0, 1, 5), sides):
            pixels = torch.rand(number, 3, height, width, generator=dice) * 2 - 1
            for ours, theirs in zip(net(pixels), other(pixels), strict=True):
                assert ours.shape == theirs.shape
                assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_backend_that_is_not_there(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=rf"pip install 'unmask\[{backend}\]'"):
        VideoPreprocessor(backend=backend)


def test_means_of_areas_are_those_of_adaptive_pooling() -> None:
    dice = np.random.default_rng(0)
    frames = dice.integers(0, 256, (2, 61, 83, 3), np.uint8)
    pictures = _Pictures(list(frames))
    for _ in range(20):  # parts of the frames, now here, now there
        (y0, y1), (x0, x1) = (np.sort(dice.choice(side + 1, 2, replace=False)) for side in (61, 83))
        bins = (
            _bins(np.arange(7)[None], 7, y1 - y0) + y0,
            _bins(np.arange(5)[None], 5, x1 - x0) + x0,
        )
        rows, columns = (np.repeat(b, 2, axis=1) for b in bins)
        found = pictures.means(np.array([1, 0]), rows, columns) * 128 + 127.5
        part = torch.from_numpy(frames[::-1, y0:y1, x0:x1].copy()).permute(0, 3, 1, 2).double()
        expected = torch.nn.functional.adaptive_avg_pool2d(part, (7, 5))
        assert torch.allclose(found.double(), expected, atol=1e-4)


@pytest.mark.parametrize("side", [20, 45, 130, 400])
def test_boxes_beyond_the_frame_find_nothing_new(
    detector: MTCNN, photo: Picture, side: int
) -> None:
    """A hair inside the frame, or wholly outside, at every side and corner."""
    view = np.ascontiguousarray(photo[:240, 100:340])
    (there,) = detector.detect([view])
    starts = (-2 * side, 1 - side, 100, 239, 240 + side)
    for x in starts:
        for y in starts:
            box = np.array([x, y, x + side, y + side], np.float32)
            (found,) = detector.detect_near([view], [[box]])
            for face in found:
                assert max(iou(face.box, other.box) for other in there) > 0.8


@pytest.mark.skipif(not CLIPS.is_dir(), reason="needs the shared clips")
@pytest.mark.filterwarnings("ignore")
def test_agrees_with_facenet_pytorch(detector: MTCNN) -> None:
    facenet = pytest.importorskip("facenet_pytorch")
    theirs = facenet.MTCNN(keep_all=True, select_largest=True)
    total, overlaps, offsets = 0, [], []
    for path in find_videos(CLIPS)[::15]:
        with Video(path) as video:
            frames = [frame.rgb for frame in video.frames(0.5)][:3]
        for rgb, ours in zip(frames, detector.detect(frames), strict=True):
            boxes, _, points = theirs.detect(Image.fromarray(rgb), landmarks=True)
            if boxes is None:  # and so are the points
                continue
            for box, point in zip(boxes, points, strict=True):
                total += 1
                near = max(ours, key=lambda face: iou(face.box, box), default=None)
                if near is not None and iou(near.box, box) > 0.5:
                    overlaps.append(iou(near.box, box))
                    eyes = np.linalg.norm(point[0] - point[1])
                    offsets.append(float(np.abs(near.landmarks - point).max() / eyes))
    assert total > 20
    assert len(overlaps) >= 0.99 * total
    assert np.median(overlaps) >= 0.98
    assert max(offsets) < 0.02


def test_suppression_within_frames_is_that_of_torchvision() -> None:
    from torchvision.ops import batched_nms

    dice = torch.Generator().manual_seed(0)
    corner = torch.rand(300, 2, generator=dice) * 200
    boxes = torch.cat([corner, corner + 10 + torch.rand(300, 2, generator=dice) * 90], dim=1)
    score, owner = torch.rand(300, generator=dice), torch.randint(0, 4, (300,), generator=dice)
    for overlap in (0.3, 0.5, 0.7):
        expected = batched_nms(boxes, score, owner, overlap)
        assert 4 < len(expected) < 300
        ours = _suppress(boxes.numpy(), score.numpy(), owner.numpy(), overlap)
        assert np.array_equal(ours, expected.numpy())


@pytest.mark.skipif(not CLIPS.is_dir(), reason="needs the shared clips")
def test_exact_crops_are_those_of_facenet_pytorch() -> None:
    """At the settings of the design: the largest face, margin 0, 224 pixels."""
    facenet = pytest.importorskip("facenet_pytorch")
    theirs = facenet.MTCNN(224, margin=0, select_largest=True, post_process=False)
    preprocessor, compared = VideoPreprocessor(exact=True, target_fps=0.5), 0
    for path in find_videos(CLIPS)[::40]:
        (track,) = preprocessor.process_video(path).tracks or (None,)
        with Video(path) as video:
            frames = {frame.time: frame.rgb for frame in video.frames(0.5)}
        cut = {time: theirs(Image.fromarray(rgb)) for time, rgb in frames.items()}
        times = [time for time, crop in cut.items() if crop is not None]
        assert times == ([] if track is None else track.times.tolist())
        for time, crop in zip(times, [] if track is None else track.crops, strict=True):
            off = np.abs(cut[time].permute(1, 2, 0).numpy() - crop)
            assert off.mean() < 0.5
            compared += 1
    assert compared >= 5


@pytest.mark.parametrize("side", [40, 224, 400])
def test_a_crop_is_pillows_resize_of_the_box(photo: Picture, side: int) -> None:
    box = np.array([60.7, 20.2, 60.7 + side, 20.2 + side], np.float32)
    ours = crop_face(photo, box, 224)
    cut = Image.fromarray(photo[20 : int(20.2 + side), 60 : int(60.7 + side)])
    theirs = np.asarray(cut.resize((224, 224), Image.Resampling.BILINEAR), int)
    assert np.abs(ours - theirs).max() <= 1


def test_a_margin_widens_the_crop(photo: Picture) -> None:
    box = np.array([100, 100, 300, 300], np.float32)
    wide = crop_face(photo, box, 240, margin=40)  # 200 px of box fill 200 of the 240
    assert np.abs(wide[20:220, 20:220].astype(int) - photo[100:300, 100:300]).max() <= 1


@pytest.mark.parametrize("box", [(-50, -50, 60, 60), (500, 500, 900, 900), (600, 600, 700, 700)])
def test_a_box_beyond_the_frame_is_cut_off(photo: Picture, box: tuple[int, ...]) -> None:
    assert crop_face(photo, np.array(box, np.float32), 32).shape == (32, 32, 3)


def face(x: float, y: float = 50, side: float = 40) -> Face:
    box = np.array([x, y, x + side, y + side], np.float32)
    return Face(box, 0.99, np.zeros((5, 2), np.float32))


def follow(
    choice: str | int,
    frames: list[list[Face]],
    step: float = 1 / 3,
    cuts: tuple[int, ...] = (),
    exact: bool = True,
) -> list[FaceTrack]:
    tracker, crops = Tracker(choice, size=16, exact=exact), []
    rgb = np.zeros((200, 400, 3), np.uint8)
    for number, faces in enumerate(frames):
        largest_first = sorted(faces, key=lambda f: -f.area)
        frame = Frame(number, number * step, rgb)
        crops += tracker.add(Sighting(frame, number in cuts, largest_first))
    crops += tracker.finish()
    tracks = []
    for track in tracker.kept:
        mine = [crop for crop in crops if crop.track == track]
        times, boxes = np.array([c.time for c in mine]), np.stack([c.box for c in mine])
        tracks.append(FaceTrack(track, times, boxes, np.stack([c.rgb for c in mine])))
    return tracks


def test_largest_takes_one_face_a_frame() -> None:
    frames = [[face(10, side=40), face(200, side=50)]] * 5 + [[]] + [[face(10)]] * 5
    (track,) = follow("largest", frames)
    assert len(track) == 10
    assert track.boxes[:, 0].tolist() == [200] * 5 + [10] * 5
    assert np.diff(track.times).max() == pytest.approx(2 / 3)  # the gap stays


def test_two_people_stay_apart() -> None:
    frames = [[face(10 + 5 * k), face(300 - 5 * k)] for k in range(20)]
    left, right = follow("all", frames)
    assert (np.diff(left.boxes[:, 0]) > 0).all()
    assert (np.diff(right.boxes[:, 0]) < 0).all()


def test_a_short_disappearance_does_not_end_a_track_and_a_long_one_does() -> None:
    seen = [[face(50)]] * 6
    assert len(follow("all", seen + [[]] * 2 + seen)) == 1
    assert len(follow("all", seen + [[]] * 6 + seen)) == 2


def test_small_and_passing_faces_are_background() -> None:
    frames = [[face(50, side=90), face(300, side=15)] for _ in range(20)]
    frames[10].append(face(200, side=80))
    assert len(follow("all", frames)) == 1


def test_a_number_keeps_the_most_prominent() -> None:
    frames = [[face(10, side=60), face(150, side=50), face(300, side=40)]] * 10
    kept = follow(2, frames)
    assert [track.boxes[0, 0] for track in kept] == [10, 150]


@pytest.mark.parametrize("choice", ["smallest", "0", -1, ""])
def test_other_choices_are_refused(choice: str | int) -> None:
    with pytest.raises(UsageError):
        Tracker(choice)


def test_no_faces_no_tracks() -> None:
    assert follow("all", [[]] * 3) == []
    assert follow("largest", []) == []


def test_detection_leaves_the_frame_alone(detector: MTCNN, photo: Picture) -> None:
    before = photo.copy()
    detector.detect([photo])
    assert (photo == before).all()
    assert not torch.is_inference_mode_enabled()
