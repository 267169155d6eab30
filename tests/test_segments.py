import numpy as np
import pytest

from unmask.segments import find_segments, find_step, format_timestamp, moving_average


@pytest.mark.parametrize("width", [1, 3, 5, 9])
def test_moving_average_is_the_mean_of_what_is_there(width: int) -> None:
    values = np.random.default_rng(0).random(12)
    half = width // 2
    expected = [values[max(0, i - half) : i + half + 1].mean() for i in range(12)]
    assert moving_average(values, width) == pytest.approx(expected)


def test_moving_average_of_one_window_is_itself() -> None:
    assert moving_average([0.3], 5) == pytest.approx([0.3])


def test_segments_join_neighbours_and_close_at_the_end() -> None:
    times = np.arange(8) / 2
    scores = [0.1, 0.8, 0.9, 0.7, 0.2, 0.1, 0.9, 0.95]
    found = find_segments(times, times + 0.5, scores, 0.7, track=3)
    assert [(s.start, s.end, s.track) for s in found] == [(0.5, 1.5, 3), (3.0, 4.0, 3)]
    assert [s.confidence for s in found] == pytest.approx([0.85, 0.925])


def test_overlapping_windows_become_one_segment() -> None:
    found = find_segments([0, 8, 16], [9.7, 17.7, 25.7], [0.9, 0.8, 0.1], 0.7)
    assert [(s.start, s.end) for s in found] == [(0, 17.7)]


def test_a_stretch_without_a_face_ends_a_segment() -> None:
    found = find_segments([0, 1, 9], [1, 2, 10], [0.9, 0.9, 0.9], 0.7, max_gap=1)
    assert [(s.start, s.end) for s in found] == [(0, 2), (9, 10)]


def test_nothing_above_nothing_found() -> None:
    assert find_segments([], [], [], 0.7) == []
    assert find_segments([0], [1], [0.7], 0.7) == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00:00"), (59.99, "00:00:59"), (3725.2, "01:02:05")]
)
def test_timestamps(seconds: float, text: str) -> None:
    assert format_timestamp(seconds) == text


def test_a_step_is_the_best_of_all_runs() -> None:
    """Against every run, tried one by one; and known edges under noise."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        curve = rng.normal(size=int(rng.integers(6, 25)))
        count = len(curve)

        def residual(a: int, b: int, curve: "np.ndarray" = curve) -> float:
            rest = np.concatenate([curve[:a], curve[b:]])
            if curve[a:b].mean() <= rest.mean():
                return float("inf")
            return float((b - a) * curve[a:b].var() + len(rest) * rest.var())

        runs = [
            (a, b) for a in range(count) for b in range(a + 3, count + 1) if count - (b - a) >= 3
        ]
        found = find_step(curve)
        assert found is not None
        assert residual(found.start, found.stop) == pytest.approx(min(residual(*r) for r in runs))
    curve = rng.normal(0, 0.3, 60)
    curve[20:35] += 2
    found = find_step(curve)
    assert found is not None
    assert (found.start, found.stop) == (20, 35)
    assert found.contrast > 4
    flat = find_step(rng.normal(0, 0.3, 60))
    assert flat is not None
    assert flat.contrast < 3


def test_a_step_at_an_end_a_short_curve_and_a_long_one() -> None:
    end = find_step([0.0] * 9 + [1.0] * 6)
    assert end is not None
    assert (end.start, end.stop) == (9, 15)
    assert find_step([0.0, 0, 0, 1, 1]) is None
    assert find_step(np.zeros(20)) is None
    curve = np.zeros(50_000)
    curve[20_000:30_000] = 1
    long = find_step(curve)
    assert long is not None
    assert abs(long.start - 20_000) <= 25
    assert abs(long.stop - 30_000) <= 25
