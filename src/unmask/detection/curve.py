"""A prediction as a picture: the curve over time, the thresholds, the segments."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from unmask.detection.prediction import Prediction

_COLOURS = ("#1f5fa8", "#b3480a", "#3b7d3b", "#7a4b9e", "#555555")


def draw_prediction(prediction: "Prediction", axes: "Axes | None" = None) -> "Axes":
    """See Prediction.plot."""
    if axes is None:
        from matplotlib.figure import Figure

        axes = Figure(figsize=(9, 3), layout="constrained").add_subplot()
    for number, track in enumerate(prediction.tracks):
        faces = [face for face in prediction.timeline if face.track == track.id]
        times = np.array([face.time for face in faces])
        scores = np.array([face.score for face in faces])
        steps = np.diff(times)
        gaps: list[int] = []
        if len(steps):
            gaps = (np.flatnonzero(steps > 1.5 * np.median(steps)) + 1).tolist()
        axes.plot(
            np.insert(times, gaps, np.nan),  # nothing was scored there
            np.insert(scores, gaps, np.nan),
            color=_COLOURS[number % len(_COLOURS)],
            marker=".",
            label=f"person {track.id}",
        )
    for segment in prediction.segments:
        axes.axvspan(segment.start, segment.end, color="#b3480a", alpha=0.15)
    limits = prediction.thresholds
    if limits is not None:
        axes.axhline(
            limits.fake_above, color="0.3", linestyle="--", linewidth=1, label="fake above"
        )
        axes.axhline(limits.real_below, color="0.3", linestyle=":", linewidth=1, label="real below")
    axes.set(xlabel="seconds", ylabel="probability of fake", ylim=(-0.02, 1.02))
    said = (
        prediction.verdict
        if prediction.reason is None
        else f"{prediction.verdict}: {prediction.reason}"
    )
    axes.set_title(f"{prediction.video}\n{said}", fontsize=9, parse_math=False)
    if prediction.tracks:
        axes.legend(loc="upper right", fontsize="small")
    return axes
