"""What a GPU is: the page members that stay as long as the node runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from claimwright.emulator.model import Architecture, Board, GpuState, NodeState, PciAddress, PciIdentity
from claimwright.emulator.model.board.sections import ModulePower
from claimwright.emulator.model.cpus import parse_cpu_list
from claimwright.emulator.nvml.layout import ABSENT, ABSENT_I32
from claimwright.emulator.nvml.records import Value

# nvmlEventType*: ECC single and double bit, performance state, XID, clock; from Hopper on also ECC storms, DRAM
# retirement and its failure, poison, an unavailable GPU and a changed recovery action.
_EVENTS = 0x1F
_HOPPER_EVENTS = 0xFE00

_BARE_METAL, _PASS_THROUGH, _HOST_VGPU = 0, 1, 3  # nvmlGpuVirtualizationMode_t

# nvmlNvlinkVersion_t by NVLink generation.
_LINK_VERSIONS = {1: 1, 2: 2, 3: 4, 4: 6, 5: 7}


@dataclass(frozen=True, slots=True)
class GpuIdentity:
    """The unchanging page members of one GPU, and who sits at the far ends of its links."""

    values: Mapping[str, Value]
    remotes: Mapping[PciAddress, PciIdentity]


def identify(gpu: GpuState, state: NodeState) -> GpuIdentity:
    """Collect what only the board and its place in the node decide."""
    ends = {link.remote for link in gpu.nvlinks}
    # A link into a switch tray of the rack ends at no function of this node.
    found = {each.address: each.identity for each in state.functions if each.address in ends}
    return GpuIdentity(_values(gpu, state), found)


def _virtualization(board: Board, state: NodeState) -> int:
    if state.machine.virtualization == "pass_through":
        return _PASS_THROUGH
    return _HOST_VGPU if state.vgpu_manager and board.vgpu else _BARE_METAL


def pdi_of(gpu: GpuState) -> int:
    """Return the per-device identifier, which the chip has beside its UUID."""
    return int(gpu.uuid.removeprefix("GPU-").replace("-", "")[:16], 16)


def _values(gpu: GpuState, state: NodeState) -> dict[str, Value]:
    board = gpu.board
    return {
        "minor": gpu.minor,
        "uuid": gpu.uuid,
        "serial": gpu.serial,
        "module_id": gpu.module_id,
        "board_id": gpu.board_id,
        "virtualization_mode": _virtualization(board, state),
        "pdi": pdi_of(gpu),
        "numa_node": ABSENT if gpu.memory_node is None else gpu.memory_node,
        "link_version": _LINK_VERSIONS[board.nvlink.version] if board.nvlink else 0,
        "link_speed_mbps": board.nvlink.megabytes_per_second if board.nvlink else 0,
        "link_count": len(gpu.nvlinks),
        "supported_events": _EVENTS | (_HOPPER_EVENTS if board.architecture >= Architecture.HOPPER else 0),
        **_board_values(board),
        **_limit_values(board),
        **_engine_values(board),
        **_clock_values(board),
        **_pci_values(gpu, state),
        **_affinity_values(gpu, state),
    }


def _board_values(board: Board) -> dict[str, Value]:
    major, minor = board.cuda_capability
    return {
        "name": board.name,
        "brand": int(board.brand),
        "architecture": int(board.architecture),
        "cuda_major": major,
        "cuda_minor": minor,
        "addressing_mode": ABSENT if board.addressing_mode is None else int(board.addressing_mode),
        "c2c_mode": ABSENT if board.c2c is None else int(board.c2c),
        "fan_count": board.fans,
        "board_part": board.parts.board,
        "gpu_part": board.parts.gpu,
        "vbios": board.parts.vbios,
        "inforom_image": board.parts.inforom_image,
        "inforom_oem": board.parts.inforom_oem,
        "inforom_ecc": board.parts.inforom_ecc,
        "inforom_power": board.parts.inforom_power,
    }


def _limit_values(board: Board) -> dict[str, Value]:
    power, memory = board.power, board.memory
    return {
        **_heat_values(board),
        "power_min_mw": power.min_watts * 1000,
        "power_default_mw": power.default_watts * 1000,
        "power_max_mw": power.max_watts * 1000,
        "power_average": int(power.average),
        "power_smoothing": int(power.smoothing),
        "memory_power_mw": ABSENT if power.memory_idle_watts is None else int(power.memory_idle_watts * 1000),
        **_module_values(power.module),
        "memory_total": memory.total_bytes,
        "memory_reserved": memory.reserved_bytes,
        "memory_bus_width": memory.bus_width_bits,
        "remap_banks": memory.remap_banks,
        "bar1_total": memory.bar1_mib << 20,
    }


def _module_values(module: ModulePower | None) -> dict[str, Value]:
    """Give the power of a module of processor and GPUs; other boards have none."""
    return {
        "module_power_mw": int(module.idle_watts * 1000) if module else ABSENT,
        "module_min_mw": module.min_watts * 1000 if module else ABSENT,
        "module_default_mw": module.default_watts * 1000 if module else ABSENT,
        "module_max_mw": module.max_watts * 1000 if module else ABSENT,
    }


def _heat_values(board: Board) -> dict[str, Value]:
    """Give the distances to the limit of boards since Ada, the temperatures of those before."""
    left, at = board.thermals.tlimits, board.thermals.thresholds
    return {
        "shutdown_tlimit": left.shutdown if left else ABSENT_I32,
        "slowdown_tlimit": left.slowdown if left else ABSENT_I32,
        "max_operating_tlimit": left.max_operating if left else ABSENT_I32,
        "memory_max_tlimit": ABSENT_I32 if left is None or left.memory_max is None else left.memory_max,
        "shutdown_at": at.shutdown if at else ABSENT_I32,
        "slowdown_at": at.slowdown if at else ABSENT_I32,
        "max_operating_at": at.max_operating if at else ABSENT_I32,
        "memory_max_at": ABSENT_I32 if at is None or at.memory_max is None else at.memory_max,
    }


def _engine_values(board: Board) -> dict[str, Value]:
    engines = board.engines
    return {
        "multiprocessors": engines.multiprocessors,
        "cuda_cores": engines.cuda_cores,
        "encoder_engines": engines.encoders,
        "decoder_engines": engines.decoders,
        "jpeg_engines": engines.jpeg_engines,
        "ofa_engines": engines.optical_flow,
    }


def _clock_values(board: Board) -> dict[str, Value]:
    top, ranges, wanted = board.max_clocks, board.supported_clocks, board.application_clocks
    return {
        "max_clocks": (top.graphics, top.sm, top.memory, top.video),
        "default_application_clocks": (wanted.graphics, wanted.graphics, wanted.memory, ABSENT),
        "memory_clock_count": len(ranges),
        "memory_clocks": tuple(step.memory for step in ranges),
        "graphics_highest": tuple(step.highest for step in ranges),
        "graphics_lowest": tuple(step.lowest for step in ranges),
        "graphics_step_khz": tuple(int(step.step * 1000) for step in ranges),
    }


def _pci_values(gpu: GpuState, state: NodeState) -> dict[str, Value]:
    pci, function = gpu.board.pci, state.function(gpu.pci)
    return {
        "pci_domain": gpu.pci.domain,
        "pci_bus": gpu.pci.bus,
        "pci_device": gpu.pci.device,
        "pci_function": gpu.pci.function,
        "pci_device_id": pci.nvml_device_id,
        "pci_subsystem_id": pci.nvml_subsystem_id,
        "pci_base_class": pci.class_code >> 16,
        "pci_sub_class": pci.class_code >> 8 & 0xFF,
        "link_generation_max": function.trained_generation,
        "link_generation_device": pci.link_generation,
        "atomics_outbound": _told(pci.outbound_atomics_mask),
        "atomics_inbound": _told(pci.inbound_atomics_mask),
        "link_width_max": pci.link_width,
        "irq": function.irq,
    }


def _affinity_values(gpu: GpuState, state: NodeState) -> dict[str, Value]:
    near = [node for node in state.numa if node.id == gpu.numa_node] or list(state.numa)
    cpus = [cpu for node in near for cpu in parse_cpu_list(node.cpus)]
    return {"cpu_mask": _mask(cpus, 16), "memory_mask": _mask((node.id for node in near), 4)}


def _told(number: int | None) -> int:
    return ABSENT if number is None else number


def _mask(bits: Iterable[int], words: int) -> Sequence[int]:
    whole = sum(1 << bit for bit in bits if bit < 64 * words)
    return [whole >> 64 * word & 0xFFFFFFFFFFFFFFFF for word in range(words)]
