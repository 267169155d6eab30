"""A Dockerfile as stages of steps: the grammar that ours uses, and an error for the rest."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

INSTRUCTIONS = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN",
                "USER", "VOLUME", "WORKDIR"}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One instruction and what follows it."""

    instruction: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The exec form (a JSON array), or the words of the line."""
        rest = self.rest
        return list(map(str, json.loads(rest))) if rest.startswith("[") else rest.split()


@dataclass(frozen=True)
class Stage:
    """From one FROM to the next.

    Attributes:
        base: the image that it starts from.
        name: what COPY --from calls it; "" without one.
        steps: the instructions after FROM, in their order.
    """

    base: str
    name: str
    steps: list[Step] = field(default_factory=list)

    def last(self, instruction: str) -> Step:
        """The one that counts, of those that replace each other.

        Raises:
            ValueError: there is none.
        """
        for step in reversed(self.steps):
            if step.instruction == instruction:
                return step
        raise ValueError(f"the stage {self.name or 'without a name'} has no {instruction}")

    def all(self, instruction: str) -> list[Step]:
        """Every one, in their order."""
        return [step for step in self.steps if step.instruction == instruction]


def parse(path: Path) -> list[Stage]:
    """Read a Dockerfile.

    Raises:
        ValueError: an instruction that is not understood here.
    """
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.M)
    stages: list[Stage] = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if not line.strip():
            continue
        instruction, _, rest = line.strip().partition(" ")
        if instruction not in INSTRUCTIONS:
            raise ValueError(f"{path}: {instruction} is not understood")
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name))
        elif not stages:
            raise ValueError(f"{path}: {instruction} before FROM")
        else:
            stages[-1].steps.append(Step(instruction, rest.strip()))
    return stages


def health(step: Step) -> list[str]:
    """The command of a HEALTHCHECK."""
    _, _, command = step.rest.partition("CMD ")
    return Step("CMD", command.strip()).words
