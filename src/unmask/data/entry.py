"""What is known of a `.pt` file without opening it."""

from dataclasses import dataclass

from unmask.data.pt_file.model import ProcessedVideo
from unmask.face_spec import FaceSpec


@dataclass(frozen=True)
class Entry:
    """What is known of a `.pt` file.

    Attributes:
        spec: how it was made.
        faces: of each of its tracks, how many.
        frames: how many frames have a face.
    """

    spec: FaceSpec
    faces: tuple[int, ...]
    frames: int

    @classmethod
    def of(cls, video: ProcessedVideo) -> "Entry":
        """What is to be known of a video."""
        frames = {float(time) for track in video.tracks for time in track.times}
        return cls(video.spec, tuple(map(len, video.tracks)), len(frames))

    def chosen(self, faces: str | int | None) -> tuple[int, ...]:
        """Of each track that is left by `choose_faces`, how many faces it has."""
        if faces == "largest" and self.faces:
            return (self.frames,)
        return self.faces[: int(faces)] if faces not in (None, "all", "largest") else self.faces
