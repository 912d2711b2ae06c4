"""What cannot work in a fault script though its form is right: found before anything of it happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from claimwright.emulator.control import check
from claimwright.emulator.errors import OperationRefused
from claimwright.emulator.faults.load import load_of
from claimwright.emulator.faults.words import Words
from claimwright.emulator.model.faults import FAULTS, parse
from claimwright.emulator.model.profile_text import Place

if TYPE_CHECKING:
    from claimwright.emulator.faults.script import Step

EVERY = "all"  # what `clear` calls every fault
_OVER_AT_ONCE = "{} leaves nothing behind that could end"
Problems = Iterator[tuple[Place, str]]


def step_problems(step: Step) -> Problems:
    """Yield what is wrong with one step, as (place in it, sentence)."""
    if len(step.verbs) != 1:
        said = f"has {' and '.join(step.verbs)}" if step.verbs else "does nothing"
        yield (), f"{said}; expected one of inject, clear, call, load, expect"
    if step.inject is not None:
        yield from _inject_problems(step.inject)
    if step.call is not None:
        yield from _call_problems(step.call)
    if step.load is not None:
        yield from _load_problems(step.load)
    if step.label is not None and step.inject is None:
        yield ("as",), "only a step that injects can have a label"


def name_problems(index: int, steps: Sequence[Step]) -> Problems:
    """Yield what is wrong with the names that a step of a script gives and uses."""
    step, labels = steps[index], [each.label for each in steps if each.label is not None]
    if step.label in (*FAULTS, EVERY):
        yield ("as",), f"{step.label!r} means something to `clear` already; choose another label"
    if step.label is not None and step.label in [each.label for each in steps[:index]]:
        yield ("as",), f"{step.label!r} is the label of an earlier step"
    if step.clear is not None and step.clear not in (*FAULTS, *labels, EVERY):
        known = f"{EVERY}, a label ({', '.join(labels) or 'none is given'}) or a class of `fault list`"
        yield ("clear",), f"{step.clear!r} is not known; expected {known}"
    if step.label is not None and step.inject is not None and _is_over_at_once(step.inject):
        yield ("as",), _OVER_AT_ONCE.format(step.inject.name)


def _inject_problems(words: Words) -> Problems:
    try:
        parse(words.name, words.parameters)
    except OperationRefused as error:
        yield ("inject",), error.said
    if words.lasting_seconds is not None and _is_over_at_once(words):
        yield ("inject",), f"for={words.lasting_seconds:g}s: {_OVER_AT_ONCE.format(words.name)}"


def _is_over_at_once(words: Words) -> bool:
    try:
        return not parse(words.name, words.parameters).lasts
    except OperationRefused:
        return False  # it is refused as what it is


def _call_problems(words: Words) -> Problems:
    try:
        check(words.name, words.parameters)
    except OperationRefused as error:
        yield ("call",), error.said
    if words.lasting_seconds is not None:
        yield ("call",), "a call does not last: `for` belongs to inject"


def _load_problems(words: Words) -> Problems:
    try:
        load_of(words)
    except ValueError as error:
        yield ("load",), str(error)
    if words.lasting_seconds is not None:
        yield ("load",), "a load says how long by `over`, not by `for`"
