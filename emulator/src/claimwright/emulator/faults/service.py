"""The scripts of a node: what its control socket offers for running, following and cancelling them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from claimwright.emulator.control import Services
from claimwright.emulator.errors import EmulatorError, OperationRefused, Refusal
from claimwright.emulator.faults.running import MonotonicClock, ScriptRun
from claimwright.emulator.faults.script import ScriptProfile
from claimwright.emulator.model import NodeModel, parse_profile
from claimwright.emulator.watch.feed import Feed

_log = logging.getLogger(__name__)
_MOST_RUNS = 64


@dataclass(eq=False)
class _Running:
    script: ScriptProfile
    task: asyncio.Task[None] | None = None
    said: list[Mapping[str, Any]] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    end: str | None = None


class ScriptService:
    """Runs scripts as tasks of the node process: they outlive the command that started them."""

    def __init__(self, model: NodeModel, feed: Feed) -> None:
        self._model = model
        self._feed = feed
        self._runs: dict[int, _Running] = {}
        self._numbers = itertools.count(1)

    @property
    def services(self) -> Services:
        """What the control socket offers."""
        calls: dict[str, Callable[..., Any]] = {
            "run_script": self.start,
            "cancel_script": self.cancel,
            "list_scripts": self.runs,
        }
        return Services(calls, {"follow_script": self.follow, "watch": self._feed.stream})

    def start(self, text: str, source: str) -> Mapping[str, Any]:
        """Begin a script; ProfileError with file, line and reason when it is none."""
        script = parse_profile(ScriptProfile, text, source)
        alive = sum(1 for each in self._runs.values() if each.end is None)
        if alive >= _MOST_RUNS:
            raise OperationRefused(
                Refusal.INSUFFICIENT_RESOURCES, f"{alive} scripts run already; cancel one first"
            )
        number = next(self._numbers)
        running = self._runs[number] = _Running(script)
        run = ScriptRun(self._model, script, MonotonicClock(), lambda said: self._tell(number, running, said))
        running.task = asyncio.get_running_loop().create_task(self._complete(number, running, run))
        self._forget_old()
        return {"run": number, "name": script.name, "steps": len(script.steps)}

    def cancel(self, run: int) -> Mapping[str, Any]:
        """End a run, and the faults that it has put in force; one that is over stays as it is."""
        running = self._find(run)
        if running.task is not None and running.end is None:
            running.task.cancel()
        return {"run": run, "end": running.end or "cancelled"}

    def runs(self) -> list[Mapping[str, Any]]:
        """Return every run that is remembered, oldest first."""
        return [
            {"run": number, "name": each.script.name, "end": each.end, "done": len(each.said)}
            for number, each in self._runs.items()
        ]

    async def follow(self, run: int) -> AsyncIterator[Any]:
        """Yield each step of a run, from its first, and then `{"end": "completed" | "cancelled" | "failed: …"}`."""
        try:
            running = self._find(run)
        except OperationRefused as error:
            yield {"refused": error.reason, "message": error.said}
            return
        at = 0
        while True:
            running.more.clear()
            while at < len(running.said):
                yield running.said[at]
                at += 1
            if running.end is not None:
                yield {"end": running.end}
                return
            await running.more.wait()

    async def close(self) -> None:
        """End every run with the node."""
        tasks = [each.task for each in self._runs.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _complete(self, number: int, running: _Running, run: ScriptRun) -> None:
        try:
            await run.run()
            end = "completed"
        except asyncio.CancelledError:
            end = "cancelled"
        except EmulatorError as error:
            end = f"failed: {error}"
        except Exception as error:  # noqa: BLE001 - the top of a task: a script must not end the node
            _log.exception("script %d failed", number)
            end = f"failed: {error!r}"
        running.end = end
        running.more.set()
        self._feed.tell(
            {"script": {"run": number, "name": running.script.name, "time": time.time(), "end": end}}
        )

    def _tell(self, number: int, running: _Running, said: Mapping[str, Any]) -> None:
        running.said.append(said)
        running.more.set()
        self._feed.tell({"script": {"run": number, "name": running.script.name, "time": time.time(), **said}})

    def _find(self, run: int) -> _Running:
        if run not in self._runs:
            known = ", ".join(map(str, self._runs)) or "none"
            raise OperationRefused(Refusal.NOT_FOUND, f"no script run {run}; known: {known}")
        return self._runs[run]

    def _forget_old(self) -> None:
        over = [number for number, each in self._runs.items() if each.end is not None]
        for number in over[:-_MOST_RUNS]:
            del self._runs[number]
