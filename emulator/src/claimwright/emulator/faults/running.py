"""Run fault scripts against a node: in the node's own process, on a clock that tests replace."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from claimwright.emulator.control import apply
from claimwright.emulator.description import describe
from claimwright.emulator.errors import EmulatorError, ExpectationFailed, OperationRefused, Refusal
from claimwright.emulator.faults.clock import Clock
from claimwright.emulator.faults.durations import duration_text
from claimwright.emulator.faults.expecting import check_expected
from claimwright.emulator.faults.load import Load, load_of
from claimwright.emulator.faults.script import EVERY, ScriptProfile, Step
from claimwright.emulator.faults.wording import described
from claimwright.emulator.faults.words import Words
from claimwright.emulator.model import NodeModel
from claimwright.emulator.model.operations import faults
from claimwright.emulator.model.operations.load import apply_load

_TICK_SECONDS = 0.5
Tell = Callable[[Mapping[str, Any]], None]
_Due = tuple[float, int, Callable[[], None]]


@dataclass(eq=False)
class ScriptRun:
    """One run of one script; `tell` hears of each step as it is done.

    It holds an agenda of moments. A step with `for` puts the end of its fault on it. What is due at the same moment
    is done in the order of the script. A script that ends leaves the faults that it did not end; one that is
    cancelled, or fails, ends all of its own, and does nothing more.
    """

    model: NodeModel
    script: ScriptProfile
    clock: Clock
    tell: Tell = lambda _said: None
    done: int = 0
    injected: list[int] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)  # the faults that its early end has ended
    labels: dict[str, int] = field(default_factory=dict)
    loaded: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._order = itertools.count()
        steps = [(at, step) for step in self.script.steps for at in step.times]
        self._steps: list[_Due] = [(at, next(self._order), partial(self._do, step, at)) for at, step in steps]
        heapq.heapify(self._steps)
        self._rest: list[_Due] = []  # ends of faults, ticks of loads

    @property
    def planned(self) -> int:
        """How much is on the agenda."""
        return len(self._steps) + len(self._rest)

    @property
    def left(self) -> int:
        """How many steps have not been done."""
        return len(self._steps)

    @property
    def next_at(self) -> float | None:
        """When the next step is due, seconds after the start; None when no step is left."""
        return self._steps[0][0] if self._steps else None

    async def run(self) -> None:
        """Do every step; ExpectationFailed and OperationRefused name the step."""
        start = self.clock.now()
        try:
            while self._steps or self._rest:
                queue = min(
                    (each for each in (self._steps, self._rest) if each), key=lambda each: each[0][:2]
                )
                await self.clock.sleep_until(start + queue[0][0])
                heapq.heappop(queue)[2]()
        except BaseException:
            self._end_all()
            raise

    def _due_first(self) -> list[_Due]:
        return min((each for each in (self._steps, self._rest) if each), key=lambda queue: queue[0][:2])

    def _plan(self, at: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._rest, (at, next(self._order), action))

    def _do(self, step: Step, at: float) -> None:
        try:
            outcome = self._outcome(step, at)
        except EmulatorError as error:
            self.tell(self._said(at, described(step), failed=str(error)))
            raise _as(error, f"at {duration_text(at)}, {described(step)}: {error}") from error
        self.done += 1
        self.tell(self._said(at, described(step), outcome=outcome))

    def _said(self, at: float, step: str, **what: str) -> Mapping[str, Any]:
        where = {"done": self.done, "left": self.left, "next_at": self.next_at}
        return {"at": at, "step": step, **what, **where}

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
        check_expected(describe(self.model.snapshot()), step.expect or {})
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
            self.tell(self._said(moment, f"end of {words.name}", outcome=f"fault {number} cleared"))

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
        names = {each.number: each.fault.name for each in self.model.snapshot().faults}
        for gpu in self.loaded:
            self.model.perform(apply_load, gpu, 0, 0.0)
        for number in reversed(self.injected):
            if self._end(number):
                self.undone.append(f"fault {number} {names[number]}")

    def _load(self, load: Load, start: float) -> str:
        """Begin a load: utilization of each moment, and the warmth of the time until the next."""
        self._tick(load, start, 0)
        return f"for {duration_text(load.over)}"

    def _tick(self, load: Load, start: float, number: int) -> None:
        """Do one tick and put the next on the agenda; the last one is the end of the load."""
        seconds = min(number * _TICK_SECONDS, load.over)
        until = min(seconds + _TICK_SECONDS, load.over)
        self.model.perform(apply_load, load.gpu, load.percent(seconds), until - seconds)
        self.loaded.add(load.gpu)
        if until == seconds:
            self.loaded.discard(load.gpu)
        else:
            self._plan(start + until, partial(self._tick, load, start, number + 1))


def _as(error: EmulatorError, message: str) -> EmulatorError:
    """Return the same kind of error with more words."""
    if isinstance(error, OperationRefused):
        return OperationRefused(Refusal(error.reason), message)
    return ExpectationFailed(message)
