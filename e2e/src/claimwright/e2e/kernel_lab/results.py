"""What came of each step, and how two worlds differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """One step in one world: `outcome` is `ok` or an errno's name.

    `value` is what the expectation says where it was met, and what was seen where it was not: so equal values mean
    the same in worlds with other addresses. `wrong` says why the step failed, None when it passed.
    """

    subject: str
    case: str
    number: int
    step: str
    outcome: str
    value: str
    wrong: str | None = None

    @property
    def place(self) -> tuple[str, str, int]:
        """Where in the table this is."""
        return (self.subject, self.case, self.number)

    def __str__(self) -> str:
        said = self.wrong or f"{self.outcome} {self.value}".rstrip()
        return f"{self.subject} / {self.case} / {self.number}. {self.step}: {said}"


@dataclass(frozen=True, slots=True)
class NotRun:
    """A case that a world does not offer what it needs for."""

    subject: str
    case: str
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A step that came out otherwise in another world; None where that world never got to it."""

    place: tuple[str, str, int]
    step: str
    first: str | None
    second: str | None


def differences(first: Iterable[Result], second: Iterable[Result]) -> Iterator[Difference]:
    """Compare result by result; cases that one of the worlds did not run at all are not compared."""
    ours, theirs = ({result.place: result for result in results} for results in (first, second))
    shared = {place[:2] for place in ours} & {place[:2] for place in theirs}
    for place in sorted(place for place in ours.keys() | theirs.keys() if place[:2] in shared):
        one, two = ours.get(place), theirs.get(place)
        known = one or two
        if known is not None and _told(one) != _told(two):
            yield Difference(place, known.step, _told(one), _told(two))


def _told(result: Result | None) -> str | None:
    return None if result is None else f"{result.outcome} {result.value}".rstrip()
