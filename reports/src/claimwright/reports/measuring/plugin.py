"""The plugin's sockets, as the kubelet uses them; what a driver does wrong becomes an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from claimwright.dra.kubelet import (
    CallFailed,
    InvalidReply,
    KubeletError,
    PluginClient,
    PluginInfo,
    find_sockets,
    get_info,
)
from claimwright.reports.errors import TargetError
from claimwright.reports.measuring.claims import AllocatedClaim
from claimwright.reports.measuring.loads import CALL_SECONDS, Answer

CONNECT_SECONDS = 10.0


class PluginCalls:
    """One claim a call, with the kubelet's deadline and the kubelet's checks of the reply."""

    def __init__(self, client: PluginClient) -> None:
        self._client = client

    async def prepare(self, claim: AllocatedClaim) -> Answer:
        """Prepare; a reply that names other devices than the allocation does is a failure too."""
        uid = claim.reference.uid
        try:
            found = (await self._client.prepare([claim.reference], timeout_seconds=CALL_SECONDS))[uid]
        except KubeletError as error:
            return _failed(error)
        if isinstance(found, str):
            return Answer("error", found)
        wanted = {(claim.device.pool, claim.device.name)}
        given = {(device.pool, device.device) for device in found}
        if given != wanted:
            return Answer("wrong-devices", f"allocated {sorted(wanted)}, prepared {sorted(given)}")
        return Answer()

    async def release(self, claim: AllocatedClaim) -> Answer:
        """Unprepare."""
        uid = claim.reference.uid
        try:
            text = (await self._client.release([claim.reference], timeout_seconds=CALL_SECONDS))[uid]
        except KubeletError as error:
            return _failed(error)
        return Answer("error", text) if text else Answer()


def registered(registry_dir: Path, driver: str) -> bool:
    """Say whether a plugin of this driver answers on a registration socket of the folder."""
    return asyncio.run(_find(registry_dir, driver)) is not None


@asynccontextmanager
async def open_plugin(registry_dir: Path, driver: str) -> AsyncIterator[PluginCalls]:
    """Connect to the driver's socket in the version that a kubelet would choose."""
    info = await _find(registry_dir, driver)
    if info is None:
        raise TargetError(f"driver {driver!r} is not registered in {registry_dir} (any more); is it running?")
    endpoint = _endpoint(registry_dir, info)
    async with PluginClient(endpoint, info.dra_version) as client:
        if not await client.connected(timeout_seconds=CONNECT_SECONDS):
            raise TargetError(f"nobody answers on {endpoint}, the DRA socket of {driver!r}; is it running?")
        yield PluginCalls(client)


async def _find(registry_dir: Path, driver: str) -> PluginInfo | None:
    """Ask each registration socket who it is, and nothing more: a kubelet may be registered already."""
    for socket in find_sockets(registry_dir):
        try:
            info = await get_info(socket)
        except KubeletError:
            continue  # a socket that a dead plugin left, or a plugin that is no DRA driver
        if info.name == driver:
            return info
    return None


def _endpoint(registry_dir: Path, info: PluginInfo) -> Path:
    """Find the DRA socket from here: a plugin names it as its own node sees it.

    The kubelet's root holds `plugins_registry` and `plugins` side by side, whatever it is called from here.
    """
    named = Path(info.endpoint)
    beside = registry_dir.parent / "plugins" / named.parent.name / named.name
    return beside if beside.exists() else named


def _failed(error: KubeletError) -> Answer:
    if isinstance(error, CallFailed) and error.code == "DEADLINE_EXCEEDED":
        return Answer("timeout", str(error))
    return Answer("invalid-reply" if isinstance(error, InvalidReply) else "error", str(error))
