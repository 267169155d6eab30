"""People over time: who is whom, from when to when, and crops that do not tremble."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from test_faces import face, follow

from unmask.faces import MTCNN, CutFinder, Face, FaceFinder, Sighting, Tracker
from unmask.faces.boxes import distance, unmatched
from unmask.faces.smoothing import REACH, smooth_box
from unmask.faces.tracks import _assign
from unmask.video.reader import Frame

Picture = NDArray[np.uint8]


def boxes_of(x: NDArray[np.float64], side: NDArray[np.float64] | float) -> NDArray[np.float32]:
    half = np.broadcast_to(np.asarray(side) / 2, x.shape)
    return np.stack([x - half, 100 - half, x + half, 100 + half], axis=1).astype(np.float32)


def smoothed(times: NDArray[np.float64], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([smooth_box(times, boxes, at) for at in range(len(times))])


@pytest.mark.parametrize("fps", [3, 10, 25])
def test_a_still_head_with_a_trembling_box_comes_to_rest(fps: float) -> None:
    rng = np.random.default_rng(0)
    times = np.arange(8 * fps) / fps
    boxes = boxes_of(
        200 + rng.normal(0, 1.5, len(times)), 80 * np.exp(rng.normal(0, 0.02, len(times)))
    )
    calm = smoothed(times, boxes)
    before, after = boxes[:, 2] - boxes[:, 0], calm[:, 2] - calm[:, 0]
    assert after.std() < 0.75 * before.std()
    if fps >= 10:  # at 3 a second the neighbours are too far away to say where a head is
        assert (calm[:, 0] + calm[:, 2]).std() < 0.6 * (boxes[:, 0] + boxes[:, 2]).std()


@pytest.mark.parametrize("fps", [3, 10, 25])
def test_an_even_movement_is_left_alone(fps: float) -> None:
    times = np.arange(4 * fps) / fps
    boxes = boxes_of(100 + 60 * times, 60 * np.exp(0.1 * times))
    assert np.abs(smoothed(times, boxes) - boxes).max() < 0.01


def test_a_sudden_movement_stays_in_the_crop() -> None:
    times = np.arange(40) / 10
    boxes = boxes_of(np.where(times < 2, 100.0, 150.0), 80)
    moved = np.abs(smoothed(times, boxes) - boxes).max()
    assert 0 < moved <= 0.05 * 80 + 0.08 * 40 + 1


def test_a_box_does_not_know_of_those_beyond_reach() -> None:
    times = np.array([0.0, REACH + 0.01, 2 * REACH + 0.02])
    boxes = boxes_of(np.array([100.0, 150.0, 90.0]), 80)
    assert np.array_equal(smoothed(times, boxes), boxes)


def test_crops_are_where_the_smoothed_boxes_are() -> None:
    """The crop of a smoothed box is what crop_face makes of the whole frame with that box."""
    from unmask.faces import crop_face

    rng = np.random.default_rng(0)
    frames = [
        Frame(k, k / 10, rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)) for k in range(12)
    ]
    tracker = Tracker("largest", size=32, margin=6)
    crops = []
    for frame in frames:
        x, y = rng.uniform(-10, 100, 2) if frame.index == 6 else rng.normal(50, 2, 2)
        crops += tracker.add(Sighting(frame, False, [face(x, y, 60)]))
    crops += tracker.finish()
    assert [crop.time for crop in crops] == [frame.time for frame in frames]
    for crop, frame in zip(crops, frames, strict=True):
        assert np.array_equal(crop.rgb, crop_face(frame.rgb, crop.box, 32, 6))


def test_without_smoothing_the_boxes_are_the_detectors() -> None:
    rng = np.random.default_rng(0)
    seen = [[face(rng.uniform(20, 60), rng.uniform(20, 60), rng.uniform(30, 50))] for _ in range(9)]
    (track,) = follow("largest", seen, step=0.1)
    assert np.array_equal(track.boxes, np.stack([faces[0].box for faces in seen]))
    (track,) = follow("largest", seen, step=0.1, exact=False)
    assert not np.array_equal(track.boxes, np.stack([faces[0].box for faces in seen]))


def test_smoothing_does_not_mix_two_people() -> None:
    """The largest face changes between two people: no box lies between them."""
    seen = [[face(20 if k % 4 < 2 else 300, side=50)] for k in range(12)]
    (track,) = follow("largest", seen, step=0.1, exact=False)
    assert set(track.boxes[:, 0].tolist()) == {20.0, 300.0}


def test_a_cut_ends_every_track() -> None:
    seen = [[face(50), face(250)]] * 12
    assert len(follow("all", seen)) == 2
    tracks = follow("all", seen, cuts=(6,))
    assert len(tracks) == 4
    assert sorted(track.times[-1] for track in tracks)[:2] == pytest.approx([5 / 3, 5 / 3])


def test_a_face_that_enters_late_has_its_own_times() -> None:
    seen = [[face(50)]] * 6 + [[face(50), face(250)]] * 6
    first, second = follow("all", seen)
    assert first.times[0] == 0
    assert second.times[0] == 2


PALE, DARK = (230, 190, 170), (70, 50, 40)


def people(positions: list[tuple[int, int]], hidden: set[int]) -> list[Sighting]:
    """Two people as patterned discs, the pale one at positions[k][0], the dark one at [1]; in
    the frames of `hidden` the dark one is behind the pale one.
    """
    sightings = []
    for k, (pale, dark) in enumerate(positions):
        rgb = np.full((200, 500, 3), 120, np.uint8)
        faces = []
        for x, colour in ((dark, DARK), (pale, PALE)):
            cv2.circle(rgb, (int(x) + 30, 100), 30, colour, -1)
            cv2.circle(rgb, (int(x) + 20, 90), 6, (0, 0, 0), -1)
            cv2.circle(rgb, (int(x) + 40, 90), 6, (0, 0, 0), -1)
            if colour == PALE or k not in hidden:
                faces.append(face(x, 70, 60))
        sightings.append(Sighting(Frame(k, k / 3, rgb), False, faces))
    return sightings


@pytest.mark.parametrize("hidden", [set(), {5}, {5, 6}])
@pytest.mark.parametrize("order", [1, -1])
def test_people_who_cross_stay_themselves(hidden: set[int], order: int) -> None:
    positions = [(20 + 35 * k, 400 - 35 * k) for k in range(12)]
    tracker = Tracker("all", size=16, exact=True)
    crops = []
    for sighting in people(positions, hidden):
        sighting.faces = sighting.faces[::order]
        crops += tracker.add(sighting)
    crops += tracker.finish()
    assert len(tracker.kept) == 2
    for track in tracker.kept:
        brightness = [crop.rgb[8, 8].mean() for crop in crops if crop.track == track]
        assert len(brightness) >= 11 - len(hidden)  # less what shows half of each
        assert np.ptp(brightness) < 60


def test_a_face_behind_something_for_a_second_comes_back_as_itself() -> None:
    seen = [[face(50 + 10 * k)] for k in range(12)]
    seen[5] = seen[6] = []
    (track,) = follow("all", seen)
    assert len(track) == 10
    assert np.diff(track.times).max() == pytest.approx(1)


def test_of_a_crowd_the_largest_are_kept() -> None:
    crowd = [face(10 + 8 * (k % 45), 3 + 40 * (k // 45), side=7 + k % 3) for k in range(90)]
    assert len(follow("all", [crowd] * 6)) <= 32


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 1), (3, 4), (4, 2)])
def test_assignment_is_that_of_scipy(shape: tuple[int, int]) -> None:
    cost = np.random.default_rng(0).random(shape)
    assert _assign(cost) == list(zip(*linear_sum_assignment(cost), strict=True))


def test_matching_is_one_to_one() -> None:
    a, b, far = (face(x).box for x in (0, 10, 300))
    assert distance(a, a) == 0
    assert distance(a, far) > 1
    assert unmatched([a, b], [a]) == [1]
    assert unmatched([a, far], [b]) == [1]
    assert unmatched([], [a]) == []


BLUE, GREY = (40, 60, 160), (120, 120, 110)


def shot(photo: Picture, x: int, colour: tuple[int, int, int]) -> Picture:
    """The face somewhere in a picture of one colour."""
    rgb = np.full((240, 420, 3), colour, np.uint8)
    rgb[20:220, x : x + 200] = cv2.resize(photo[:260, 90:350], (200, 200))
    return np.asarray(rgb, np.uint8)


def test_cuts_are_found_and_movement_is_none(photo: Picture) -> None:
    finder = CutFinder()
    pictures = [shot(photo, 10 + 15 * k, BLUE) for k in range(10)]
    pictures += [shot(photo, 10 + 15 * k, GREY) for k in range(10)]
    assert [k for k, rgb in enumerate(pictures) if finder.is_cut(rgb)] == [10]


class Counting(MTCNN):
    """A detector that counts its searches."""

    searches = 0

    def detect(self, frames, min_face_size=None):  # type: ignore[no-untyped-def]
        self.searches += len(frames)
        return super().detect(frames, min_face_size)


def overlap(a: Face, b: Face) -> float:
    low, high = np.maximum(a.box[:2], b.box[:2]), np.minimum(a.box[2:], b.box[2:])
    inter = float(np.prod(np.maximum(high - low, 0)))
    return inter / float(np.prod(a.box[2:] - a.box[:2]) + np.prod(b.box[2:] - b.box[:2]) - inter)


@pytest.mark.parametrize("fps", [3, 10])
def test_followed_faces_are_those_that_a_search_finds(photo: Picture, fps: int) -> None:
    """A moving face, a second one that enters between two searches, and a cut."""
    pictures = [shot(photo, 10 + 3 * k, BLUE if k < 8 else GREY) for k in range(16)]
    small = cv2.resize(photo[:260, 90:350], (80, 80))
    for k in range(11, 16):
        pictures[k][20:100, 330:410] = small
    frames = [Frame(k, k / fps, rgb) for k, rgb in enumerate(pictures)]
    detector = Counting()
    fast = list(FaceFinder(detector).find(iter(frames)))
    searches, detector.searches = detector.searches, 0
    exact = list(FaceFinder(detector, exact=True).find(iter(frames)))
    assert searches <= (8 if fps == 10 else 12) < detector.searches == 16
    assert [s.frame.index for s in fast] == [s.frame.index for s in exact] == list(range(16))
    assert [s.cut for s in fast] == [s.cut for s in exact] == [k == 8 for k in range(16)]
    assert [len(s.faces) for s in exact] == [1] * 11 + [2] * 5
    overlaps = [
        overlap(a, b)
        for one, other in zip(fast, exact, strict=True)
        for a, b in zip(one.faces, other.faces, strict=True)
    ]
    assert min(overlaps) > 0.8
    assert np.median(overlaps) > 0.95


@pytest.mark.parametrize("side", [26, 60])
def test_a_lonely_face_that_enters_is_followed_back(photo: Picture, side: int) -> None:
    """It is too small for the search of every second, and comes between two of them."""
    pictures = [np.full((480, 640, 3), GREY, np.uint8) for _ in range(12)]
    small = cv2.resize(photo[:260, 90:350], (3 * side, 3 * side), interpolation=cv2.INTER_AREA)
    for k in range(4, 12):
        pictures[k][100 : 100 + 3 * side, 40 : 40 + 3 * side] = small
    frames = [Frame(k, k / 3, rgb) for k, rgb in enumerate(pictures)]
    found = list(FaceFinder(MTCNN()).find(iter(frames)))
    assert [len(s.faces) for s in found] == [0] * 4 + [1] * 8


def test_the_largest_face_comes_first(photo: Picture) -> None:
    """Also where the larger one is found later than the smaller one."""
    pictures = [np.full((360, 640, 3), GREY, np.uint8) for _ in range(9)]
    for k in range(9):
        pictures[k][20:140, 20:140] = cv2.resize(photo[:260, 90:350], (120, 120))
        if k > 3:
            pictures[k][50:350, 300:600] = cv2.resize(photo[:260, 90:350], (300, 300))
    frames = [Frame(k, k / 3, rgb) for k, rgb in enumerate(pictures)]
    for sighting in FaceFinder(MTCNN()).find(iter(frames)):
        areas = [face.area for face in sighting.faces]
        assert areas == sorted(areas, reverse=True)
        assert len(areas) == (2 if sighting.frame.index > 3 else 1)


def test_no_faces_and_no_frames() -> None:
    grey = [Frame(k, k / 3, np.full((90, 120, 3), 128, np.uint8)) for k in range(7)]
    found = list(FaceFinder(MTCNN()).find(iter(grey)))
    assert [s.faces for s in found] == [[]] * 7
    assert list(FaceFinder(MTCNN()).find(iter([]))) == []


def test_frames_of_changing_size(photo: Picture) -> None:
    frames = [Frame(k, k / 3, shot(photo, 50, BLUE)[: 240 - 2 * (k // 3)].copy()) for k in range(9)]
    for exact in (False, True):
        found = list(FaceFinder(MTCNN(), exact).find(iter(frames)))
        assert [len(s.faces) for s in found] == [1] * 9


def test_an_error_of_the_frames_comes_through() -> None:
    def broken() -> Iterator[Frame]:
        yield Frame(0, 0.0, np.zeros((90, 120, 3), np.uint8))
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(FaceFinder(MTCNN()).find(broken()))


def doubtful(x: float, side: float) -> Face:
    return Face(face(x, side=side).box, 0.8, np.zeros((5, 2), np.float32))


def test_a_hand_that_looks_a_little_like_a_face_is_no_person() -> None:
    seen = [[doubtful(250, 80), face(50)]] * 9
    (track,) = follow("all", seen)
    assert track.boxes[0, 0] == 50
    (track,) = follow("largest", seen, exact=False)
    assert set(track.boxes[:, 0]) == {50}
    (track,) = follow("largest", seen, exact=True)  # to the letter of the design
    assert set(track.boxes[:, 0]) == {250}
    assert len(follow("all", [[doubtful(250, 80)]] * 9)) == 1  # better than nothing


@pytest.mark.parametrize("alike", [True, False])
def test_a_leap_is_linked_if_the_face_looks_the_same(photo: Picture, alike: bool) -> None:
    """A dancer moves by more than the width of a face between two samples."""
    tracker = Tracker("all", size=16)
    for k in range(8):
        rgb = np.full((240, 640, 3), GREY, np.uint8)
        x = 40 if k < 4 else 200
        look = cv2.resize(photo[40:180, 150:290], (80, 80))
        rgb[80:160, x : x + 80] = look if alike or k < 4 else look[::-1]
        tracker.add(Sighting(Frame(k, k / 3, rgb), False, [face(x, 80, 80)]))
    assert len(tracker.kept) == (1 if alike else 2)


def test_another_face_in_the_same_place_is_another_person(photo: Picture) -> None:
    tracker = Tracker("all", size=16)
    look = photo[40:180, 150:290]
    for k in range(12):
        rgb = np.ascontiguousarray(look if k < 6 else 255 - look[::-1])
        tracker.add(Sighting(Frame(k, k / 3, rgb), False, [face(10, 10, 120)]))
    assert len(tracker.kept) == 2
