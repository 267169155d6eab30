"""A picture of the faces that speak most for a prediction, and where the model looked in them."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask import storage
from unmask.atomic import replacing
from unmask.data import pt_file
from unmask.detection.prediction import Prediction
from unmask.errors import UsageError
from unmask.face_spec import FaceSpec
from unmask.faces import crop_face
from unmask.video.reader import Video

Image = NDArray[np.uint8]
CAPTION = "where the model looked, not proof"
_SIDE = 224  # pixels of a face in the picture
_LINE = 20
_STRONGEST = 0.65  # of the colour over the face


def overlay(face: Image, cells: NDArray[np.float32]) -> Image:
    """A face under its heatmap.

    Args:
        face: (S, S, 3) uint8 RGB.
        cells: (h, w) float32, 0 to 1 (see Prediction.heatmaps).

    Returns:
        (S, S, 3) uint8 RGB; where the cells are 0 the face is as it was.
    """
    size = face.shape[1::-1]
    heat = np.clip(cv2.resize(cells, size, interpolation=cv2.INTER_CUBIC), 0, 1)
    colour = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_PLASMA)[..., ::-1]
    share = _STRONGEST * heat[..., None]
    return np.asarray(face + share * (colour.astype(np.float32) - face) + 0.5, np.uint8)


def save_heatmaps(prediction: Prediction, spec: FaceSpec, path: str | Path, count: int = 6) -> None:
    """Write the faces with the highest scores and, under each, its heatmap, as PNG or JPEG.

    Args:
        prediction: of a video that can be read again, or of a `.pt` file.
        spec: how its faces were made.
        path: file to write.
        count: of faces.

    Raises:
        UsageError: the model has no map head.
        VideoError, StoreError: the video cannot be read any more.
    """
    if prediction.heatmaps is None:
        raise UsageError(f"the model {prediction.model.name} makes no heatmaps (map_head)")
    order = np.argsort([-face.score for face in prediction.timeline], kind="stable")[:count]
    columns = []
    with storage.fetched(prediction.video) as video:
        faces = _faces(video, prediction, spec, sorted(order.tolist()))
    for number, face in faces:
        scored = prediction.timeline[number]
        small = cv2.resize(face, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        line = np.full((_LINE, _SIDE, 3), 255, np.uint8)
        said = f"{scored.time:.1f} s  score {scored.score:.2f}"
        cv2.putText(line, said, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        heated = overlay(np.asarray(small, np.uint8), prediction.heatmaps[number])
        columns.append(np.vstack([line, small, heated]))
    picture = np.hstack(columns)
    foot = np.full((_LINE, picture.shape[1], 3), 255, np.uint8)
    cv2.putText(foot, CAPTION, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    bgr = cv2.cvtColor(np.vstack([picture, foot]), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(Path(path).suffix, bgr)
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _faces(
    path: Path, prediction: Prediction, spec: FaceSpec, numbers: list[int]
) -> "list[tuple[int, Image]]":
    """The crops of these faces of the timeline, (S, S, 3) uint8 RGB, with their numbers."""
    if path.suffix == pt_file.SUFFIX:
        crops = [crop for track in pt_file.read(path).tracks for crop in track.crops]
        return [(number, np.ascontiguousarray(crops[number])) for number in numbers]
    wanted: dict[float, list[int]] = {}
    for number in numbers:
        wanted.setdefault(prediction.timeline[number].time, []).append(number)
    found: dict[int, Image] = {}
    with Video(path) as video:
        for frame in video.frames(spec.target_fps):
            for number in wanted.pop(frame.time, []):
                box = np.array(prediction.timeline[number].box, np.float32)
                found[number] = crop_face(frame.rgb, box, spec.image_size, spec.margin)
            if not wanted:
                break
    return sorted(found.items())
