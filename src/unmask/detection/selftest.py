"""Whether a model scores here as it did where it was made: drawn faces, and the scores they had.

Wrong or damaged weights, and a build of torch that computes wrongly, show at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Len
from numpy.typing import NDArray

from unmask.atomic import write_text
from unmask.data.pt_file import ProcessedVideo
from unmask.detection.detector import Detector
from unmask.documents import STRICT, read_json, to_json
from unmask.errors import ModelError
from unmask.faces import FaceTrack

SELFTEST = "selftest.json"
TOLERANCE = 0.05  # of a logit: kernels sum in different orders, and GPUs in 10 bits
_FACES = 12


@dataclass(frozen=True)
class Expected:
    """`selftest.json`, beside a model's weights.

    Attributes:
        sha256: of the weights that scored.
        logits: of the drawn faces, raw: those of the windows, then those of the frames.
    """

    sha256: str
    logits: Annotated[tuple[float, ...], Len(1, 1000)]

    __pydantic_config__ = STRICT


def draw_faces(count: int, size: int) -> NDArray[np.uint8]:
    """Faces of a kind, (count, size, size, 3) uint8 RGB, in whole numbers: the same everywhere.

    An oval with eyes and a mouth that moves from face to face, shaded, grainy, on a gradient.
    """
    y, x = np.mgrid[:size, :size].astype(np.int64) * 1000 // size  # thousandths of the side
    faces = np.empty((count, size, size, 3), np.uint8)

    def oval(cx: int, cy: int, rx: int, ry: int) -> NDArray[np.bool_]:
        return np.asarray(((x - cx) * ry) ** 2 + ((y - cy) * rx) ** 2 < (rx * ry) ** 2)

    for k, face in enumerate(faces):
        dx = 7 * (k % 5) - 14
        grain = ((x * 7919 + y * 104729 + k * 1299709) ** 2 // 1000) % 23
        face[:] = ((x + y) // 12 + grain)[..., None]
        for channel, tone in enumerate((200, 150, 120)):
            plane = face[..., channel]
            skin = oval(500 + dx, 500, 330, 430)
            plane[skin] = (tone - (x // 20) + grain)[skin]
            for cx in (370, 630):
                plane[oval(cx + dx, 420, 70, 35)] = 235
                plane[oval(cx + dx, 420, 30, 30)] = 30 + 10 * channel
            plane[oval(500 + dx, 720, 130, 25 + 5 * (k % 7))] = (140, 60, 60)[channel]
    return faces


def score(detector: Detector) -> Expected:
    """The logits of the drawn faces, in float32."""
    spec = detector.bundle.spec
    times = np.arange(_FACES) / spec.target_fps
    boxes = np.zeros((_FACES, 4), np.float32)
    track = FaceTrack(0, times, boxes, draw_faces(_FACES, spec.image_size))
    video = ProcessedVideo("selftest", (track,), _FACES, spec, _FACES / spec.target_fps)
    (logits,) = detector.score_video(video, precision="float32").tracks
    parts = [logits.window_logits, *(logits.frame_logits or [])]
    return Expected(detector.bundle.sha256, tuple(np.concatenate(parts).tolist()))


def selftest(detector: Detector, folder: str | Path) -> float:
    """Compare with the scores that a model's folder holds.

    Returns:
        The largest difference of a logit, at most TOLERANCE.

    Raises:
        ModelError: there are none, they are of other weights, or differ by more.
    """
    path = Path(folder) / SELFTEST
    expected, found = read_json(Expected, path, ModelError), score(detector)
    if expected.sha256 != found.sha256:
        raise ModelError(
            path, f"is of the weights {expected.sha256[:12]}, not of these, {found.sha256[:12]}: "
            "get the model again, or if the weights are right make the file with --write"
        )  # fmt: skip
    if len(expected.logits) != len(found.logits):
        raise ModelError(path, "is of another configuration; get the model again")
    lost = float(np.abs(np.subtract(expected.logits, found.logits)).max())
    if not lost <= TOLERANCE:  # nor not a number
        raise ModelError(
            path, f"a score is {lost:.3f} off, more than {TOLERANCE}: this build computes "
            "otherwise; install it anew, or try --device cpu or --backend torch"
        )  # fmt: skip
    return lost


def write_expected(detector: Detector, folder: str | Path) -> None:
    """Write `selftest.json` of the model as it scores here.

    Raises:
        FileError: it cannot be written.
    """
    write_text(Path(folder) / SELFTEST, to_json(score(detector)))
