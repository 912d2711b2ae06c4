"""The prepare workload: allocated claims on the API, the three loads in turn, nothing left prepared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from claimwright.reports.errors import TargetError
from claimwright.reports.measuring.claims import AllocatedClaim
from claimwright.reports.measuring.loads import Calls, Driving, Tally, open_loop, parallel, serial
from claimwright.reports.measuring.options import LoadShape
from claimwright.reports.measuring.progress import Progress
from claimwright.reports.measuring.recorder import Recorder
from claimwright.reports.samples import OK

WORKLOAD = "prepare/v1"
RELEASE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Prepares:
    """The flow of one run: what is called, on which claims, and who notes what."""

    calls: Calls
    claims: Sequence[AllocatedClaim]
    recorder: Recorder
    shape: LoadShape
    progress: Progress
    tally: Tally = field(default_factory=Tally)

    async def run(self) -> int:
        """Run the warm-up and all repetitions; give the number of cycles. Claims are released in any case."""
        try:
            await self._warm_up()
            await self._repetitions()
        finally:
            await self._release_all()
        tally = self.tally
        if tally.failed:
            self.progress.say(
                f"{tally.failed} of {tally.cycles} prepares failed; the last said: {tally.last_message}"
            )
        return tally.cycles

    def _drive(self, seconds: float) -> Driving:
        return Driving(self.calls, self.recorder, self.tally, time.monotonic() + seconds)

    async def _warm_up(self) -> None:
        tally = self.tally
        await serial(self.claims[: self.shape.warm_up], self._drive(self.shape.seconds))
        self.recorder.discard()
        if tally.cycles and tally.failed == tally.cycles:
            raise TargetError(
                f"all {tally.cycles} prepares of the warm-up failed, so there is nothing to measure; "
                f"the driver said: {tally.last_message}"
            )
        tally.cycles = tally.failed = tally.failed_in_a_row = 0

    async def _repetitions(self) -> None:
        shape, tally = self.shape, self.tally
        seconds = shape.seconds / shape.repetitions
        for number, block in enumerate(_blocks(self.claims, shape.repetitions)):
            with self.recorder.repetition_of(number):
                await serial(block, self._drive(seconds))
                await parallel(block, self._drive(seconds), in_flight=shape.in_flight)
                await open_loop(block, self._drive(seconds), per_second=shape.per_second)
            done = f"{number + 1} of {shape.repetitions}"
            self.progress.say(f"prepare, repetition {done}: {tally.cycles} cycles so far")
            if tally.given_up:
                self.recorder.writer.note(f"the prepare workload was given up: {tally.last_message}")
                return
        self._note_missing()

    def _note_missing(self) -> None:
        wanted = 3 * len(self.claims)
        if missing := wanted - self.tally.cycles:
            self.recorder.writer.note(
                f"the prepare workload ran out of its {self.shape.seconds:.0f} s a load: "
                f"{missing} of {wanted} cycles were not begun"
            )

    async def _release_all(self) -> None:
        left = list(self.tally.prepared.values())
        if not left:
            return
        self.progress.say(f"releasing {len(left)} claims that are still prepared")
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                answers = await asyncio.gather(*(self.calls.release(claim) for claim in left))
        except TimeoutError:
            self.progress.say(f"the driver did not release them within {RELEASE_SECONDS:.0f} s")
            return
        for claim, answer in zip(left, answers, strict=True):
            if answer.outcome != OK:
                self.progress.say(f"claim {claim.reference.name} stays prepared: {answer.message}")


def _blocks(claims: Sequence[AllocatedClaim], count: int) -> list[Sequence[AllocatedClaim]]:
    edges = [len(claims) * index // count for index in range(count + 1)]
    return [claims[low:high] for low, high in pairwise(edges) if high > low]
