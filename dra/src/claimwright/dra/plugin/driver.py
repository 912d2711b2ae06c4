"""What a driver's author writes, and where the kit puts its files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from claimwright.dra.claims import Claim, ClaimReference, ClaimUid
from claimwright.dra.prepared import DeviceHealth, PreparedDevice


class Driver(Protocol):
    """A DRA driver's own part. Both verbs are idempotent and are repeated until they succeed.

    An exception in the result, or a missing entry, fails that claim only. An exception out of the call makes
    the kit ask again for each claim alone, so one bad claim does not hold the others up.
    """

    async def prepare(
        self, claims: Sequence[Claim]
    ) -> Mapping[ClaimUid, Sequence[PreparedDevice] | Exception]:
        """Make the devices ready that these claims hold of this driver, and say how containers get them."""

    async def release(self, claims: Sequence[ClaimReference]) -> Mapping[ClaimUid, Exception | None]:
        """Undo `prepare`; a claim that was never prepared, or is gone from the API server, is fine."""


@runtime_checkable
class Recalling(Protocol):
    """A driver that remembers what it prepared, so that a repeated prepare needs no claim from the API server."""

    async def recall(self, claim: ClaimReference) -> Sequence[PreparedDevice] | None:
        """Give what was prepared, made good where somebody undid it; None when the claim must be read and prepared.

        An exception fails the claim.
        """


@runtime_checkable
class Patient(Protocol):
    """A driver whose prepare may wait long for others, such as for pods on other nodes."""

    def stop_waiting(self, claims: Sequence[ClaimReference]) -> None:
        """Have a running prepare of these claims end soon: their release comes next, and must not wait for it."""


class HealthSource(Protocol):
    """Knows how the driver's devices are."""

    def watch(self) -> AsyncIterator[Sequence[DeviceHealth]]:
        """Give the complete list at once, and again whenever a device changes; once per subscriber."""


@dataclass(frozen=True, slots=True)
class PluginFolders:
    """Where a plugin's files are: its own folder, the kubelet's registration folder, the CDI folder.

    By default `/var/lib/kubelet/plugins/<driver>`, `/var/lib/kubelet/plugins_registry` and `/var/run/cdi`.
    """

    plugin_dir: Path
    registry_dir: Path
    cdi_dir: Path

    @classmethod
    def below(
        cls, kubelet_dir: Path, driver_name: str, *, cdi_dir: Path = Path("/var/run/cdi")
    ) -> PluginFolders:
        """Use the standard places of a kubelet's root directory."""
        return cls(kubelet_dir / "plugins" / driver_name, kubelet_dir / "plugins_registry", cdi_dir)
