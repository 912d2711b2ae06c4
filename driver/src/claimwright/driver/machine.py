"""The state machine that prepares and releases claims by journalled steps, and recovers after a crash.

Invariants, at every point where the process may die:
- a step acts only after the journal holds the claim with all its steps;
- a device belongs to one claim at most, admin access apart;
- a claim is answered as prepared only when journal and world together prove it to the next process.
Lock order: the claim, then its devices by name (`NamedLocks`). One event loop owns all state here.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import textwrap
import time
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, Final, Protocol, TypeVar

from claimwright.driver.entries import Entry, HeldDevice, State
from claimwright.driver.errors import (
    DeviceTaken,
    DriverError,
    GpuGone,
    NotYet,
    StepFailed,
    StepRefused,
    TryAgain,
)
from claimwright.driver.journal import Journal, Record, acting, begun, reached, released
from claimwright.driver.locks import NamedLocks
from claimwright.driver.steps import Probe, Remembering, Step, Tool, Toolbox

logger = logging.getLogger(__name__)
LOCK_TIMEOUT_SECONDS = 10.0
# A GPU that left takes all with it, but one that says so once may only have stumbled: it is asked again.
_GONE_PAUSES_SECONDS: Final = (0.1, 0.4)
_DEVICE: Final = "device:"
_TO_REPAIR: Final = (Probe.NOT_DONE, Probe.PARTLY)
Result = TypeVar("Result")


class Watcher(Protocol):
    """Who wants to know how many devices are prepared."""

    def __call__(self, entries: Iterable[Entry]) -> None:
        """Take all entries after a change."""
        ...


class Stopwatch(Protocol):
    """Who wants to know how long steps take."""

    def __call__(self, tool: str, verb: str, seconds: float) -> None:
        """Take the time of one `do`, `undo`, `probe` or `found` of a tool, or of one `commit` of the journal."""
        ...


class Explain(Protocol):
    """Who says in words why two claims cannot both be held."""

    def __call__(self, wanted: HeldDevice, held: HeldDevice, holder: Entry, /) -> str:
        """Say why `wanted` excludes `held`, a device of the claim `holder`."""
        ...


def explain_conflict(wanted: HeldDevice, held: HeldDevice, holder: Entry, /) -> str:
    """Say it in the words that the community driver's users search for."""
    text = f"requested device {wanted.device} is already allocated to different claim {holder.uid}"
    if not wanted.shares_with(held):
        return text
    return (
        f"{text} with another config: shares of one device need equal configs; "
        f"this claim has {wanted.config or 'none'}, that one {held.config or 'none'}"
    )


class Machine:
    """Prepares and releases claims; each method may be called by many at once and twice for one claim."""

    def __init__(
        self,
        journal: Journal,
        toolbox: Toolbox,
        entries: Mapping[str, Entry],
        *,
        on_change: Watcher = lambda _: None,
        on_step: Stopwatch = lambda _tool, _verb, _seconds: None,
        lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
        explain: Explain = explain_conflict,
    ) -> None:
        self._journal = journal
        self._toolbox = toolbox
        self._entries = dict(entries)
        self._on_change = on_change
        self._on_step = on_step
        self._lock_timeout_seconds = lock_timeout_seconds
        self._explain = explain
        self._locks = NamedLocks()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._suspended = False

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every claim that this node holds, in the order they began."""
        return tuple(self._entries.values())

    def entry(self, uid: str) -> Entry | None:
        """Return what is known of a claim."""
        return self._entries.get(uid)

    async def prepare(self, plan: Entry) -> Entry:
        """Carry out `plan`, or return what was prepared for its claim before.

        DeviceTaken when another claim has a device; TryAgain when a lock, the journal or a step fails, and
        then nothing of it stays, unless it is NotYet. The work goes on when the caller is cancelled.
        """
        return await self._detached(self._prepare(plan))

    async def release(self, uid: str) -> None:
        """Undo a claim's steps and forget it; an unknown claim is fine."""
        await self._detached(self._release(uid))

    async def repair(self, uid: str) -> None:
        """Look at a prepared claim anew and do again what is missing of it; any other claim is fine."""
        await self._detached(self._repair(uid))

    async def recover(self) -> None:
        """Finish or roll back what a crash interrupted; call once, before anything else."""
        for entry in self.entries:
            try:
                await self._recover(entry)
            except DriverError:
                # Its devices stay held; the next prepare, release or sweep of this claim tries again. Pods may run
                # with a prepared one: it stays so, since a prepare of what is half-done would undo it first.
                logger.exception("claim %s (%s) could not be recovered", entry.claim, entry.uid)
                if entry.state is not State.PREPARED:
                    self._entries[entry.uid] = entry.at(State.RELEASING)
        self._on_change(self.entries)

    @property
    def toolbox(self) -> Toolbox:
        """What does the steps."""
        return self._toolbox

    @property
    def busy(self) -> frozenset[str]:
        """The GPUs, by PCI address, that something is being done to for a claim now; may be asked in any thread."""
        return frozenset(name.removeprefix(_DEVICE) for name in self._locks if name.startswith(_DEVICE))

    @property
    def in_charge(self) -> bool:
        """Whether this machine may change the node, and what it says of the claims is true now."""
        return not self._suspended

    async def suspend(self) -> None:
        """Let running work end and close the journal: another process goes on with it, this one knows what was."""
        self._suspended = True
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.to_thread(self._journal.close)

    def resume(self, journal: Journal, entries: Mapping[str, Entry]) -> None:
        """Go on with what another process left in the journal; `recover` comes next."""
        self._journal, self._entries, self._suspended = journal, dict(entries), False

    async def stop(self, *, timeout_seconds: float) -> None:
        """Let running work end, then close the journal."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_seconds)
        await asyncio.to_thread(self._journal.close)

    async def _prepare(self, plan: Entry) -> Entry:
        async with self._holding(plan):
            known = self._entries.get(plan.uid)
            if known is not None and known.state is State.PREPARED:
                await self._restore(known)
                return known
            if known is not None and known.state is State.WAITING and known.carries_out(plan):
                return await self._carry_out(known)
            if known is not None:
                await self._undo(known)
                self._forget(known)
            self._refuse_overlap(plan)
            return await self._begin(plan)

    async def _repair(self, uid: str) -> None:
        known = self._entries.get(uid)
        if known is None:
            return
        async with self._holding(known):
            known = self._entries.get(uid)
            if known is not None and known.state is State.PREPARED:
                await self._restore(known)

    async def _release(self, uid: str) -> None:
        known = self._entries.get(uid)
        if known is None:
            return
        async with self._holding(known):
            known = self._entries.get(uid)
            if known is None:
                return
            await self._commit(reached(uid, State.RELEASING))
            self._entries[uid] = known.at(State.RELEASING)
            await self._undo(known)
            self._forget(known)

    async def _begin(self, plan: Entry) -> Entry:
        await self._commit(begun(plan))
        self._entries[plan.uid] = plan
        return await self._carry_out(plan)

    async def _carry_out(self, plan: Entry) -> Entry:
        waited = plan.state is State.WAITING
        try:
            for number, step in enumerate(plan.steps):
                if not (waited and await self._stands(plan, number, step)):
                    await self._act(plan.uid, number, step)
            await self._record_prepared(plan)
        except NotYet:
            await self._wait(plan.uid)
            raise
        except DriverError:
            await self._roll_back(plan.uid)
            raise
        prepared = self._entries[plan.uid].at(State.PREPARED)
        self._entries[plan.uid] = prepared
        self._on_change(self.entries)
        return prepared

    async def _stands(self, plan: Entry, number: int, step: Step) -> bool:
        """Tell whether a step of a claim that waited is done, and still there to be seen."""
        tool = self._toolbox.of(step)
        began = number in plan.acted or not tool.recorded
        return began and await self._seen(tool, step) is Probe.DONE

    async def _wait(self, uid: str) -> None:
        """Leave the claim as it is. If this record is lost, recovery rolls the claim back, and it begins anew."""
        if self._entries[uid].state is not State.WAITING:
            self._journal.post(reached(uid, State.WAITING))
            self._entries[uid] = self._entries[uid].at(State.WAITING)

    async def _record_prepared(self, plan: Entry) -> None:
        """Record it, and wait only where the world would not prove it: recovery finishes visible steps."""
        prepared = reached(plan.uid, State.PREPARED)
        if all(self._toolbox.of(step).visible for step in plan.steps):
            self._journal.post(prepared)
        else:
            await self._commit(prepared)

    async def _act(self, uid: str, number: int, step: Step) -> None:
        tool = self._toolbox.of(step)
        entry = self._entries[uid]
        if tool.recorded:
            found = await self._found(tool, step)
            await self._commit(acting(uid, number, found))
            self._entries[uid] = entry.acting(number, found)
        others = self._steps_of_others(entry)
        if others and str(step) in others:
            return  # another claim rests on it already
        try:
            await self._do(self._entries[uid].steps[number])
        except StepRefused:
            self._entries[uid] = entry
            raise

    async def _found(self, tool: Tool, step: Step) -> Mapping[str, Any]:
        if not isinstance(tool, Remembering):
            return {}
        found: Mapping[str, Any] = await self._run(tool.found, step, quick=tool.quick)
        return found

    async def _roll_back(self, uid: str) -> None:
        entry = self._entries[uid]
        try:
            await self._undo(entry)
        except DriverError:
            logger.exception("claim %s (%s) could not be rolled back yet", entry.claim, uid)
            self._journal.post(reached(uid, State.RELEASING))
            self._entries[uid] = entry.at(State.RELEASING)
        else:
            self._forget(entry)

    async def _undo(self, entry: Entry) -> None:
        """Undo in reverse what was done, judged by the journal where it tells and by the world where it shows.

        A step that another claim rests on as well, such as the MIG mode of their GPU, stays for that one.
        """
        shared = self._steps_of_others(entry)
        for number, step in reversed(tuple(enumerate(entry.steps))):
            if shared and str(step) in shared:
                continue
            await self._undo_or_see_it_gone(entry, number, step)

    async def _undo_or_see_it_gone(self, entry: Entry, number: int, step: Step) -> None:
        for pause in (*_GONE_PAUSES_SECONDS, None):
            try:
                await self._undo_step(entry, number, step)
            except GpuGone as error:
                if pause is not None:
                    await asyncio.sleep(pause)
                    continue
                logger.warning("claim %s (%s): nothing is left to undo: %s", entry.claim, entry.uid, error)
            return

    async def _undo_step(self, entry: Entry, number: int, step: Step) -> None:
        tool = self._toolbox.of(step)
        done = number in entry.acted or not tool.recorded
        if done and tool.visible:
            done = await self._run(tool.probe, step, quick=tool.quick) is not Probe.NOT_DONE
        if done:
            await self._run(tool.undo, step, quick=tool.quick)

    def _steps_of_others(self, entry: Entry) -> frozenset[str]:
        hardware = entry.hardware()
        others = (
            other
            for other in self._entries.values()
            if other.uid != entry.uid
            and other.state is State.PREPARED
            and not hardware.isdisjoint(other.hardware())
        )
        return frozenset(str(step) for other in others for step in other.steps)

    def _forget(self, entry: Entry) -> None:
        # Not waited for: if this record is lost, recovery finds nothing left to undo and drops the claim.
        self._journal.post(released(entry.uid))
        self._entries.pop(entry.uid, None)
        self._on_change(self.entries)

    async def _restore(self, entry: Entry) -> None:
        """Repair what somebody else removed since, for instance a CDI file, and what follows from it."""
        repaired = False
        for step in entry.steps:
            tool = self._toolbox.of(step)
            if tool.visible and await self._run(tool.probe, step, quick=tool.quick) in _TO_REPAIR:
                logger.warning(
                    "claim %s (%s): %s was undone by somebody, repairing", entry.claim, entry.uid, step
                )
                repaired = True
            elif not (repaired and tool.refreshes):
                continue
            await self._do(step)

    async def _recover(self, entry: Entry) -> None:
        if entry.state is State.PREPARED:
            await self._restore(entry)
        elif entry.state is State.WAITING:
            logger.info("claim %s (%s) still waits", entry.claim, entry.uid)
        elif entry.state is State.PREPARING and await self._all_done(entry):
            await self._commit(reached(entry.uid, State.PREPARED))
            self._entries[entry.uid] = entry.at(State.PREPARED)
            logger.info(
                "claim %s (%s): finished the prepare that a crash interrupted", entry.claim, entry.uid
            )
        else:
            await self._undo(entry)
            self._forget(entry)
            logger.info("claim %s (%s): rolled back from %s", entry.claim, entry.uid, entry.state.value)

    async def _all_done(self, entry: Entry) -> bool:
        """Tell whether every step is there to be seen; one that does not show counts as not done."""
        for number, step in enumerate(entry.steps):
            tool = self._toolbox.of(step)
            if tool.recorded and number not in entry.acted:
                return False
            if await self._seen(tool, step) is not Probe.DONE:
                return False
        return True

    async def _seen(self, tool: Tool, step: Step) -> Probe:
        """Look whether a step is done; on a GPU that is gone nothing is."""
        try:
            probe: Probe = await self._run(tool.probe, step, quick=tool.quick)
        except GpuGone:
            return Probe.NOT_DONE
        return probe

    def _refuse_overlap(self, plan: Entry) -> None:
        for other in self._entries.values():
            found = None if other.uid == plan.uid else plan.conflict(other)
            if found is not None:
                raise DeviceTaken(self._explain(*found, other))

    def _holding(self, entry: Entry) -> Any:  # noqa: ANN401  an async context manager
        names = [f"claim:{entry.uid}", *(f"{_DEVICE}{hardware}" for hardware in entry.hardware())]
        return self._locks.hold(names, timeout_seconds=self._lock_timeout_seconds)

    async def _commit(self, *records: Record) -> None:
        started = time.perf_counter()
        await self._journal.commit(*records)
        self._on_step("journal", "commit", time.perf_counter() - started)

    async def _do(self, step: Step) -> None:
        await self._run(self._toolbox.of(step).do, step, quick=self._toolbox.does_quickly(step))

    async def _run(self, call: Any, step: Step, *, quick: bool) -> Any:  # noqa: ANN401  do, undo, probe or found
        started = time.perf_counter()
        try:
            return call(step) if quick else await asyncio.to_thread(call, step)
        except OSError as error:
            raise StepFailed(_explain(step, error)) from error
        finally:
            self._on_step(step.tool, call.__name__, time.perf_counter() - started)

    async def _detached(self, work: Coroutine[Any, Any, Result]) -> Result:
        if self._suspended:
            work.close()
            raise TryAgain("another instance of the driver has this node now")
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the caller may be gone; asyncio must not complain about it


def _explain(step: Step, error: OSError) -> str:
    """Say what stopped a step, and for a full disk what to do."""
    brief = textwrap.shorten(str(step), 160, placeholder=" …")
    if error.errno == errno.ENOSPC:
        where = f" of {error.filename}" if error.filename else ""
        return f"the disk{where} is full: free some space there, the claim is tried again ({brief})"
    return f"{brief} failed: {error}"
