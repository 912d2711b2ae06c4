"""What a board is: what its data sheet, its VBIOS and NVML agree on. Text profiles live in `boards/`."""

from claimwright.emulator.model.board.board import Board
from claimwright.emulator.model.board.clocks import ApplicationClocks, ClockRange, Clocks
from claimwright.emulator.model.board.names import (
    AddressingMode,
    Architecture,
    Brand,
    C2cMode,
    FabricGuid,
    PcieAtomic,
    SramNaming,
)
from claimwright.emulator.model.board.registers import BarSpec, BoardPci, Id16
from claimwright.emulator.model.board.sections import (
    MIB,
    Engines,
    Memory,
    ModulePower,
    NvLinkSpec,
    Parts,
    Power,
)
from claimwright.emulator.model.board.thermals import Thermals, Thresholds, TLimits

__all__ = [
    "MIB",
    "AddressingMode",
    "ApplicationClocks",
    "Architecture",
    "BarSpec",
    "Board",
    "BoardPci",
    "Brand",
    "C2cMode",
    "ClockRange",
    "Clocks",
    "Engines",
    "FabricGuid",
    "Id16",
    "Memory",
    "ModulePower",
    "NvLinkSpec",
    "Parts",
    "PcieAtomic",
    "Power",
    "SramNaming",
    "TLimits",
    "Thermals",
    "Thresholds",
]
