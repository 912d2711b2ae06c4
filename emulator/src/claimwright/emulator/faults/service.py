"""The scripts of a node: what its control socket offers for running, following and cancelling them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from claimwright.emulator.control import Services
from claimwright.emulator.errors import EmulatorError, OperationRefused, Refusal
from claimwright.emulator.faults.clock import MonotonicClock
from claimwright.emulator.faults.running import ScriptRun
from claimwright.emulator.faults.script import ScriptProfile
from claimwright.emulator.model import NodeModel, parse_profile
from claimwright.emulator.watch.feed import Feed

_log = logging.getLogger(__name__)
_MOST_RUNS = 64
_COMMAND_GONE = "the command that ran it is gone"


@dataclass(eq=False)
class _Running:
    number: int
    run: ScriptRun
    task: asyncio.Task[None] | None = None
    said: list[Mapping[str, Any]] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    why: str | None = None  # it was cancelled, or failed
    end: Mapping[str, Any] | None = None

    @property
    def started(self) -> Mapping[str, Any]:
        """What is told first: its number, name, steps and length in seconds."""
        script = self.run.script
        return {"run": self.number, "name": script.name, "steps": script.count, "seconds": script.seconds}


class ScriptService:
    """Runs scripts as tasks of the node process."""

    def __init__(self, model: NodeModel, feed: Feed) -> None:
        self._model = model
        self._feed = feed
        self._runs: dict[int, _Running] = {}
        self._numbers = itertools.count(1)

    @property
    def services(self) -> Services:
        """What the control socket offers."""
        calls: dict[str, Callable[..., Any]] = {
            "run_script": lambda text, source: self._start(text, source).started,
            "cancel_script": self.cancel,
            "list_scripts": self.runs,
        }
        streams: dict[str, Callable[..., AsyncGenerator[Any, None]]] = {
            "perform_script": self.perform,
            "follow_script": self.follow,
            "watch": self._feed.stream,
        }
        return Services(calls, streams)

    async def perform(self, text: str, source: str) -> AsyncGenerator[Any, None]:
        """Run a script for as long as the caller listens: what `follow` yields, after `{"run": …}`.

        A caller that hangs up, because it was killed or went away, cancels it.
        """
        try:
            running = self._start(text, source)
        except EmulatorError as error:
            reason = error.reason if isinstance(error, OperationRefused) else Refusal.INVALID_ARGUMENT
            yield {"refused": reason, "message": getattr(error, "said", str(error))}
            return
        try:
            yield running.started
            async for said in _told(running):
                yield said
        finally:
            self._cancel(running, _COMMAND_GONE)

    async def follow(self, run: int) -> AsyncGenerator[Any, None]:
        """Yield each step of a run, from its first, and then its end.

        `{"end": "completed" | "cancelled" | "failed", "why": …, "done": n, "left": n, "undone": […], "in_force": […]}`
        """
        try:
            running = self._find(run)
        except OperationRefused as error:
            yield {"refused": error.reason, "message": error.said}
            return
        async for said in _told(running):
            yield said

    def cancel(self, run: int, why: str = "fault stop") -> Mapping[str, Any]:
        """End a run, and the faults that it has put in force; one that is over stays as it is."""
        running = self._find(run)
        self._cancel(running, why)
        return {"run": run, "end": running.end["end"] if running.end else "cancelled"}

    def runs(self) -> list[Mapping[str, Any]]:
        """Return every run that is remembered, oldest first."""
        now: dict[str, Any] = {"end": None, "why": None, "undone": [], "in_force": []}
        return [
            {**each.started, **(each.end or {**now, "done": each.run.done, "left": each.run.left})}
            for each in self._runs.values()
        ]

    async def close(self) -> None:
        """End every run with the node."""
        tasks = [each.task for each in self._runs.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, text: str, source: str) -> _Running:
        """Begin a script; ProfileError with file, line and reason when it is none."""
        script = parse_profile(ScriptProfile, text, source)
        alive = sum(1 for each in self._runs.values() if each.end is None)
        if alive >= _MOST_RUNS:
            raise OperationRefused(
                Refusal.INSUFFICIENT_RESOURCES, f"{alive} scripts run already; cancel one first"
            )
        number = next(self._numbers)
        running = _Running(number, ScriptRun(self._model, script, MonotonicClock()))
        running.run.tell = lambda said: self._tell(running, said)
        self._runs[number] = running
        running.task = asyncio.get_running_loop().create_task(self._complete(running))
        self._forget_old()
        return running

    @staticmethod
    def _cancel(running: _Running, why: str) -> None:
        if running.task is not None and running.end is None:
            running.why = running.why or why
            running.task.cancel()

    async def _complete(self, running: _Running) -> None:
        end = "completed"
        try:
            await running.run.run()
        except asyncio.CancelledError:
            end = "cancelled"
        except EmulatorError as error:
            end, running.why = "failed", str(error)
        except Exception as error:  # noqa: BLE001 - the top of a task: a script must not end the node
            _log.exception("script %d failed", running.number)
            end, running.why = "failed", repr(error)
        running.end = {
            "end": end,
            "why": running.why,
            "done": running.run.done,
            "left": running.run.left,
            "undone": running.run.undone,
            "in_force": [f"fault {each.number} {each.fault.name}" for each in self._model.snapshot().faults],
        }
        self._feed.tell({"script": {**_headline(running), **running.end}})
        running.more.set()

    def _tell(self, running: _Running, said: Mapping[str, Any]) -> None:
        running.said.append(said)
        self._feed.tell({"script": {**_headline(running), **said}})
        running.more.set()

    def _find(self, run: int) -> _Running:
        if run not in self._runs:
            known = ", ".join(map(str, self._runs)) or "none"
            raise OperationRefused(Refusal.NOT_FOUND, f"no script run {run}; known: {known}")
        return self._runs[run]

    def _forget_old(self) -> None:
        over = [number for number, each in self._runs.items() if each.end is not None]
        for number in over[:-_MOST_RUNS]:
            del self._runs[number]


async def _told(running: _Running) -> AsyncGenerator[Mapping[str, Any], None]:
    """Yield what a run says, from its first step to its end."""
    at = 0
    while True:
        running.more.clear()
        while at < len(running.said):
            yield running.said[at]
            at += 1
        if running.end is not None:
            yield running.end
            return
        await running.more.wait()


def _headline(running: _Running) -> Mapping[str, Any]:
    return {"run": running.number, "name": running.run.script.name, "time": time.time()}
