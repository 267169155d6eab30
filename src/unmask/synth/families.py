"""All families of manipulations by name."""

from collections.abc import Collection, Sequence

from unmask.errors import UsageError
from unmask.synth.blend import SelfBlend
from unmask.synth.manipulation import Manipulation
from unmask.synth.render import Generator, Redrawn, SlowFace
from unmask.synth.swap import FaceSwap, RegionReplacement

FAMILIES: dict[str, type[Manipulation]] = {
    family.method: family
    for family in (SelfBlend, FaceSwap, RegionReplacement, Generator, Redrawn, SlowFace)
}


def parse_families(text: str) -> tuple[str, ...]:
    """ "all", or names separated by commas.

    Raises:
        UsageError: there is no such family.
    """
    names = tuple(FAMILIES) if text == "all" else tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in FAMILIES:
            raise UsageError(f"no family {name!r}; there are all, {', '.join(FAMILIES)}")
    return names


def possible_families(names: Sequence[str], has: Collection[str]) -> list[type[Manipulation]]:
    """The families of these names that need nothing but what there is (see Manipulation.needs).

    Raises:
        UsageError: there are none.
    """
    families = [FAMILIES[name] for name in names]
    possible = [family for family in families if family.needs in ("", *has)]
    if not possible:
        wants = {
            "own": "faces",
            "other": "a second person",
            "redrawers": "a folder of autoencoders",
            "frames": "all frames of a video, not the few that training takes",
        }
        needs = sorted({wants[family.needs] for family in families})
        raise UsageError(f"{', '.join(names)}: needs {' or '.join(needs)}")
    return possible
