"""The driver as the plugin kit calls it: that of claims, which can be told not to wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.driver.claim_driver import ClaimDriver, OnFailure
from claimwright.driver.computedomain.plugin.patience import Patience
from claimwright.driver.computedomain.plugin.planning import DomainPlanner
from claimwright.driver.machine import Machine
from claimwright.driver.metrics import Metrics


class DomainDriver(ClaimDriver):
    """Prepares channels and daemons."""

    def __init__(
        self,
        planner: DomainPlanner,
        machine: Machine,
        metrics: Metrics,
        patience: Patience,
        *,
        on_failure: OnFailure,
        held: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        super().__init__(planner, machine, metrics, on_failure=on_failure, held=held, attempts=patience)
        self._patience = patience

    def stop_waiting(self, claims: Sequence[ClaimReference]) -> None:
        """Have a prepare that waits for others end now: its claim is to be released."""
        self._patience.stop_waiting(claims)

    async def release(self, claims: Sequence[ClaimReference]) -> Mapping[ClaimUid, Exception | None]:
        """Release each claim; one that is not known is fine."""
        self._patience.forget(claims)
        return await super().release(claims)
