"""What a GPU reads and how it is set: the page members that change while the node runs."""

from __future__ import annotations

from collections.abc import Mapping

from claimwright.emulator.model import FunctionKind, GpuState, NvLink, PciAddress, PciIdentity, ProcessKind
from claimwright.emulator.model.board import Architecture
from claimwright.emulator.model.state import NvLinkErrors
from claimwright.emulator.nvml.layout import (
    ABSENT,
    ABSENT_I32,
    LINK,
    LINKS,
    PROCESS,
    PROCESSES,
    PageFlag,
)
from claimwright.emulator.nvml.records import Value

_LISTED, _LOST = int(PageFlag.LISTED), int(PageFlag.LOST)
_KINDS = {ProcessKind.COMPUTE: 0, ProcessKind.GRAPHICS: 1}
_IDLE = 0x1  # nvmlClocksEventReasonGpuIdle
_SETTING = 0x2  # nvmlClocksEventReasonApplicationsClocksSetting

# nvmlIntNvLinkDeviceType_t
_REMOTE_TYPES = {FunctionKind.GPU: 0, FunctionKind.NVSWITCH: 2}
_NOWHERE = PciAddress(0, 0, 0)
_NOBODY = PciIdentity(0, 0, 0, 0, 0, 0)
_NO_INSTANCE = 0xFFFFFFFF
_MOST = 0xFFFFFFFE
_LINK_THRESHOLD = 100  # the driver's own; no source says how long that is


def reading_values(gpu: GpuState, remotes: Mapping[PciAddress, PciIdentity]) -> dict[str, Value]:
    """Return the members that operations change, and the links."""
    return {
        **state_values(gpu),
        **load_values(gpu),
        **ecc_values(gpu),
        **sum_values(gpu),
        **fabric_values(gpu),
        **health_values(gpu),
        **mig_values(gpu),
        **process_values(gpu),
        **link_values(gpu, remotes),
    }


def state_values(gpu: GpuState) -> dict[str, Value]:
    """Return how it is set, and what its sensors read."""
    margin = gpu.board.thermals.margin(gpu.temperature.gpu)
    return {
        "flags": _flags(gpu),
        "persistence_mode": int(gpu.persistence_mode),
        "compute_mode": int(gpu.compute_mode),
        "time_slice": int(gpu.time_slice),
        "mig_current": ABSENT if gpu.mig is None else int(gpu.mig.current),
        "mig_pending": ABSENT if gpu.mig is None else int(gpu.mig.pending),
        "performance_state": gpu.performance_state,
        "temperature": gpu.temperature.gpu,
        "memory_temperature": ABSENT if gpu.temperature.memory is None else gpu.temperature.memory,
        "temperature_margin": ABSENT_I32 if margin is None else margin,
        "power_usage_mw": gpu.power.usage_milliwatts,
        "power_limit_mw": gpu.power.limit_milliwatts,
    }


def _flags(gpu: GpuState) -> int:
    return _LISTED * gpu.nvml_visible | _LOST * gpu.lost


def load_values(gpu: GpuState) -> dict[str, Value]:
    """Return clocks, and how busy its engines are."""
    busy, clocks = gpu.utilization, gpu.clocks
    return {
        "clocks": (clocks.graphics, clocks.sm, clocks.memory, clocks.video),
        "application_clocks": _application_clocks(gpu),
        "gpu_percent": busy.gpu,
        "memory_percent": busy.memory,
        "encoder_percent": busy.encoder,
        "decoder_percent": busy.decoder,
        "jpeg_percent": busy.jpeg,
        "ofa_percent": busy.optical_flow,
        "link_threshold": _link_threshold(gpu),
    }


def _link_threshold(gpu: GpuState) -> int:
    """Return after how long an idle link sleeps, in units of its generation (Hopper and later)."""
    if gpu.board.nvlink is None or gpu.board.architecture < Architecture.HOPPER:
        return ABSENT
    return gpu.settings.link_threshold or _LINK_THRESHOLD


def sum_values(gpu: GpuState) -> dict[str, Value]:
    """Return what processes, settings and health come to together."""
    idle = _IDLE if not gpu.processes and not gpu.utilization.gpu else 0
    return {
        "memory_used": gpu.memory_used_bytes,
        "bar1_used": gpu.board.memory.bar1_idle_mib << 20,
        "event_reasons": idle | (_SETTING if gpu.clock_lock else 0) | int(gpu.health.clock_reasons),
    }


def _application_clocks(gpu: GpuState) -> tuple[int, ...]:
    default = gpu.board.application_clocks
    memory, graphics = gpu.settings.application_clocks or (default.memory, default.graphics)
    return graphics, graphics, memory, ABSENT


def ecc_values(gpu: GpuState) -> dict[str, Value]:
    """Return the ECC mode and its counters."""
    ecc = gpu.ecc
    return {
        "ecc_current": ABSENT if ecc is None else int(ecc.current),
        "ecc_pending": ABSENT if ecc is None else int(ecc.pending),
        "ecc_volatile_corrected": ecc.volatile.corrected if ecc else 0,
        "ecc_volatile_uncorrected": ecc.volatile.uncorrected if ecc else 0,
        "ecc_aggregate_corrected": ecc.aggregate.corrected if ecc else 0,
        "ecc_aggregate_uncorrected": ecc.aggregate.uncorrected if ecc else 0,
    }


def fabric_values(gpu: GpuState) -> dict[str, Value]:
    """Return what it knows of its NVLink fabric."""
    fabric = gpu.fabric
    return {
        "fabric_state": ABSENT if fabric is None else int(fabric.state),
        "fabric_status": fabric.status if fabric else 0,
        "fabric_clique": fabric.clique_id if fabric else 0,
        "fabric_health_mask": fabric.health.mask if fabric else 0,
        "fabric_health_summary": int(fabric.health.summary) if fabric else 0,
        "fabric_uuid": fabric.cluster_bytes if fabric else b"",
    }


def health_values(gpu: GpuState) -> dict[str, Value]:
    """Return what is worn or broken."""
    health = gpu.health
    retired = health.retired
    return {
        "recovery_action": int(health.recovery),
        "rows_corrected": health.rows.corrected,
        "rows_uncorrected": health.rows.uncorrected,
        "rows_pending": int(health.rows.pending),
        "rows_failed": int(health.rows.failed),
        "pages_single_bit": len(retired.single_bit),
        "pages_double_bit": len(retired.double_bit),
        "pages_pending_single_bit": int(retired.pending_single_bit),
        "pages_pending_double_bit": int(retired.pending_double_bit),
        "retires_pages": int(gpu.ecc is not None and not gpu.board.memory.remap_banks),
        "link_generation": health.pcie_generation or gpu.link_generation,
        "link_width": health.pcie_width or gpu.link_width,
        "replays": health.pcie_replays,
        "inforom_valid": int(health.inforom_valid),
    }


def process_values(gpu: GpuState) -> dict[str, Value]:
    """Give each process an even share of the load; more than the page holds are left out."""
    held = gpu.processes[:PROCESSES]
    share = max(1, len(held))
    records = (
        PROCESS.pack(
            {
                "pid": process.pid,
                "kind": _KINDS[process.kind],
                "used_bytes": process.memory_bytes,
                "gpu_instance": _instance(process.gpu_instance),
                "compute_instance": _instance(process.compute_instance),
                "sm_percent": gpu.utilization.gpu // share,
                "memory_percent": gpu.utilization.memory // share,
            }
        )
        for process in held
    )
    return {"process_count": len(held), "processes": b"".join(records)}


def mig_values(gpu: GpuState) -> dict[str, Value]:
    """Return its MIG devices: one byte per GPU instance, one bit per compute instance."""
    live = bytearray(16)
    for held, compute in gpu.mig.devices() if gpu.mig else ():
        live[held.id] |= 1 << compute.id
    return {"mig_devices": bytes(live)}


def link_values(gpu: GpuState, remotes: Mapping[PciAddress, PciIdentity]) -> dict[str, Value]:
    """Return its NVLinks; `remotes` tells who sits at an address."""
    return {"links": b"".join(_link(link, remotes) for link in gpu.nvlinks[:LINKS])}


def _instance(number: int | None) -> int:
    return _NO_INSTANCE if number is None else number


def _capped(errors: NvLinkErrors) -> tuple[int, ...]:
    """The hardware's counters saturate too."""
    counts = (errors.replay, errors.recovery, errors.crc_flit, errors.crc_data, errors.ecc_data)
    return tuple(min(count, _MOST) for count in counts)


def _link(link: NvLink, remotes: Mapping[PciAddress, PciIdentity]) -> bytes:
    at = link.remote or _NOWHERE
    far = remotes.get(at, _NOBODY)
    kind = link.remote_kind
    return LINK.pack(
        {
            "active": int(link.active),
            "wired": int(link.remote is not None),
            "remote_type": _REMOTE_TYPES.get(kind, 0xFF) if kind else 0xFF,
            "domain": at.domain,
            "bus": at.bus,
            "device": at.device,
            "function": at.function,
            "device_id": far.device << 16 | far.vendor,
            "subsystem_id": far.subsystem_device << 16 | far.subsystem_vendor,
            "remote_link": link.remote_link,
            "errors": _capped(link.errors),
        }
    )
