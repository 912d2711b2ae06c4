"""The sections of a node profile about its fabric."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt

from claimwright.emulator.model.fabric.manager import FabricMode
from claimwright.emulator.model.profile_text import Profile


def _mode(value: object) -> object:
    return FabricMode(value) if isinstance(value, str) and value in set(FabricMode) else value


class FabricMembership(Profile):
    """What the fabric manager told the GPUs; a zero cluster uuid means "no multi-node domain"."""

    state: Literal["not_started", "in_progress", "completed"]
    cluster_uuid: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    clique_id: Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
    health_reported: bool = False


class FabricManagerSetup(Profile):
    """The node's own fabric manager (`nv-fabricmanager`); in a rack it runs on a switch tray instead."""

    mode: Annotated[FabricMode, BeforeValidator(_mode)] = FabricMode.BARE_METAL


class ImexSetup(Profile):
    """The kernel module's parameters about IMEX channels."""

    channel_count: Annotated[int, Field(ge=1, le=65536)] = 2048
    create_channel0: bool = False


class TrayPlace(Profile):
    """Where the node sits in its rack."""

    chassis_serial: Annotated[str, Field(min_length=1, max_length=15)]  # NVML holds 16 bytes
    slot: NonNegativeInt
    index: NonNegativeInt
    host_id: NonNegativeInt = 1
