"""Boxes of one face over time -> boxes that do not tremble."""

import numpy as np
from numpy.typing import NDArray

REACH = 0.5  # seconds before and after that have a say
_SIGMA_PLACE, _SIGMA_SIZE = 0.15, 0.3  # seconds: a head moves fast and changes its size slowly
_MOST_MOVED = 0.05  # of the box's side, from where the detector saw it
_MOST_GROWN = 0.08


def smooth_box(
    times: NDArray[np.float64], boxes: NDArray[np.float32], at: int
) -> NDArray[np.float32]:
    """The box `at` an index, smoothed over its neighbours within REACH.

    A line is fitted to the neighbours, weighted by a Gaussian of their distance in time (local
    linear regression, Cleveland 1979), for the centre and for the logarithm of the sides: a head
    that moves or comes closer evenly stays where it is, at the ends of a track too. The result
    stays near the detector's box, so no movement leaves the crop.

    Args:
        times: (N,) float64 seconds, increasing.
        boxes: (N, 4) float32, x0, y0, x1, y1 in pixels.
        at: which one.

    Returns:
        (4,) float32.
    """
    lag = times - times[at]
    near = np.abs(lag) <= REACH + 1e-6
    lag = lag[near]
    wide: NDArray[np.float64] = boxes[near].astype(np.float64)
    sides = np.maximum(wide[:, 2:] - wide[:, :2], 1.0)
    centres = (wide[:, :2] + wide[:, 2:]) / 2
    own = int(np.flatnonzero(lag == 0)[0])
    moved = (_fitted(lag, centres, _SIGMA_PLACE) - centres[own]) / sides[own]
    grown = _fitted(lag, np.log(sides), _SIGMA_SIZE) - np.log(sides[own])
    centre = centres[own] + np.clip(moved, -_MOST_MOVED, _MOST_MOVED) * sides[own]
    half = sides[own] * np.exp(np.clip(grown, -_MOST_GROWN, _MOST_GROWN)) / 2
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def _fitted(
    lag: NDArray[np.float64], values: NDArray[np.float64], sigma: float
) -> NDArray[np.float64]:
    """The weighted line's value at lag 0."""
    weight = np.exp(-0.5 * (lag / sigma) ** 2)
    mean_lag = (weight @ lag) / weight.sum()
    mean = (weight @ values) / weight.sum()
    off = lag - mean_lag
    spread = weight @ off**2
    slope = (weight * off) @ values / spread if spread > 1e-9 else 0.0
    return np.asarray(mean - slope * mean_lag, dtype=np.float64)
