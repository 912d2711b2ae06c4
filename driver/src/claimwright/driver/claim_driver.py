"""The driver as the plugin kit calls it: a claim comes in, devices or an error go out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Protocol, TypeVar

from claimwright.dra.claims import Claim, ClaimReference, ClaimUid
from claimwright.dra.prepared import PreparedDevice
from claimwright.driver.entries import Entry, HeldDevice, State
from claimwright.driver.errors import DriverError, PrepareFailed
from claimwright.driver.machine import Machine
from claimwright.driver.metrics import Metrics, Operation
from claimwright.driver.restoring import Plans

OnFailure = Callable[[str, str, BaseException], None]
Attempt = Callable[[], Awaitable[Entry | None]]
_Outcome = TypeVar("_Outcome")


class Attempts(Protocol):
    """Decides how often a prepare is attempted within one call."""

    async def __call__(self, claim: ClaimReference, attempt: Attempt, /) -> Entry | None:
        """Return what an attempt for `claim` returned, or raise what the last one raised."""
        ...


async def once(_claim: ClaimReference, attempt: Attempt, /) -> Entry | None:
    """Attempt it once: the kubelet calls again."""
    return await attempt()


class ClaimDriver:
    """Prepares and releases claims side by side; what fails in one does not touch another."""

    def __init__(
        self,
        planner: Plans,
        machine: Machine,
        metrics: Metrics,
        *,
        on_failure: OnFailure = lambda _operation, _claim, _error: None,
        held: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        attempts: Attempts = once,
    ) -> None:
        self._planner = planner
        self._machine = machine
        self._metrics = metrics
        self._on_failure = on_failure
        self._held = held
        self._attempts = attempts

    async def prepare(
        self, claims: Sequence[Claim]
    ) -> Mapping[ClaimUid, Sequence[PreparedDevice] | Exception]:
        """Prepare each claim, or return what was prepared for it before."""
        outcomes = await _side_by_side([self._prepare(claim) for claim in claims])
        return {claim.uid: outcome for claim, outcome in zip(claims, outcomes, strict=True)}

    async def recall(self, claim: ClaimReference) -> Sequence[PreparedDevice] | None:
        """Return what this node holds prepared for the claim; it stays, whatever became of its config since."""
        if self._known(claim) is None:
            return None
        # Asked again once this instance has the node: another one may have had it meanwhile.
        outcome = await self._carried_out(claim, lambda: self._known(claim))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def release(self, claims: Sequence[ClaimReference]) -> Mapping[ClaimUid, Exception | None]:
        """Release each claim; one that is not known is fine."""
        outcomes = await _side_by_side([self._release(claim) for claim in claims])
        return {claim.uid: outcome for claim, outcome in zip(claims, outcomes, strict=True)}

    async def _prepare(self, claim: Claim) -> Sequence[PreparedDevice] | Exception:
        outcome = await self._carried_out(
            claim.reference, lambda: self._known(claim.reference) or self._planner.plan(claim)
        )
        assert outcome is not None
        return outcome

    async def _carried_out(
        self, claim: ClaimReference, plan: Callable[[], Entry | None]
    ) -> Sequence[PreparedDevice] | Exception | None:
        try:
            with self._metrics.request("prepare"):
                entry = await self._attempts(claim, lambda: self._attempt(plan))
        except DriverError as error:
            self._failed("prepare", claim, error)
            return PrepareFailed(f"error preparing devices for claim {claim}:{claim.uid}: {error}")
        except Exception as error:  # noqa: BLE001  the top of a request: the kit logs it and answers
            self._failed("prepare", claim, error)
            return error
        return None if entry is None else tuple(_prepared(held) for held in entry.devices)

    async def _attempt(self, plan: Callable[[], Entry | None]) -> Entry | None:
        async with self._held():
            wanted = plan()
            return None if wanted is None else await self._machine.prepare(wanted)

    async def _release(self, claim: ClaimReference) -> Exception | None:
        try:
            with self._metrics.request("unprepare"):
                async with self._held():
                    await self._machine.release(claim.uid)
        except DriverError as error:
            self._failed("unprepare", claim, error)
            return PrepareFailed(f"error unpreparing devices for claim {claim}:{claim.uid}: {error}")
        except Exception as error:  # noqa: BLE001  the top of a request
            self._failed("unprepare", claim, error)
            return error
        return None

    def _failed(self, operation: Operation, claim: ClaimReference, error: Exception) -> None:
        self._metrics.failed(operation, error)
        self._on_failure(operation, str(claim), error)

    def _known(self, claim: ClaimReference) -> Entry | None:
        """Return what was prepared: it stays, even if its config would be refused now."""
        known = self._machine.entry(claim.uid)
        return known if known is not None and known.state is State.PREPARED else None


async def _side_by_side(works: Sequence[Coroutine[Any, Any, _Outcome]]) -> Sequence[_Outcome]:
    # A kubelet mostly asks for one claim; that one needs no task, which would cost three turns of the loop.
    return [await works[0]] if len(works) == 1 else await asyncio.gather(*works)


def _prepared(held: HeldDevice) -> PreparedDevice:
    return PreparedDevice(
        requests=(held.request,),
        pool=held.pool,
        device=held.device,
        cdi_ids=held.cdi_ids,
        share_id=held.share_id,
        attributes=held.metadata or None,
    )
