"""The limits of one group: what its config says, for the devices that it is about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from claimwright.dra.claims import ClaimUid
from claimwright.driver.errors import ClaimRefused

if TYPE_CHECKING:
    from claimwright.driver.configs.sharing import MpsConfig

_MEBIBYTE: Final = 1 << 20
# What the CUDA driver itself needs for -M (nvidia-cuda-mps-control, "Multi-user server").
_MANY_USERS_SINCE: Final = (7, 0)


def group_id(claim: ClaimUid, names: Iterable[str]) -> str:
    """Return the community driver's name for a daemon: the claim, and which of its devices."""
    digest = hashlib.sha256(",".join(sorted(names)).encode()).hexdigest()
    return f"{claim}-{digest[:5]}"


def described(config: MpsConfig | None) -> dict[str, Any]:
    """Return a config's limits as a step's arguments: percentage, mebibytes for all and per device, many users."""
    if config is None:
        return {"percentage": None, "pinned": None, "pinned_per_device": {}, "many_users": False}
    pinned = config.default_pinned_device_memory_limit
    per_device = config.default_per_device_pinned_memory_limit or {}
    return {
        "percentage": config.default_active_thread_percentage,
        "pinned": None if pinned is None else _mebibytes(pinned),
        "pinned_per_device": {device: _mebibytes(limit) for device, limit in per_device.items()},
        "many_users": bool(config.multi_user),
    }


def pinned_limits(arguments: Mapping[str, Any], uuids: Sequence[str]) -> dict[str, int]:
    """Return mebibytes by UUID, for devices that have a limit; ClaimRefused names a device that the group lacks.

    A device is named by its UUID or by its place among the sorted UUIDs of the group, as the community driver counts.
    """
    ordered = sorted(uuids)
    everyone = arguments["pinned"]
    limits = {} if everyone is None else dict.fromkeys(ordered, int(everyone))
    for device, limit in arguments["pinned_per_device"].items():
        limits[_named(device, ordered)] = int(limit)
    return limits


def check_many_users(arguments: Mapping[str, Any], capabilities: Mapping[str, str]) -> None:
    """Refuse -M on GPUs that are too old for it; `capabilities` by device name, as `9.0.0`."""
    if not arguments["many_users"]:
        return
    for device, capability in capabilities.items():
        if tuple(int(part) for part in capability.split(".")[:2]) < _MANY_USERS_SINCE:
            raise ClaimRefused(
                f"multiUser needs compute capability 7.0 or newer: {device} has {capability}; leave multiUser out"
            )


def _named(device: str, ordered: Sequence[str]) -> str:
    if device in ordered:
        return device
    if device.isascii() and device.isdecimal() and int(device) < len(ordered):
        return ordered[int(device)]
    raise ClaimRefused(
        f"invalid device {device!r} in defaultPerDevicePinnedMemoryLimit: expected 0 to {len(ordered) - 1}, "
        f"which count the sorted UUIDs of this config's devices, or one of {', '.join(ordered)}"
    )


def _mebibytes(limit: Decimal) -> int:
    return int(limit // _MEBIBYTE)
