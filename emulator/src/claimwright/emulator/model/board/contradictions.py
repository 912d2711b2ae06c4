"""What a board profile can say against itself, each rule with the field to correct."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from claimwright.emulator.model.board.clocks import Clocks
from claimwright.emulator.model.board.names import AddressingMode, Architecture, C2cMode
from claimwright.emulator.model.board.sections import ModulePower, Power
from claimwright.emulator.model.mig.contradictions import mig_faults
from claimwright.emulator.model.mig.room import board_totals
from claimwright.emulator.model.profile_text import Place, Profile

if TYPE_CHECKING:
    from claimwright.emulator.model.board.board import Board

Faults = Iterator[tuple[Place, str]]

_MOST_GRAPHICS_CLOCKS = 1024  # what one NVML query is answered with
_CAPABILITIES = {
    Architecture.TURING: ((7, 5), (7, 5)),
    Architecture.AMPERE: ((8, 0), (8, 7)),
    Architecture.ADA: ((8, 9), (8, 9)),
    Architecture.HOPPER: ((9, 0), (9, 0)),
    Architecture.BLACKWELL: ((10, 0), (12, 1)),
}


def contradictions_of(board: Board) -> Faults:
    """Yield each contradiction as (place, sentence); each field alone is valid."""
    yield from _generation_faults(board)
    yield from _memory_faults(board)
    yield from _coherence_faults(board)
    yield from _power_faults(board)
    yield from _clock_faults(board)
    yield from _clock_range_faults(board)
    yield from _thermal_faults(board)
    yield from _register_faults(board)
    yield from _part_faults(board)
    yield from _link_faults(board)
    yield from _mig_faults(board)
    yield from _vgpu_faults(board)
    for index, path in enumerate(board.unverified):
        if not _has_field(board, path):
            yield ("unverified", index), f"{path!r} names no field of this board"


def _generation_faults(board: Board) -> Faults:
    lowest, highest = _CAPABILITIES[board.architecture]
    if not lowest <= board.cuda_capability <= highest:
        shown = ".".join(map(str, board.cuda_capability))
        yield ("cuda_capability",), f"{shown} is not of the {board.architecture.name.lower()} architecture"
    if board.mig_capable and board.architecture < Architecture.AMPERE:
        yield ("mig_capable",), "MIG came with Ampere"


def _memory_faults(board: Board) -> Faults:
    memory = board.memory
    if memory.reserved_mib >= memory.total_mib:
        yield (
            ("memory", "reserved_mib"),
            f"{memory.reserved_mib} MiB reserved of {memory.total_mib} MiB leave nothing",
        )
    if memory.bar1_mib not in {bar.mib for bar in board.pci.bars}:
        yield ("memory", "bar1_mib"), f"no BAR under pci.bars has {memory.bar1_mib} MiB"
    if memory.remap_banks and memory.page_retirement:
        yield ("memory", "page_retirement"), "a board with a row remapper (remap_banks) retires no pages"


def _coherence_faults(board: Board) -> Faults:
    """Memory that the CPUs see as their own hangs on C2C and address translation services."""
    coherent = board.coherent_memory
    if (board.addressing_mode is AddressingMode.ATS) is not coherent:
        yield ("addressing_mode",), f"ats goes with coherent_memory, which is {str(coherent).lower()}"
    if (board.c2c is C2cMode.ENABLED) is not coherent:
        yield ("c2c",), f"an enabled C2C goes with coherent_memory, which is {str(coherent).lower()}"


def _power_faults(board: Board) -> Faults:
    yield from _limit_faults(board.power, ("power",))
    module = board.power.module
    if module is not None:
        yield from _limit_faults(module, ("power", "module"))
        if module.max_watts < board.power.max_watts:
            yield (
                ("power", "module", "max_watts"),
                f"{module.max_watts} W are less than the board's {board.power.max_watts} W",
            )


def _limit_faults(power: Power | ModulePower, place: Place) -> Faults:
    if not power.min_watts <= power.default_watts <= power.max_watts:
        yield (
            (*place, "default_watts"),
            f"{power.default_watts} W lies outside {power.min_watts}..{power.max_watts} W",
        )
    if power.idle_watts > power.default_watts:
        yield (
            (*place, "idle_watts"),
            f"{power.idle_watts} W idle exceed the default limit {power.default_watts} W",
        )


def _clock_faults(board: Board) -> Faults:
    top = board.max_clocks
    for domain in Clocks.defaults:
        if getattr(board.idle_clocks, domain) > getattr(top, domain):
            yield ("idle_clocks", domain), f"idle is above max_clocks.{domain} ({getattr(top, domain)} MHz)"
    offered = {supported.memory: supported.graphics for supported in board.supported_clocks}
    wanted = board.default_application_clocks
    if wanted is not None and wanted.graphics not in offered.get(wanted.memory, ()):
        yield (
            ("default_application_clocks",),
            f"{wanted.graphics} MHz with {wanted.memory} MHz memory is not under supported_clocks",
        )


def _clock_range_faults(board: Board) -> Faults:
    top = board.max_clocks
    memories = [supported.memory for supported in board.supported_clocks]
    if memories != sorted(set(memories), reverse=True):
        yield ("supported_clocks",), "memory clocks are listed once each, highest first"
    for index, supported in enumerate(board.supported_clocks):
        place = ("supported_clocks", index)
        if supported.memory > top.memory:
            yield (*place, "memory"), f"{supported.memory} MHz is above max_clocks.memory"
        if not supported.lowest <= supported.highest <= top.graphics:
            yield (*place, "highest"), "expected lowest <= highest <= max_clocks.graphics"
        elif (supported.highest - supported.lowest) / supported.step >= _MOST_GRAPHICS_CLOCKS:
            yield (*place, "step"), f"more than {_MOST_GRAPHICS_CLOCKS} clocks"
        elif supported.graphics[0] != supported.highest:
            yield (
                (*place, "highest"),
                f"steps of {supported.step:g} from {supported.lowest} MHz end at {supported.graphics[0]} MHz",
            )


def _thermal_faults(board: Board) -> Faults:
    heat = board.thermals
    old = board.architecture < Architecture.ADA
    wanted, other = ("thresholds", "tlimits") if old else ("tlimits", "thresholds")
    if getattr(heat, wanted) is None:
        yield ("thermals",), f"a board {'before' if old else 'since'} Ada has {wanted}"
    if getattr(heat, other) is not None:
        yield ("thermals", other), f"a board {'before' if old else 'since'} Ada has {wanted} instead"
    if (at := heat.thresholds) is not None and not at.max_operating <= at.slowdown <= at.shutdown:
        yield ("thermals", "thresholds"), "expected max_operating <= slowdown <= shutdown"
    if (left := heat.tlimits) is not None and not left.shutdown <= left.slowdown <= left.max_operating:
        yield ("thermals", "tlimits"), "expected shutdown <= slowdown <= max_operating"


def _register_faults(board: Board) -> Faults:
    taken: dict[int, int] = {}
    for index, bar in enumerate(board.pci.bars):
        for slot in (bar.index, bar.index + 1) if bar.wide else (bar.index,):
            if slot > 5 or slot in taken:
                yield ("pci", "bars", index), f"register {slot} is beyond 5 or taken by a BAR before"
            taken[slot] = index
        if bar.size_bytes == 0 or bar.size_bytes & (bar.size_bytes - 1):
            yield ("pci", "bars", index), f"{bar.size_bytes} bytes is no power of two"
    if board.pci.class_code not in {0x030000, 0x030200}:
        yield (
            ("pci", "class_code"),
            f"{board.pci.class_code:#08x} is no GPU; 0x030000 is a VGA controller, 0x030200 a 3D controller",
        )


def _part_faults(board: Board) -> Faults:
    if not board.parts.gpu.startswith(f"{board.pci.device:04X}-"):
        yield (
            ("parts", "gpu"),
            f"GPU part number {board.parts.gpu} does not begin with the device id {board.pci.device:04X}",
        )
    design = board.parts.inforom_image.partition(".")[0]
    if not design or design not in board.parts.board:
        yield (
            ("parts", "inforom_image"),
            f"{board.parts.inforom_image} does not begin with a design that {board.parts.board} names",
        )


def _link_faults(board: Board) -> Faults:
    if board.fabric_capable and board.nvlink is None:
        yield ("fabric_capable",), "a board without nvlink cannot join a fabric"
    if board.fabric_guid is not None and not board.fabric_capable:
        yield ("fabric_guid",), "only a fabric_capable board has a GUID in the fabric"


def _mig_faults(board: Board) -> Faults:
    if board.mig_capable and board.mig is None:
        yield ("mig_capable",), "a board with MIG needs a `mig:` section that says how it can be cut"
    if board.mig is not None and not board.mig_capable:
        yield ("mig",), "mig_capable is false, so there is nothing to cut"
    if board.mig is not None:
        yield from mig_faults(board.mig, board_totals(board))


def _vgpu_faults(board: Board) -> Faults:
    if board.vgpu is not None:
        nominal = -(-board.memory.total_bytes // 10**9)  # types are named after the board's decimal gigabytes
        for place, sentence in board.vgpu.faults(nominal):
            yield ("vgpu", *place), sentence


def _has_field(value: object, path: str) -> bool:
    for name in path.split("."):
        if not isinstance(value, Profile) or name not in value.defaults:
            return False
        value = getattr(value, name)
    return True
