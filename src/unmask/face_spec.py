"""Sampling and cropping settings that a model was trained with."""

from dataclasses import asdict, dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le

from unmask.documents import STRICT
from unmask.errors import UsageError

_WINDOW_BYTES = 2**30  # of the faces of one window


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
        faces: whose faces are kept: "largest", "all" or a number (see unmask.faces.Tracker).
        exact: search every sample for faces of every size and cut them out just as they were
            found; otherwise follow them and smooth their boxes, which is several times faster.

    The bounds in the annotations hold where a specification comes from outside, through
    unmask.documents.

    Raises:
        UsageError: nothing is left of the crop beside its margin, windows overlap by all of their
            faces, or one window's faces take more than 1 GiB.
    """

    target_fps: Annotated[float, Gt(0), Le(1000)] = 3
    image_size: Annotated[int, Ge(1), Le(4096)] = 224
    margin: Annotated[int, Ge(0), Le(4096)] = 0
    sequence_length: Annotated[int, Ge(1), Le(4096)] = 30
    overlap: Annotated[int, Ge(0), Le(4096)] = 6
    faces: str | Annotated[int, Ge(1), Le(1000)] = "largest"
    exact: bool = False

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        size, length = self.image_size, self.sequence_length
        if not 0 <= self.margin < size:
            raise UsageError(f"a margin of {self.margin} pixels must be less than the {size} "
                             "of the crop")  # fmt: skip
        if not 0 <= self.overlap < length:
            raise UsageError(f"windows of {length} faces cannot overlap by {self.overlap}")
        if length * 3 * size**2 > _WINDOW_BYTES:
            raise UsageError(f"windows of {length} faces of {size} pixels are too large")

    def differences(self, other: "FaceSpec") -> list[str]:
        """What sets two specifications apart for a model.

        Whose faces they are and how they were found does not: the crops differ by little.
        """
        return [
            f"{name} {value} (not {getattr(other, name)})"
            for name, value in asdict(self).items()
            if name not in ("faces", "exact") and value != getattr(other, name)
        ]
