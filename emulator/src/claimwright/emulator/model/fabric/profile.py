"""The sections of a node profile about its fabric."""

from __future__ import annotations

from typing import Annotated, Literal

from claimwright.emulator.model.fabric.manager import FabricMode
from claimwright.emulator.model.fabric.membership import FabricHealth, FabricMisconfiguration
from claimwright.emulator.model.profile_text import Profile
from claimwright.emulator.model.rules import BeforeValidator, Field

_Byte = Annotated[int, Field(ge=0, le=255)]  # of nvmlPlatformInfo_t


def _mode(value: object) -> object:
    return FabricMode(value) if isinstance(value, str) and value in set(FabricMode) else value


HealthFact = Literal[
    "degraded_bandwidth", "route_recovery", "route_unhealthy", "access_timeout_recovery", "misconfiguration"
]


class FabricMembership(Profile):
    """What the fabric manager told the GPUs; a zero cluster uuid means "no multi-node domain"."""

    state: Literal["not_started", "in_progress", "completed"]
    cluster_uuid: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    clique_id: Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
    health: tuple[HealthFact, ...] = ()  # what of a GPU's health in the fabric is told; the rest reads N/A

    @property
    def healthy(self) -> FabricHealth:
        """The health of a GPU that nothing is wrong with."""
        told = set(self.health)
        return FabricHealth(
            degraded_bandwidth=False if "degraded_bandwidth" in told else None,
            route_recovery=False if "route_recovery" in told else None,
            route_unhealthy=False if "route_unhealthy" in told else None,
            access_timeout_recovery=False if "access_timeout_recovery" in told else None,
            misconfiguration=FabricMisconfiguration("misconfiguration" in told),
        )


class FabricManagerSetup(Profile):
    """The node's own fabric manager (`nv-fabricmanager`); in a rack it runs on a switch tray instead."""

    mode: Annotated[FabricMode, BeforeValidator(_mode)] = FabricMode.BARE_METAL


class ImexSetup(Profile):
    """The kernel module's parameters about IMEX channels."""

    channel_count: Annotated[int, Field(ge=1, le=65536)] = 2048
    create_channel0: bool = False


class TrayPlace(Profile):
    """Where the node sits in its rack, as far as it is told: an HGX baseboard has a host id alone."""

    chassis_serial: Annotated[str, Field(max_length=15)] = ""  # NVML holds 16 bytes
    slot: _Byte | None = None
    index: _Byte | None = None
    host_id: _Byte = 1
