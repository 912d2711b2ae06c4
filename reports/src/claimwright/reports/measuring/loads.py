"""Three loads on a plugin's socket: one call at a time, several always in flight, and calls that fall due.

The first two are closed: they ask "how long, with so many in flight". The third is open, and its latency
counts from the instant at which a call was due, so a stall of the driver is seen by every call that it held
up (coordinated omission would hide it).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from claimwright.reports.measuring.claims import AllocatedClaim
from claimwright.reports.measuring.recorder import Recorder
from claimwright.reports.metrics import Parameters
from claimwright.reports.samples import OK

CALL_SECONDS = 45.0  # the kubelet's own deadline of a call
GIVE_UP = 20  # failed prepares in a row
_MESSAGE_LENGTH = 200

Load = Literal["serial", "parallel", "open"]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call on one claim ended."""

    outcome: str = OK
    message: str = ""


class Calls(Protocol):
    """The two calls of a plugin, one claim each; they never raise what a driver can cause."""

    async def prepare(self, claim: AllocatedClaim) -> Answer: ...  # noqa: D102
    async def release(self, claim: AllocatedClaim) -> Answer: ...  # noqa: D102


@dataclass(slots=True)
class Tally:
    """What a load has done so far, shared by its workers; `prepared` is what must be released at the end."""

    prepared: dict[str, AllocatedClaim] = field(default_factory=dict)
    cycles: int = 0
    failed: int = 0
    failed_in_a_row: int = 0
    last_message: str = ""

    @property
    def given_up(self) -> bool:
        """Whether the driver does nothing but fail."""
        return self.failed_in_a_row >= GIVE_UP

    def count(self, answer: Answer) -> None:
        """Count a cycle by the answer to its prepare."""
        self.cycles += 1
        if answer.outcome == OK:
            self.failed_in_a_row = 0
            return
        self.failed += 1
        self.failed_in_a_row += 1
        self.last_message = answer.message


@dataclass(frozen=True, slots=True)
class Driving:
    """What a load needs: the calls, where events go, what is counted, and until when (monotonic seconds)."""

    calls: Calls
    recorder: Recorder
    tally: Tally
    until: float

    @property
    def over(self) -> bool:
        """Whether the time is up, or the driver does nothing but fail."""
        return time.monotonic() > self.until or self.tally.given_up


async def serial(claims: Sequence[AllocatedClaim], drive: Driving) -> None:
    """Prepare and release one claim after the other."""
    parameters: Parameters = {"load": "serial", "in_flight": 1}
    began, before = time.monotonic_ns(), drive.tally.cycles
    for claim in claims:
        if drive.over:
            break
        await _cycle(claim, drive, parameters)
    _throughput(drive, began, before, parameters)


async def parallel(claims: Sequence[AllocatedClaim], drive: Driving, *, in_flight: int) -> None:
    """Keep `in_flight` calls going, each worker on devices of its own."""
    lanes = _lanes(claims, in_flight)
    parameters: Parameters = {"load": "parallel", "in_flight": len(lanes)}
    began, before = time.monotonic_ns(), drive.tally.cycles

    async def work(lane: Sequence[AllocatedClaim]) -> None:
        for claim in lane:
            if drive.over:
                return
            await _cycle(claim, drive, parameters)

    async with asyncio.TaskGroup() as workers:
        for lane in lanes:
            workers.create_task(work(lane))
    _throughput(drive, began, before, parameters)


async def open_loop(claims: Sequence[AllocatedClaim], drive: Driving, *, per_second: int) -> None:
    """Let a call fall due every 1/`per_second` seconds, whatever becomes of the calls before it."""
    parameters: Parameters = {"load": "open", "per_second": per_second}
    devices = {claim.device: asyncio.Lock() for claim in claims}
    began = time.monotonic_ns()

    async def arrive(claim: AllocatedClaim, due_ns: int) -> None:
        async with devices[claim.device]:
            await _cycle(claim, drive, parameters, due_ns=due_ns)

    async with asyncio.TaskGroup() as arrivals:
        for index, claim in enumerate(claims):
            due_ns = began + index * 1_000_000_000 // per_second
            await asyncio.sleep(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
            if drive.over:
                break
            arrivals.create_task(arrive(claim, due_ns))


async def _cycle(
    claim: AllocatedClaim, drive: Driving, parameters: Parameters, *, due_ns: int | None = None
) -> None:
    began = time.monotonic_ns()
    drive.tally.prepared[claim.reference.uid] = claim
    prepared = await drive.calls.prepare(claim)
    _record(drive, "L-PREP-K", due_ns or began, prepared, parameters)
    drive.tally.count(prepared)
    began = time.monotonic_ns()
    released = await drive.calls.release(claim)
    if prepared.outcome == OK:  # releasing what was never prepared is another, quicker path
        _record(drive, "L-UNPREP-K", began, released, parameters)
    if released.outcome == OK:
        del drive.tally.prepared[claim.reference.uid]


def _record(drive: Driving, metric: str, began: int, answer: Answer, parameters: Parameters) -> None:
    ended = time.monotonic_ns()
    labels = {"message": answer.message[:_MESSAGE_LENGTH]} if answer.message else None
    drive.recorder.event(metric, began, ended, outcome=answer.outcome, parameters=parameters, labels=labels)


def _throughput(drive: Driving, began_ns: int, cycles_before: int, parameters: Parameters) -> None:
    elapsed = (time.monotonic_ns() - began_ns) / 1e9
    cycles = drive.tally.cycles - cycles_before
    if cycles:
        drive.recorder.value("T-PREP", began_ns, cycles / elapsed, parameters=parameters)


def _lanes(claims: Sequence[AllocatedClaim], wanted: int) -> list[list[AllocatedClaim]]:
    """Deal devices to workers: no device is ever prepared for two claims at a time."""
    devices = sorted({claim.device for claim in claims})
    lanes: list[list[AllocatedClaim]] = [[] for _ in range(min(wanted, len(devices)))]
    lane_of = {device: index % len(lanes) for index, device in enumerate(devices)}
    for claim in claims:
        lanes[lane_of[claim.device]].append(claim)
    return lanes
