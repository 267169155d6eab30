"""Is a video one that a verdict can be given of? Outside of these limits there is none.

The limits are wide: they take out what nobody could judge, not what is hard.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from unmask.data import pt_file
from unmask.detection.prediction import Prediction
from unmask.errors import FileError
from unmask.video.reader import Video

# Pixels, the longer side of the detector's box. The shipped model sees a face enlarged to 192
# pixels; of one of 32 five sixths of them are made up.
MIN_FACE = 32
# Of the video stream, for each pixel of each frame. Blocks without a trace of skin begin here: an
# H.264 stream of 720p at 25 frames a second then has 92 kbit/s, a twentieth of what sites send.
MIN_BITS = 0.004
# Seconds between the first and the last face. Below it is no more than a flash.
MIN_SECONDS = 0.5
# Scored faces of the person that the verdict is of. One or two may be any accident.
MIN_FACES = 3
# Share of the samples with a scored face. Below it nine tenths of the video were not looked at.
MIN_COVERAGE = 0.1


def scoped(prediction: Prediction, bits: float | None = None) -> Prediction:
    """Take back the verdict on a video that is outside of the limits.

    Args:
        prediction: of a video.
        bits: what it spends on a pixel (see bits_per_pixel); None if not known.

    Returns:
        The prediction with its `out_of_scope`; "real" and "fake" become "inconclusive".
    """
    if prediction.verdict == "failed":
        return prediction
    found = tuple(_reasons(prediction, bits))
    if not found:
        return prediction
    reason = "; ".join(filter(None, (prediction.reason, *found)))
    return replace(prediction, verdict="inconclusive", reason=reason, out_of_scope=found)


def _reasons(prediction: Prediction, bits: float | None) -> list[str]:
    worst = max(prediction.tracks, key=lambda track: track.confidence).id
    faces = [face for face in prediction.timeline if face.track == worst]
    sides = [max(abs(x1 - x0), abs(y1 - y0)) for x0, y0, x1, y1 in (face.box for face in faces)]
    times = [face.time for face in prediction.timeline]
    side, seconds = float(np.median(sides)), max(times) - min(times)
    found = []
    if side < MIN_FACE:
        found.append(f"the face is too small to judge: {side:.0f} pixels, less than {MIN_FACE}")
    if bits is not None and bits < MIN_BITS:
        found.append(
            f"the video is too compressed to judge: {bits:.4f} bits a pixel, less than {MIN_BITS}"
        )
    if seconds < MIN_SECONDS:
        found.append(
            f"the video is too short to judge: faces over {seconds:.1f} s, less than {MIN_SECONDS}"
        )
    if len(faces) < MIN_FACES:
        found.append(f"too few faces were scored: {len(faces)}, less than {MIN_FACES}")
    if prediction.coverage < MIN_COVERAGE:
        found.append(
            f"too little was judged: a face in {prediction.coverage:.0%} of the sampled frames, "
            f"less than {MIN_COVERAGE:.0%}"
        )
    return found


def bits_per_pixel(path: str | Path) -> float | None:
    """Bits that a video spends on each pixel of each frame, by its container.

    None where it does not say enough, and for `.pt` files.
    """
    if Path(path).suffix == pt_file.SUFFIX:
        return None
    try:
        with Video(path) as video:
            info = video.info
    except FileError:
        return None
    pixels = info.width * info.height * (info.fps or 0)
    return info.bit_rate / pixels if info.bit_rate and pixels else None
