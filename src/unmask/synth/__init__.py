"""Real faces -> fakes with known segments."""

from unmask.synth.blend import SelfBlend
from unmask.synth.tree import make_fakes

__all__ = ["SelfBlend", "make_fakes"]
