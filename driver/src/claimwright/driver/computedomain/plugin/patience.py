"""How long a prepare waits for others within one call of the kubelet.

A kubelet gives a call 45 seconds, and takes a call without an answer for one that failed without a reason. So a claim
that is not ready by then is answered in time, with what it waits for; the kubelet calls again. Nothing is held
meanwhile: claims of daemons are prepared while the claims of channels wait for them, and a claim that is to be released
does not wait at all.

What another claim or domain has is waited for as well. The pod of that one may be deleted by force: its claim is gone,
so the scheduler gives the device away, while the kubelet still ends its containers. A kubelet that gets an error then
looks at the pod again after a minute.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from claimwright.dra.claims import ClaimReference
from claimwright.driver.claim_driver import Attempt
from claimwright.driver.entries import Entry
from claimwright.driver.errors import DeviceTaken, NotYet, StepRefused
from claimwright.driver.pausing import sleep_unless
from claimwright.driver.ports import Clock

# The kubelet's 45 s less an attempt that the API server keeps waiting.
BUDGET_SECONDS: Final = 35.0
_FIRST_PAUSE_SECONDS: Final = 0.25
_LAST_PAUSE_SECONDS: Final = 2.0
_MAY_PASS: Final = (NotYet, DeviceTaken, StepRefused)


class Patience:
    """Attempts a prepare again as long as it is not ready yet; one event loop owns it."""

    def __init__(
        self,
        clock: Clock,
        *,
        budget_seconds: float = BUDGET_SECONDS,
        seconds: Callable[[], float] = time.monotonic,
        in_charge: Callable[[], bool] = lambda: True,
    ) -> None:
        self._clock = clock
        self._in_charge = in_charge
        self._news = asyncio.Event()
        self._budget_seconds = budget_seconds
        self._seconds = seconds
        self._unwanted: set[str] = set()
        self._closed = False

    async def __call__(self, claim: ClaimReference, attempt: Attempt, /) -> Entry | None:
        """Return what the first attempt that was ready returned; after the budget raise what the last one raised."""
        deadline, pause = self._seconds() + self._budget_seconds, _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await attempt()
            except _MAY_PASS as error:
                why = self._late(deadline - pause) or self._why_stop(claim)
                if not why:
                    await sleep_unless(self._news, self._clock, pause)
                    why = self._why_stop(claim)
                if why:
                    raise type(error)(f"{error} ({why})") from error
            pause = min(pause * 1.5, _LAST_PAUSE_SECONDS)

    def stop_waiting(self, claims: Iterable[ClaimReference]) -> None:
        """Have no prepare wait for these claims until `forget`: they are about to be released."""
        self._unwanted |= {claim.uid for claim in claims}
        self._tell()

    def forget(self, claims: Iterable[ClaimReference]) -> None:
        """Take that these claims were released."""
        self._unwanted -= {claim.uid for claim in claims}

    def close(self) -> None:
        """Have no prepare wait any more: the process ends."""
        self._closed = True
        self._tell()

    def _tell(self) -> None:
        """Wake all who wait."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _late(self, last: float) -> str:
        return (
            f"after {self._budget_seconds:.0f} s; the kubelet tries again" if self._seconds() >= last else ""
        )

    def _why_stop(self, claim: ClaimReference) -> str:
        if self._closed:
            return "the driver stops; the kubelet tries again"
        if claim.uid in self._unwanted:
            return "the claim is being released"
        if not self._in_charge():
            # One more attempt would take the node from the instance that is to serve it.
            return "another instance of the driver has this node now; the kubelet tries again"
        return ""
