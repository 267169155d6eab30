"""Fakes on the fly: a window of stored faces -> the same window, manipulated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.data.windows import Window
from unmask.faces import FaceTrack
from unmask.synth.families import FAMILIES, possible_families
from unmask.synth.manipulation import Redrawer, Scene
from unmask.synth.patch import Image, Landmarks, Patch

_WHOLE = 0.7  # of the windows are manipulated throughout, the others in a part
_DONORS = 30  # faces that a manipulation may take


@dataclass(frozen=True, eq=False)
class Forger:
    """Manipulates windows.

    Attributes:
        families: names of FAMILIES to choose from; one that is named twice is twice as likely.
        redrawers: networks for the family that needs them.
    """

    families: Sequence[str]
    redrawers: Sequence[Redrawer] = ()

    @property
    def needs(self) -> set[str]:
        """The parts of a Scene that one of the families needs."""
        return {FAMILIES[name].needs for name in self.families}

    def forge(
        self, track: FaceTrack, window: Window, other: FaceTrack | None, rng: np.random.Generator
    ) -> tuple[Image, NDArray[np.bool_]]:
        """Manipulate a window of a track, whole or in a part.

        Args:
            track: of a real video, with landmarks.
            window: which of its faces.
            other: faces of another person, for swaps.
            rng: decides on everything.

        Returns:
            The faces (n, 3, S, S) uint8 RGB, n = stop - start, and which of them are altered (n,).

        Raises:
            UsageError: none of the families can be made of these faces.
        """
        own = _patches(track) if "own" in self.needs else ()
        donors = _patches(other) if "other" in self.needs and other is not None else ()
        scene = Scene(own, donors, self.redrawers)
        has = [name for name in ("own", "other", "redrawers") if getattr(scene, name)]
        families = possible_families(self.families, has)
        manipulation = families[int(rng.integers(len(families)))].draw(rng, scene)
        count = window.stop - window.start
        first, last = 0, count
        if rng.random() > _WHOLE and count >= 4:
            length = int(rng.integers(2, count))
            first = int(rng.integers(count - length + 1))
            last = first + length
        faces = track.crops[window.start : window.stop].copy()
        altered = np.zeros(count, dtype=bool)
        for number in range(first, last):
            landmarks = _landmarks(track, window.start + number)
            time = float(track.times[window.start + number])
            faces[number], mask = manipulation.apply(faces[number], landmarks, time)
            altered[number] = mask.any()
        return np.ascontiguousarray(faces.transpose(0, 3, 1, 2)), altered


def _landmarks(track: FaceTrack, number: int) -> Landmarks:
    if track.landmarks is None:
        return np.full((5, 2), np.nan, np.float32)
    return np.asarray(track.landmarks[number], np.float32)


def _patches(track: FaceTrack) -> list[Patch]:
    """Faces spread over the track, in order."""
    numbers = np.unique(np.linspace(0, len(track) - 1, min(_DONORS, len(track))).round())
    patches = (Patch.cut(track.crops[k], _landmarks(track, k)) for k in numbers.astype(int))
    return [patch for patch in patches if patch is not None]
