import numpy as np
import pytest

from unmask.data.windows import average_windows, make_windows
from unmask.errors import UsageError


@pytest.mark.parametrize(
    ("count", "starts"),
    [
        (30, [0]),
        (31, [0, 1]),
        (45, [0, 15]),  # the design document's example, by its formula
        (54, [0, 24]),
        (55, [0, 24, 25]),
        (90, [0, 24, 48, 60]),
    ],
)
def test_starts_are_the_documents(count: int, starts: list[int]) -> None:
    windows = make_windows(count)
    assert [w.start for w in windows] == starts
    assert all(w.stop - w.start == 30 and w.mask.all() for w in windows)


def test_every_face_is_in_a_window_and_none_is_beyond() -> None:
    for count in range(1, 200):
        windows = make_windows(count)
        seen = np.zeros(count, bool)
        for w in windows:
            seen[w.start : w.stop] = True
            assert w.mask.sum() == w.stop - w.start
        assert seen.all()
        assert windows[-1].stop == count


def test_few_faces_make_one_padded_window_and_none_make_none() -> None:
    (window,) = make_windows(7)
    assert (window.start, window.stop) == (0, 7)
    assert window.mask.tolist() == [True] * 7 + [False] * 23
    assert make_windows(0) == []


@pytest.mark.parametrize(("length", "overlap"), [(0, 0), (5, 5), (5, -1)])
def test_impossible_windows_are_refused(length: int, overlap: int) -> None:
    with pytest.raises(UsageError):
        make_windows(10, length, overlap)


def test_average_of_overlapping_windows() -> None:
    windows = make_windows(5, length=3, overlap=1)  # 0-2 and 2-4
    scores = [np.array([0.0, 0.0, 0.2]), np.array([0.6, 1.0, 1.0])]
    assert average_windows(5, windows, scores) == pytest.approx([0, 0, 0.4, 1, 1])


def test_the_masks_of_full_windows_take_no_memory() -> None:
    """A small file may hold very many faces of one pixel, and ask for long windows of them."""
    windows = make_windows(10_000, 4096, 4095)
    assert len(windows) == 10_000 - 4095
    assert len({id(window.mask) for window in windows}) == 1
