"""The leaves of a board profile by path, and a board profile made from leaves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum

from pydantic import JsonValue

from claimwright.emulator.captures import clock_lists
from claimwright.emulator.captures.capture import Part, number
from claimwright.emulator.model.board import Board

BOARD_LEAVES = (
    "name",
    "brand",
    "architecture",
    "cuda_capability",
    "pci.device",
    "pci.subsystem_device",
    "pci.bars",
    "pci.link_generation",
    "pci.link_width",
    "pci.atomics_inbound",
    "pci.atomics_outbound",
    "parts.board",
    "parts.gpu",
    "parts.vbios",
    "parts.inforom_image",
    "parts.inforom_oem",
    "parts.inforom_ecc",
    "parts.inforom_power",
    "memory.total_mib",
    "memory.reserved_mib",
    "memory.bar1_mib",
    "memory.bus_width_bits",
    "memory.ecc",
    "memory.remap_banks",
    "memory.page_retirement",
    "memory.sram_errors",
    "power.min_watts",
    "power.default_watts",
    "power.max_watts",
    "power.average",
    "power.module.min_watts",
    "power.module.default_watts",
    "power.module.max_watts",
    "max_clocks.graphics",
    "max_clocks.sm",
    "max_clocks.memory",
    "max_clocks.video",
    "default_application_clocks.graphics",
    "default_application_clocks.memory",
    "supported_clocks",
    "thermals.thresholds.shutdown",
    "thermals.thresholds.slowdown",
    "thermals.thresholds.max_operating",
    "thermals.thresholds.memory_max",
    "thermals.tlimits.shutdown",
    "thermals.tlimits.slowdown",
    "thermals.tlimits.max_operating",
    "thermals.tlimits.memory_max",
    "engines.cuda_cores",
    "addressing_mode",
    "mig_capable",
    "coherent_memory",
    "c2c",
    "fans",
    "nvlink.version",
    "nvlink.links",
)
"""What a machine can tell of a board, by the board's own field names."""

_WORDS = {
    "name",
    "brand",
    "architecture",
    "cuda_capability",
    "memory.sram_errors",
    "addressing_mode",
    "c2c",
}
_BAR = re.compile(r"([0-5]):([0-9]{1,12})K:(32|64)(p?)")
_IDS = {"pci.device", "pci.subsystem_device"}


def board_leaves(board: Board) -> dict[str, str]:
    """Return all that a board would have a machine tell; what it does not report is left out."""
    found = {path: _leaf(board, path) for path in BOARD_LEAVES}
    return {path: value for path, value in found.items() if value is not None}


def differences(board: Board, told: Mapping[str, str]) -> list[str]:
    """Return the paths at which a machine tells something else than the board profile says.

    Only what is told counts: sources differ in how much they tell.
    """
    own = board_leaves(board)
    return [path for path in BOARD_LEAVES if path in told and told[path] != own.get(path)]


def differing_fields(base: Board, told: Part) -> dict[str, JsonValue]:
    """Return what a machine tells otherwise than `base`, as fields of a board profile."""
    return {path: _read(path, told) for path in differences(base, told)}


def bars_leaf(bars: Mapping[int, tuple[int, int]]) -> str:
    """Write BARs, index to (bytes, kernel flags), as one leaf: `0:16384K:32 1:256M:64p`."""
    return " ".join(f"{index}:{size >> 10}K:{_kind(flags)}" for index, (size, flags) in sorted(bars.items()))


def _kind(flags: int) -> str:
    return ("64" if flags & 0x00100000 else "32") + ("p" if flags & 0x2000 else "")


def _leaf(board: Board, path: str) -> str | None:
    if path == "supported_clocks":
        return clock_lists.of_board(board.supported_clocks)
    if path == "pci.bars":
        return bars_leaf({bar.index: (bar.size_bytes, bar.flags) for bar in board.pci.bars})
    value: object = board
    for name in path.replace("default_application_clocks", "application_clocks").split("."):
        value = None if value is None else getattr(value, name)
    if path in _IDS:
        return f"{value:#06x}"
    if path == "cuda_capability":
        return ".".join(map(str, board.cuda_capability))
    return _written(value)


def _written(value: object) -> str | None:
    if isinstance(value, Enum):
        return value.name.lower()
    if value is None or value is False or value == "":
        return None
    if value is True:
        return "true"
    if isinstance(value, tuple):
        return " ".join(each.name.lower() for each in value)
    return str(value)


def _read(path: str, told: Part) -> JsonValue:
    value = told[path]
    if path.startswith("pci.atomics"):
        return list(value.split())
    if path in _WORDS or path.startswith("parts."):
        return value
    if value in {"true", "false"}:
        return value == "true"
    if path not in {"supported_clocks", "pci.bars"}:
        return number(told, path)
    try:
        return (
            clock_lists.read(value) if path == "supported_clocks" else [_bar(each) for each in value.split()]
        )
    except ValueError as error:
        raise told.refused(path, str(error)) from None


def _bar(word: str) -> dict[str, JsonValue]:
    found = _BAR.fullmatch(word)
    if found is None:
        raise ValueError(f"{word[:60]!r} is not like 1:262144K:64p")
    kib = int(found[2])
    unit: dict[str, JsonValue] = {"mib": kib >> 10} if kib % 1024 == 0 else {"kib": kib}
    return {"index": int(found[1]), **unit, "wide": found[3] == "64", "prefetchable": found[4] == "p"}
