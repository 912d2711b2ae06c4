"""The way of a call: references → claims → driver → one answer for each claim."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from claimwright.dra.claims import Claim, ClaimReference, ClaimUid
from claimwright.dra.errors import DraError
from claimwright.dra.plugin.driver import Driver, Patient, Recalling
from claimwright.dra.plugin.turns import KeyedLocks, Turn
from claimwright.dra.prepared import PreparedDevice
from claimwright.dra.wire import PrepareOutcome

_LOG: Final = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_Item = TypeVar("_Item", Claim, ClaimReference)

FetchClaim: TypeAlias = Callable[[ClaimReference], Awaitable[Claim]]


class Metadata(Protocol):
    """Adds metadata files to prepared devices; see metadata_files.py."""

    def write(self, claim: Claim, devices: Sequence[PreparedDevice]) -> tuple[PreparedDevice, ...]:
        """Write a claim's files and add their CDI ids."""

    def remove(self, claim: ClaimReference) -> None:
        """Remove a claim's files."""


class Calls:
    """Runs prepare and release for the kubelet.

    A call that has begun is finished even when the kubelet gives up waiting: the driver is never cut off
    half-way, and a repeated call for the same claim waits for the first one. Each claim has its answer. A claim is
    read once for each prepare, and not at all where the driver recalls it and no metadata has to be written of it.
    """

    def __init__(
        self, driver_name: str, driver: Driver, fetch: FetchClaim, *, turn: Turn, metadata: Metadata | None
    ) -> None:
        self._driver_name = driver_name
        self._driver = driver
        self._fetch = fetch
        self._turn = turn
        self._metadata = metadata
        self._memory = driver if isinstance(driver, Recalling) and metadata is None else None
        self._claims = KeyedLocks()
        self._running: set[asyncio.Task[Any]] = set()

    async def prepare(self, references: Sequence[ClaimReference]) -> dict[ClaimUid, PrepareOutcome]:
        """Prepare claims; the answer holds devices or an error text for every one of them."""
        return await self._finish(self._prepare(references, _Log("prepare", self._driver_name, references)))

    async def release(self, references: Sequence[ClaimReference]) -> dict[ClaimUid, str]:
        """Release claims; the answer holds an error text, empty on success, for every one of them."""
        return await self._finish(self._release(references, _Log("release", self._driver_name, references)))

    async def drain(self, *, timeout_seconds: float) -> bool:
        """Wait for running calls; says whether all of them ended in time."""
        if not self._running:
            return True
        _, pending = await asyncio.wait(self._running, timeout=timeout_seconds)
        return not pending

    async def _finish(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _prepare(
        self, references: Sequence[ClaimReference], log: _Log
    ) -> dict[ClaimUid, PrepareOutcome]:
        async with AsyncExitStack() as held:
            await self._claims.hold(held, [reference.uid for reference in references])
            outcomes = await self._recalled(references)
            unknown = [reference for reference in references if reference.uid not in outcomes]
            fetched = dict(zip((each.uid for each in unknown), await self._fetched_all(unknown), strict=True))
            outcomes |= {uid: item for uid, item in fetched.items() if isinstance(item, Exception)}
            claims = [item for item in fetched.values() if isinstance(item, Claim)]
            async with self._turn:
                outcomes |= await _isolated(self._driver.prepare, claims)
            return {
                each.uid: await self._prepared(fetched.get(each.uid), outcomes.get(each.uid), log, each)
                for each in references
            }

    async def _recalled(
        self, references: Sequence[ClaimReference]
    ) -> dict[ClaimUid, Sequence[PreparedDevice] | Exception]:
        found: dict[ClaimUid, Sequence[PreparedDevice] | Exception] = {}
        if self._memory is None:
            return found
        for reference in references:
            try:
                recalled = await self._memory.recall(reference)
            except Exception as error:  # noqa: BLE001  # as in `_isolated`
                found[reference.uid] = error
            else:
                if recalled is not None:
                    found[reference.uid] = recalled
        return found

    async def _fetched_all(self, references: Sequence[ClaimReference]) -> Sequence[Claim | Exception]:
        if len(references) == 1:  # mostly so, and then a task of its own would cost three turns of the loop
            return [await self._fetched(references[0])]
        return await asyncio.gather(*[self._fetched(reference) for reference in references])

    async def _fetched(self, reference: ClaimReference) -> Claim | Exception:
        try:
            return await self._fetch(reference)
        except Exception as error:  # noqa: BLE001  # whatever one claim does, the others have their answers
            return error

    async def _prepared(
        self,
        claim: Claim | Exception | None,
        result: Sequence[PreparedDevice] | Exception | None,
        log: _Log,
        reference: ClaimReference,
    ) -> PrepareOutcome:
        if result is None:
            return log.failed(reference, DraError("the driver gave no answer for this claim"))
        if isinstance(result, Exception):
            return log.failed(reference, result)
        devices = tuple(_with_base_requests(device) for device in result)
        if self._metadata is not None and isinstance(claim, Claim):
            try:
                devices = await asyncio.to_thread(self._metadata.write, claim, devices)
            except Exception as error:  # noqa: BLE001  # as above
                return log.failed(reference, error)
        log.done(reference, devices=[device.device for device in devices])
        return devices

    async def _release(self, references: Sequence[ClaimReference], log: _Log) -> dict[ClaimUid, str]:
        if isinstance(self._driver, Patient):
            self._driver.stop_waiting(references)
        async with AsyncExitStack() as held:
            await self._claims.hold(held, [reference.uid for reference in references])
            async with self._turn:
                outcomes = await _isolated(self._driver.release, references)
            return {reference.uid: await self._released(reference, outcomes, log) for reference in references}

    async def _released(
        self, reference: ClaimReference, outcomes: Mapping[ClaimUid, Exception | None], log: _Log
    ) -> str:
        if reference.uid not in outcomes:
            return log.failed(reference, DraError("the driver gave no answer for this claim"))
        error = outcomes[reference.uid]
        if error is None and self._metadata is not None:
            try:
                await asyncio.to_thread(self._metadata.remove, reference)
            except Exception as failure:  # noqa: BLE001  # as above
                error = failure
        if error is not None:
            return log.failed(reference, error)
        log.done(reference)
        return ""


async def _isolated(
    verb: Callable[[Sequence[_Item]], Awaitable[Mapping[ClaimUid, _Result | Exception]]],
    items: Sequence[_Item],
) -> dict[ClaimUid, _Result | Exception]:
    """Ask the driver for all claims at once, and claim by claim where that call raises."""
    if not items:
        return {}
    try:
        return dict(await verb(items))
    except Exception as error:  # noqa: BLE001  # the top of a request: a driver's fault becomes an answer
        if len(items) == 1:
            return {items[0].uid: error}
    found: dict[ClaimUid, _Result | Exception] = {}
    for item in items:
        found |= await _isolated(verb, [item])
    return found


def _with_base_requests(device: PreparedDevice) -> PreparedDevice:
    # The kubelet compares with the container's request, which never names a subrequest.
    return replace(device, requests=tuple(name.partition("/")[0] for name in device.requests))


class _Log:
    """Log lines of one call, tied together by an id."""

    def __init__(self, verb: str, driver: str, references: Iterable[ClaimReference]) -> None:
        self._verb = verb
        self._fields = {"request_id": f"{random.getrandbits(32):08x}", "driver": driver}
        for reference in references:
            _LOG.debug("%s of claim %s begins", verb, reference, extra=self._extra(reference))

    def done(self, reference: ClaimReference, **more: object) -> None:
        _LOG.info("%s of claim %s succeeded", self._verb, reference, extra={**self._extra(reference), **more})

    def failed(self, reference: ClaimReference, error: Exception) -> str:
        """Log once, with a traceback where nobody meant to raise; gives the text for the kubelet."""
        expected = isinstance(error, DraError)
        _LOG.error(
            "%s of claim %s failed: %s",
            self._verb,
            reference,
            error,
            extra=self._extra(reference),
            exc_info=None if expected else error,
        )
        return str(error) if expected and str(error) else f"{type(error).__name__}: {error}"

    def _extra(self, reference: ClaimReference) -> dict[str, object]:
        return {**self._fields, "claim": str(reference), "claim_uid": reference.uid}
