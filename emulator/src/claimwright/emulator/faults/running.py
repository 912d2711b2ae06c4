"""Run fault scripts against a node: in the node's own process, on a clock that tests replace."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from claimwright.emulator.control import apply
from claimwright.emulator.description import describe
from claimwright.emulator.errors import EmulatorError, OperationRefused, Refusal
from claimwright.emulator.faults.durations import duration_text
from claimwright.emulator.faults.load import Load, load_of
from claimwright.emulator.faults.script import EVERY, ScriptProfile, Step
from claimwright.emulator.faults.words import Words
from claimwright.emulator.model import NodeModel
from claimwright.emulator.model.operations import faults
from claimwright.emulator.model.operations.load import apply_load

_TICK_SECONDS = 0.5
Tell = Callable[[Mapping[str, Any]], None]


class Clock(Protocol):
    """Time that a script waits for."""

    def now(self) -> float:
        """Return seconds that only grow."""

    async def sleep_until(self, moment: float) -> None:
        """Return at that moment, at once when it has passed."""


class MonotonicClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Return its seconds."""
        return time.monotonic()

    async def sleep_until(self, moment: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(max(0.0, moment - time.monotonic()))


class ExpectationFailed(EmulatorError):
    """The node is not in the state that a script expected."""


@dataclass(eq=False)
class ScriptRun:
    """One run of one script; `tell` hears of each step as it is done.

    It holds an agenda of moments. A step with `for` puts the end of its fault on it. What is due at the same moment
    is done in the order of the script. A script that ends leaves the faults that it did not end; one that is
    cancelled, or fails, ends all of its own.
    """

    model: NodeModel
    script: ScriptProfile
    clock: Clock
    tell: Tell = lambda _said: None
    injected: list[int] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        for step in self.script.steps:
            for at in step.times:
                self._plan(at, partial(self._do, step, at))

    async def run(self) -> None:
        """Do every step; ExpectationFailed and OperationRefused name the step."""
        start = self.clock.now()
        try:
            while self._agenda:
                at, _, action = heapq.heappop(self._agenda)
                await self.clock.sleep_until(start + at)
                action()
        except BaseException:
            self._end_all()
            raise

    @property
    def planned(self) -> int:
        """How much is on the agenda."""
        return len(self._agenda)

    def _plan(self, at: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), action))

    def _do(self, step: Step, at: float) -> None:
        try:
            outcome = self._outcome(step, at)
        except EmulatorError as error:
            self.tell({"at": at, "step": described(step), "failed": str(error)})
            raise type_of(error)(f"at {duration_text(at)}, {described(step)}: {error}") from error
        self.tell({"at": at, "step": described(step), "outcome": outcome})

    def _outcome(self, step: Step, at: float) -> str:
        if step.inject is not None:
            return self._inject(step, step.inject, at)
        if step.clear is not None:
            return self._clear(step.clear)
        if step.call is not None:
            apply(self.model, step.call.name, step.call.parameters)
            return "done"
        if step.load is not None:
            return self._load(load_of(step.load), at)
        self._check(step.expect or {})
        return "as expected"

    def _inject(self, step: Step, words: Words, at: float) -> str:
        record = self.model.perform(faults.inject_fault, words.name, words.parameters)
        if record.number is None:
            return "happened"
        self.injected.append(record.number)
        if step.label is not None:
            self.labels[step.label] = record.number
        if words.lasting_seconds is not None:
            self._plan(at + words.lasting_seconds, partial(self._end_of, record.number, words, at))
        return f"fault {record.number}"

    def _end_of(self, number: int, words: Words, at: float) -> None:
        if self._end(number):
            moment = at + (words.lasting_seconds or 0)
            self.tell({"at": moment, "step": f"end of {words.name}", "outcome": f"fault {number} cleared"})

    def _clear(self, what: str) -> str:
        if what in self.labels:
            return "cleared" if self._end(self.labels.pop(what)) else "was over already"
        gone = self.model.perform(faults.clear_faults, fault=None if what == EVERY else what)
        return f"{len(gone)} cleared"

    def _end(self, number: int) -> bool:
        """End one fault, unless something else did."""
        if all(each.number != number for each in self.model.snapshot().faults):
            return False
        self.model.perform(faults.clear_fault, number)
        return True

    def _end_all(self) -> None:
        for number in reversed(self.injected):
            self._end(number)

    def _load(self, load: Load, start: float) -> str:
        """Begin a load: utilization of each moment, and the warmth of the time until the next."""
        self._tick(load, start, 0)
        return f"for {duration_text(load.over)}"

    def _tick(self, load: Load, start: float, number: int) -> None:
        """Do one tick and put the next on the agenda; the last one is the end of the load."""
        seconds = min(number * _TICK_SECONDS, load.over)
        until = min(seconds + _TICK_SECONDS, load.over)
        self.model.perform(apply_load, load.gpu, load.percent(seconds), until - seconds)
        if until > seconds:
            self._plan(start + until, partial(self._tick, load, start, number + 1))

    def _check(self, expected: Mapping[str, Any]) -> None:
        state = describe(self.model.snapshot())
        for path, wanted in expected.items():
            found = value_at(state, path)
            if found != wanted:
                raise ExpectationFailed(f"{path} is {found!r}, expected {wanted!r}")


def value_at(value: Any, path: str) -> Any:  # noqa: ANN401 - JSON
    """Return what a path such as `gpus.3.lost` leads to; ExpectationFailed says where it ends."""
    walked: list[str] = []
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            known = ", ".join(value) if isinstance(value, dict) else type(value).__name__
            raise ExpectationFailed(
                f"{path}: no {part!r} in {'.'.join(walked) or 'the node'} ({known})"
            ) from None
        walked.append(part)
    return value


def described(step: Step) -> str:
    """Return a step in its own words."""
    line = getattr(step, step.verbs[0])
    if isinstance(line, Words):
        text = " ".join((line.name, *(f"{key}={value}" for key, value in line.parameters.items())))
        lasting = "" if line.lasting_seconds is None else f" for {duration_text(line.lasting_seconds)}"
        return f"{step.verbs[0]} {text}{lasting}"
    if isinstance(line, dict):
        return "expect " + ", ".join(f"{path}={value}" for path, value in line.items())
    return f"{step.verbs[0]} {line}"


def type_of(error: EmulatorError) -> Callable[[str], EmulatorError]:
    """Return how to raise the same kind of error with more words."""
    if isinstance(error, OperationRefused):
        return partial(OperationRefused, Refusal(error.reason))
    return ExpectationFailed
