"""A fault script: what happens to a node, and when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from claimwright.emulator.errors import OperationRefused
from claimwright.emulator.faults.durations import parse_duration
from claimwright.emulator.faults.load import load_of
from claimwright.emulator.faults.words import Words, read_words
from claimwright.emulator.model.faults import parse
from claimwright.emulator.model.operations import TABLE
from claimwright.emulator.model.profile_text import Place, Profile

_MOST_STEPS = 100_000

Duration = Annotated[float, BeforeValidator(parse_duration)]


def _words(value: object) -> object:
    return read_words(value) if isinstance(value, str) else value


Line = Annotated[Words, BeforeValidator(_words)]


class Repeat(Profile):
    """Do a step again: `times` in all, one `every` so long."""

    every: Annotated[Duration, Field(gt=0)]
    times: Annotated[int, Field(ge=1, le=_MOST_STEPS)]


class Step(Profile):
    """One step: when, and one of `inject`, `clear`, `call`, `load`, `expect`.

    `inject` and `call` are written as on the command line. `clear` names a class, or the label of a step (`as`), or
    `all`. `expect` names values of `node inspect --json` by their path and says what they must be.
    """

    at: Duration
    inject: Line | None = None
    clear: str | None = None
    call: Line | None = None
    load: Line | None = None
    expect: dict[str, Any] | None = None
    label: Annotated[str | None, Field(alias="as", pattern=r"^[a-z][a-z0-9-]*$")] = None
    repeat: Repeat | None = None

    @property
    def times(self) -> Iterator[float]:
        """Yield when it happens, seconds after the start."""
        for number in range(self.repeat.times if self.repeat else 1):
            yield self.at + (number * self.repeat.every if self.repeat else 0)

    @property
    def verb(self) -> str:
        """What it does."""
        return next(iter(self._verbs()), "nothing")

    def _verbs(self) -> Iterator[str]:
        yield from (
            verb for verb in ("inject", "clear", "call", "load", "expect") if getattr(self, verb) is not None
        )

    def faults(self) -> Iterator[tuple[Place, str]]:
        """Yield what is wrong with it, beyond its form."""
        verbs = list(self._verbs())
        if len(verbs) != 1:
            said = f"has {' and '.join(verbs)}" if verbs else "does nothing"
            yield (), f"{said}; expected one of inject, clear, call, load, expect"
        if self.inject is not None:
            yield from _inject_faults(self.inject)
        if self.call is not None and self.call.name not in TABLE:
            yield ("call",), f"unknown operation {self.call.name!r}; known: {', '.join(sorted(TABLE))}"
        if self.load is not None:
            yield from _load_faults(self.load)
        if self.label is not None and self.inject is None:
            yield ("as",), "only a step that injects can have a label"


class ScriptProfile(Profile):
    """A fault script as text."""

    name: str = "script"
    description: str = ""
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=1000)]

    def contradictions(self) -> Iterator[tuple[Place, str]]:
        """Yield what cannot work, with its place."""
        for index, step in enumerate(self.steps):
            for place, said in step.faults():
                yield ("steps", index, *place), said
        if sum(step.repeat.times if step.repeat else 1 for step in self.steps) > _MOST_STEPS:
            yield ("steps",), f"more than {_MOST_STEPS} steps with their repetitions"


def _inject_faults(words: Words) -> Iterator[tuple[Place, str]]:
    try:
        parse(words.name, words.parameters)
    except OperationRefused as error:
        yield ("inject",), error.said


def _load_faults(words: Words) -> Iterator[tuple[Place, str]]:
    try:
        load_of(words)
    except ValueError as error:
        yield ("load",), str(error)
