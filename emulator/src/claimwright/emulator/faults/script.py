"""A fault script: what happens to a node, and when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from claimwright.emulator.faults.durations import parse_duration
from claimwright.emulator.faults.load import load_of
from claimwright.emulator.faults.script_checks import EVERY, name_problems, step_problems
from claimwright.emulator.faults.words import Words, read_words
from claimwright.emulator.model.profile_text import Place, Profile
from claimwright.emulator.model.rules import BeforeValidator, Field

__all__ = ["EVERY", "Repeat", "ScriptProfile", "Step"]

_MOST_STEPS = 100_000
_VERBS = ("inject", "clear", "call", "load", "expect")

Duration = Annotated[float, BeforeValidator(parse_duration)]


def _words(value: object) -> Words:
    if isinstance(value, str):
        return read_words(value)
    raise ValueError(f"{value!r} is no line; expected one as on the command line, such as gpu-lost gpu=3")


Line = Annotated[Words, BeforeValidator(_words)]


class Repeat(Profile):
    """Do a step again: `times` in all, one `every` so long."""

    every: Annotated[Duration, Field(gt=0)]
    times: Annotated[int, Field(ge=1, le=_MOST_STEPS)]


class Step(Profile):
    """One step: when, and one of `inject`, `clear`, `call`, `load`, `expect`.

    `inject`, `load` and `call` are written as on the command line. `clear` names a class, or the label of a step
    (`as`), or `all`. `expect` names values of `node inspect --json` by their path and says what they must be.
    """

    at: Duration
    inject: Line | None = None
    clear: str | None = None
    call: Line | None = None
    load: Line | None = None
    expect: Annotated[dict[str, Any], Field(min_length=1)] | None = None
    label: Annotated[str | None, Field(alias="as", pattern=r"^[a-z][a-z0-9-]*$")] = None
    repeat: Repeat | None = None

    @property
    def count(self) -> int:
        """How often it happens."""
        return self.repeat.times if self.repeat else 1

    @property
    def times(self) -> Iterator[float]:
        """Yield when it happens, seconds after the start."""
        for number in range(self.count):
            yield self.at + (number * self.repeat.every if self.repeat else 0)

    @property
    def verbs(self) -> tuple[str, ...]:
        """What it does: one thing, in a script that was not refused."""
        return tuple(verb for verb in _VERBS if getattr(self, verb) is not None)

    @property
    def end(self) -> float:
        """When the last of it is over, seconds after the start; what has no end of its own is over at once."""
        lasting = (self.inject and self.inject.lasting_seconds) or 0.0
        over = load_of(self.load).over if self.load else 0.0
        return self.at + (self.count - 1) * (self.repeat.every if self.repeat else 0) + lasting + over


class ScriptProfile(Profile):
    """A fault script as text."""

    name: str = "script"
    description: str = ""
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=1000)]

    @property
    def count(self) -> int:
        """How many steps it has, each repetition for itself."""
        return sum(step.count for step in self.steps)

    @property
    def seconds(self) -> float:
        """How long it runs."""
        return max(step.end for step in self.steps)

    def contradictions(self) -> Iterator[tuple[Place, str]]:
        """Yield what cannot work, with its place."""
        for index, step in enumerate(self.steps):
            for place, said in (*step_problems(step), *name_problems(index, self.steps)):
                yield ("steps", index, *place), said
        if self.count > _MOST_STEPS:
            yield ("steps",), f"more than {_MOST_STEPS} steps with their repetitions"
