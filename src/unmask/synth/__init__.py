"""Real faces -> fakes with known segments."""

from unmask.synth.blend import SelfBlend
from unmask.synth.families import FAMILIES, parse_families
from unmask.synth.forge import Forged, Forger
from unmask.synth.tree import make_fakes

__all__ = ["FAMILIES", "Forged", "Forger", "SelfBlend", "make_fakes", "parse_families"]
