"""What a model takes for granted about its input."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class FaceSpec:
    """How faces are sampled, cropped and cut into windows; a model is bound to the one it
    was trained on.

    Attributes:
        target_fps: samples a second.
        image_size: side of a crop in pixels.
        margin: pixels of the crop, both sides together, around the detector's box.
        sequence_length: faces a window.
        overlap: faces that successive windows share.
        people: whose faces: "largest", "all" or a number (see unmask.faces.Tracker).
        exact: search every sample for faces of every size and cut them out just as they were
            found; otherwise follow them and smooth their boxes, which is several times faster.
    """

    target_fps: float = 3
    image_size: int = 224
    margin: int = 0
    sequence_length: int = 30
    overlap: int = 6
    people: str | int = "largest"
    exact: bool = False

    def differences(self, other: "FaceSpec") -> list[str]:
        """What sets two specifications apart for a model.

        Whose faces they are and how they were found does not: the crops differ by little.
        """
        return [
            f"{name} {value} (not {getattr(other, name)})"
            for name, value in asdict(self).items()
            if name not in ("people", "exact") and value != getattr(other, name)
        ]
