"""A function over many items: in this process, in several, or on the machines of a Ray cluster."""

from unmask.engine.run import HERE, WHOLE, Engine, Outcome, Progress, Shard, run, silent

__all__ = ["HERE", "WHOLE", "Engine", "Outcome", "Progress", "Shard", "run", "silent"]
