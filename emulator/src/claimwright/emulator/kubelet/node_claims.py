"""Prepare and release the claims of one node's pods, with the kubelet's order and batching.

Order of locks: one per claim, taken in the order of (namespace, name); nothing else is held while they are.
Because of them a claim shared by two pods is prepared once, also when both start in the same instant.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

from claimwright.dra.claims import ClaimReference, ClaimUid, DriverName
from claimwright.dra.files import write_atomically
from claimwright.dra.prepared import PreparedDevice
from claimwright.emulator.kubelet.claim_state import ClaimState, decode_checkpoint, encode_checkpoint
from claimwright.emulator.kubelet.claims import UsableClaim
from claimwright.emulator.kubelet.errors import ClaimNotReady, PrepareFailed, ReleaseFailed
from claimwright.emulator.kubelet.pods import PodUid

Key = tuple[str, str]


class DriverCalls(Protocol):
    """The two node calls of a driver, with an answer for each claim asked about and for no other.

    A call that fails as a whole raises `PrepareFailed`, `ReleaseFailed` or `PluginMissing`.
    """

    async def prepare(
        self, driver: DriverName, claims: Sequence[ClaimReference]
    ) -> Mapping[ClaimUid, tuple[PreparedDevice, ...] | str]:
        """Call NodePrepareResources: devices, or the driver's error text."""
        ...

    async def release(self, driver: DriverName, claims: Sequence[ClaimReference]) -> Mapping[ClaimUid, str]:
        """Call NodeUnprepareResources: the driver's error text, empty on success."""
        ...

    def require(self, driver: DriverName) -> None:
        """Raise `PluginMissing` when no instance of the driver is registered."""
        ...


@dataclass(frozen=True)
class _Left:
    """What a leaving pod leaves behind: claims to unprepare, and claims that others still use."""

    last: tuple[ClaimState, ...]
    shared: tuple[ClaimState, ...]


class NodeClaims:
    """The claims in use on one node; owner of its `dra_manager_state`."""

    def __init__(self, checkpoint: Path, calls: DriverCalls) -> None:
        self._checkpoint = checkpoint
        self._calls = calls
        self._states: dict[Key, ClaimState] = {}
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    def load(self) -> None:
        """Read the checkpoint of an earlier run; a missing one is an empty node."""
        with contextlib.suppress(FileNotFoundError):
            states = decode_checkpoint(self._checkpoint.read_text(), str(self._checkpoint))
            self._states = {_key(state.reference): state for state in states}

    def state_of(self, namespace: str, name: str) -> ClaimState | None:
        """Return what is known here of a claim."""
        return self._states.get((namespace, name))

    def users(self) -> frozenset[PodUid]:
        """Return the uids of all pods that hold a claim here."""
        return frozenset(uid for state in self._states.values() for uid in state.pods)

    def states(self) -> tuple[ClaimState, ...]:
        """Return all claims in use."""
        return tuple(self._states.values())

    async def prepare(self, pod: PodUid, claims: Sequence[UsableClaim]) -> None:
        """Make all claims of a pod ready; nothing is undone on failure, the next try goes on from there.

        Raises ClaimNotReady, PluginMissing or PrepareFailed, in the kubelet's words.
        """
        async with self._locked(_key(claim.reference) for claim in claims):
            self._check(claims)
            self._add_user(pod, claims)
            await self._prepare_missing(claims)

    async def release(self, pod: PodUid) -> None:
        """Take a pod off its claims and unprepare those that it was the last to use here; idempotent."""
        async with self._locked([key for key, state in self._states.items() if pod in state.pods]):
            left = self._leave(pod)
            for state in left.last:
                # A try that fails half way leaves the claim unprepared for some drivers: the next prepares.
                self._states[_key(state.reference)] = replace(state, prepared=False)
            await self._unprepare(left.last)
            for state in left.shared:
                self._states[_key(state.reference)] = state.left_by(pod)
            for state in left.last:
                del self._states[_key(state.reference)]
            if left.last or left.shared:
                self._save()

    def _check(self, claims: Sequence[UsableClaim]) -> None:
        # Before any state is touched, so that a pod which cannot start can be deleted without its driver.
        for claim in claims:
            for use in claim.drivers:
                if not use.skip_prepare:
                    self._calls.require(use.driver)
        for claim in claims:
            known = self._states.get(_key(claim.reference))
            if known and known.reference.uid != claim.reference.uid:
                raise ClaimNotReady(
                    f"old ResourceClaim with same name {claim.reference.name} and different UID"
                    f" {known.reference.uid} still exists (previous pod force-deleted?!)"
                )

    def _add_user(self, pod: PodUid, claims: Sequence[UsableClaim]) -> None:
        for claim in claims:
            key = _key(claim.reference)
            self._states[key] = self._states.get(key, _new_state(claim)).used_by(pod)
        if claims:
            self._save()  # before the first call: a crash in between must not lose what the driver did

    async def _prepare_missing(self, claims: Sequence[UsableClaim]) -> None:
        missing = [c for c in claims if not self._states[_key(c.reference)].prepared]
        batches: dict[DriverName, list[ClaimReference]] = defaultdict(list)
        for claim in missing:
            for use in claim.drivers:
                if not use.skip_prepare:
                    batches[use.driver].append(claim.reference)
        for driver, references in sorted(batches.items()):
            answers = await self._calls.prepare(driver, references)
            for reference, devices in _granted(references, answers):
                self._grant(reference, driver, devices)
        for claim in missing:
            key = _key(claim.reference)
            self._states[key] = replace(self._states[key], prepared=True)
        if missing:
            self._save()

    def _grant(
        self, reference: ClaimReference, driver: DriverName, devices: tuple[PreparedDevice, ...]
    ) -> None:
        key = _key(reference)
        state = self._states[key]
        self._states[key] = replace(state, devices={**state.devices, driver: devices})

    def _leave(self, pod: PodUid) -> _Left:
        mine = [state for state in self._states.values() if pod in state.pods]
        last = tuple(state for state in mine if state.pods == {pod})
        return _Left(last, tuple(state for state in mine if state.pods != {pod}))

    async def _unprepare(self, states: Sequence[ClaimState]) -> None:
        batches: dict[DriverName, list[ClaimReference]] = defaultdict(list)
        for state in states:
            for driver in state.devices:
                if driver not in state.skip_unprepare:
                    batches[driver].append(state.reference)
        for driver, references in sorted(batches.items()):
            _check_release(references, await self._calls.release(driver, references))

    def _save(self) -> None:
        # Not fsynced: it has to survive the death of this process, not a power cut of an emulated node.
        write_atomically(
            self._checkpoint, encode_checkpoint(self._states.values()), mode=0o600, durable=False
        )

    @contextlib.asynccontextmanager
    async def _locked(self, keys: Iterable[Key]) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for key in sorted(set(keys)):
                await stack.enter_async_context(self._locks.setdefault(key, asyncio.Lock()))
            yield


def _key(reference: ClaimReference) -> Key:
    return reference.namespace, reference.name


def _new_state(claim: UsableClaim) -> ClaimState:
    return ClaimState(
        reference=claim.reference,
        pods=frozenset(),
        devices={use.driver: () for use in claim.drivers},
        skip_unprepare=frozenset(use.driver for use in claim.drivers if use.skip_unprepare),
    )


def _granted(
    asked: Sequence[ClaimReference], answers: Mapping[ClaimUid, tuple[PreparedDevice, ...] | str]
) -> Iterator[tuple[ClaimReference, tuple[PreparedDevice, ...]]]:
    for reference in asked:
        answer = answers[reference.uid]
        if isinstance(answer, str):
            raise PrepareFailed(f"NodePrepareResources failed for ResourceClaim {reference.name}: {answer}")
        yield reference, answer


def _check_release(asked: Sequence[ClaimReference], answers: Mapping[ClaimUid, str]) -> None:
    for reference in asked:
        if error := answers[reference.uid]:
            raise ReleaseFailed(f"NodeUnprepareResources failed for ResourceClaim {reference.name}: {error}")
