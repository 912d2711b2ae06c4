"""The machine of the measurement: as many equal boards as claims come at once, so that no claim waits for a GPU."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

from claimwright.emulator.model import NodeProfile
from claimwright.emulator.model.profile_text import parse_profile

BOARDS: Final = 16
_PORT: Final = {"kind": "bridge", "vendor": 0x8086, "device": 0x352A, "link_generation": 5}
# vGPU managers are on machines for vGPUs: with one, whole GPUs are offered all the same.
_VGPU_BOARDS: Final = ("t4", "l4")


@cache
def machine_of(board: str) -> NodeProfile:
    """Return a node of two sockets with sixteen times `board`."""
    profile: dict[str, Any] = {
        "key": f"sixteen-{board}",
        "title": f"{BOARDS} x {board}",
        "driver_version": "580.126.20",
        "cuda_driver_version": 13000,
        "machine": {"vendor": "Claimwright", "product": "Emulated bench machine"},
        "iommu": True,
        "vgpu_manager": board in _VGPU_BOARDS,
        "numa": [_socket(0, "0-31"), _socket(1, "32-63")],
        "devices": {"root-port": _PORT},
        "pcie": [_root(number, board) for number in range(BOARDS)],
        "unverified": ["numa", "pcie"],
    }
    return parse_profile(NodeProfile, json.dumps(profile), f"bench machine of {board}")


def _socket(number: int, cpus: str) -> dict[str, Any]:
    distances = [10, 21] if number == 0 else [21, 10]
    return {"id": number, "socket": number, "cpus": cpus, "memory_mib": 515584, "distances": distances}


def _root(number: int, board: str) -> dict[str, Any]:
    bus = 0x08 + number * 8
    tree = {f"{bus:02x}:01.0 root-port": {f"{bus + 1:02x}:00.0 {board}": None}}
    return {"root": f"0000:{bus:02x}", "numa": 0 if number < BOARDS // 2 else 1, "tree": tree}
