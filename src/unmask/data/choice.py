"""Whose faces of a preprocessed video count."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from unmask.data.pt_file import ProcessedVideo
from unmask.errors import StoreError
from unmask.faces import FaceTrack


def choose_faces(
    video: ProcessedVideo, faces: str | int, path: str | Path, required: bool = False
) -> ProcessedVideo:
    """The faces that a decision asks for, out of all that were kept.

    Args:
        video: as it was preprocessed.
        faces: "largest" of each frame, whoever it is; "all"; or the N most prominent people.
        path: what an error names.
        required: whether a file in which fewer people were kept is an error; otherwise what is
            there is taken, and a warning says so.

    Raises:
        StoreError: the file does not hold all these people.
    """
    kept = video.spec.faces
    if faces == "largest":
        return replace(video, tracks=(_largest(video.tracks),)) if video.tracks[1:] else video
    if faces == kept or not video.tracks:
        return video
    fewer = kept == "largest" or (kept != "all" and (faces == "all" or int(faces) > int(kept)))
    if fewer:
        said = f"holds the faces of {_named(kept)}, not of {_named(faces)}"
        if required:
            raise StoreError(path, f"{said}: preprocess the video again with --faces {faces}")
        return replace(video, warnings=(*video.warnings, said))
    return replace(video, tracks=video.tracks[: int(faces)])


def _named(faces: str | int) -> str:
    if isinstance(faces, int):
        return f"{faces} people"
    return {"largest": "the largest face of each frame", "all": "all people"}[faces]


def _largest(tracks: tuple[FaceTrack, ...]) -> FaceTrack:
    """The largest face of every frame as one track."""
    times = np.concatenate([track.times for track in tracks])
    boxes = np.concatenate([track.boxes for track in tracks])
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    order = np.lexsort((-areas, times))  # by time, the largest first
    first = order[np.unique(times[order], return_index=True)[1]]
    crops = np.concatenate([track.crops for track in tracks])[first]
    known = [track.landmarks for track in tracks if track.landmarks is not None]
    landmarks = np.concatenate(known)[first] if len(known) == len(tracks) else None
    return FaceTrack(0, times[first], boxes[first], crops, landmarks)
