"""Settings that NVML's setters change; each refuses as nvml.h 13.5 says of its function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.board import Architecture
from claimwright.emulator.model.change import Change, of_gpu
from claimwright.emulator.model.readings import settled
from claimwright.emulator.model.settings import BandwidthMode, PowerSmoothing
from claimwright.emulator.model.state import GpuState, NodeState, NvLinkErrors

_LINK_THRESHOLD = (0x1, 0x1FFF)  # NVML_NVLINK_LOW_POWER_THRESHOLD_MIN and _MAX
_PRESETS = 5  # power smoothing presets; field 259


@of_gpu
def set_accounting_mode(gpu: GpuState, *, enabled: bool) -> GpuState:
    """Keep statistics of processes that start from now on, or not."""
    return _with(gpu, accounting=enabled)


@of_gpu
def clear_accounting(gpu: GpuState) -> GpuState:
    """Forget the processes that have ended; refused while any runs (nvmlDeviceClearAccountingPids)."""
    if gpu.processes:
        raise OperationRefused(
            Refusal.NO_PERMISSION, f"{len(gpu.processes)} processes run on GPU {gpu.index}"
        )
    return _with(gpu, accounting_cleared=gpu.settings.accounting_cleared + 1)


@of_gpu
def lock_memory_clocks(gpu: GpuState, lowest: int, highest: int) -> GpuState:
    """Hold the memory clock, MHz, within a range (Ampere and later)."""
    if gpu.board.architecture < Architecture.AMPERE:
        raise OperationRefused(Refusal.NOT_SUPPORTED, f"{gpu.board.name} locks no memory clock")
    if not 0 <= lowest <= highest:
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"{lowest}..{highest} MHz: expected low <= high")
    return settled(_with(gpu, memory_lock=(lowest, highest)))


@of_gpu
def unlock_memory_clocks(gpu: GpuState) -> GpuState:
    """Let the memory clock go free again."""
    return settled(_with(gpu, memory_lock=None))


@of_gpu
def set_application_clocks(gpu: GpuState, memory: int, graphics: int) -> GpuState:
    """Set the clocks, MHz, that processes run at; the pair must be one that the board offers."""
    offered = {step.memory: step.graphics for step in gpu.board.supported_clocks}
    if graphics not in offered.get(memory, ()):
        known = ", ".join(map(str, offered))
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"{memory} with {graphics} MHz is no pair; memory clocks: {known}"
        )
    return settled(_with(gpu, application_clocks=(memory, graphics)))


@of_gpu
def reset_application_clocks(gpu: GpuState) -> GpuState:
    """Go back to the board's own application clocks."""
    return settled(_with(gpu, application_clocks=None))


@of_gpu
def restrict_application_clocks(gpu: GpuState, *, restricted: bool) -> GpuState:
    """Let administrators alone set application clocks, or everybody."""
    return _with(gpu, free_application_clocks=not restricted)


@of_gpu
def set_fan_speed(gpu: GpuState, fan: int, percent: int | None) -> GpuState:
    """Hold a fan at a speed, or with None leave it to the board again."""
    fans = gpu.board.fans
    if not fans:
        raise OperationRefused(Refusal.NOT_SUPPORTED, f"{gpu.board.name} has no fans")
    if not 0 <= fan < fans or (percent is not None and not 0 <= percent <= 100):
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"fan {fan} at {percent} %; expected 0..{fans - 1}, 0..100"
        )
    speeds = (gpu.settings.fan_percent + (None,) * fans)[:fans]
    return _with(gpu, fan_percent=(*speeds[:fan], percent, *speeds[fan + 1 :]))


@of_gpu
def set_workload_profiles(gpu: GpuState, profiles: Sequence[int]) -> GpuState:
    """Ask for these workload power profiles (`nvmlPowerProfileType_t`), and for no other."""
    if gpu.board.architecture < Architecture.BLACKWELL:
        raise OperationRefused(Refusal.NOT_SUPPORTED, f"{gpu.board.name} has no workload power profiles")
    return _with(gpu, workload_profiles=tuple(sorted(set(profiles))))


@of_gpu
def set_power_smoothing(
    gpu: GpuState,
    *,
    enabled: bool | None = None,
    preset: int | None = None,
    parameter: int | None = None,
    value: float = 0.0,
) -> GpuState:
    """Turn smoothing on or off, put a preset in force, or change one parameter of a preset."""
    if not gpu.board.power.smoothing:
        raise OperationRefused(Refusal.NOT_SUPPORTED, f"{gpu.board.name} does not smooth its power")
    if preset is not None and not 0 <= preset < _PRESETS:
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"preset {preset}; expected 0..{_PRESETS - 1}")
    return _with(gpu, smoothing=_smoothing(gpu.settings.smoothing, enabled, preset, parameter, value))


@of_gpu
def set_link_threshold(gpu: GpuState, threshold: int | None) -> GpuState:
    """Set after how long without traffic NVLinks go to low power; None for the default."""
    low, high = _LINK_THRESHOLD
    if not gpu.nvlinks or gpu.board.architecture < Architecture.HOPPER:
        raise OperationRefused(Refusal.NOT_SUPPORTED, f"{gpu.board.name} has no NVLink power threshold")
    if threshold is not None and not low <= threshold <= high:
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"threshold {threshold}; expected {low}..{high}")
    return _with(gpu, link_threshold=threshold)


@of_gpu
def clear_link_errors(gpu: GpuState, link: int, counter: str | None = None) -> GpuState:
    """Set the error counters of one NVLink to zero, or one of them (a member of NvLinkErrors)."""
    if not 0 <= link < len(gpu.nvlinks):
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"link {link}; expected 0..{len(gpu.nvlinks) - 1}")
    known = {field.name for field in fields(NvLinkErrors)}
    if counter is not None and counter not in known:
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"counter {counter!r}; expected one of {', '.join(sorted(known))}"
        )
    now = gpu.nvlinks[link].errors
    errors = NvLinkErrors() if counter is None else replace(now, **{counter: 0})
    clean = replace(gpu.nvlinks[link], errors=errors)
    return replace(gpu, nvlinks=(*gpu.nvlinks[:link], clean, *gpu.nvlinks[link + 1 :]))


@of_gpu
def set_link_bandwidth(gpu: GpuState, mode: int) -> GpuState:
    """Choose one of the GPU's NVLink bandwidth modes (Blackwell)."""
    known = link_bandwidth_modes(gpu)
    if mode not in known:
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"bandwidth mode {mode}; expected one of {known}")
    return _with(gpu, link_bandwidth_mode=mode)


@of_gpu
def set_metrics_streaming(gpu: GpuState, *, enabled: bool) -> GpuState:
    """Stream performance metrics (GPM), or read them on demand."""
    if gpu.board.architecture < Architecture.HOPPER:
        raise OperationRefused(Refusal.NOT_SUPPORTED, f"{gpu.board.name} has no GPU performance metrics")
    return _with(gpu, metrics_streaming=enabled)


@of_gpu
def set_hostname(gpu: GpuState, hostname: str) -> GpuState:
    """Tell the GPU the name of the host that it is in, at most 63 printable characters."""
    if not hostname.isascii() or not hostname.isprintable() or len(hostname) > 63:
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"hostname {hostname!r}: expected at most 63 ASCII characters"
        )
    return _with(gpu, hostname=hostname)


def set_node_bandwidth(state: NodeState, mode: int) -> Change[None]:
    """Set the bandwidth mode of all NVLinks of the node (Hopper); refused while a process runs."""
    if not any(gpu.nvlinks for gpu in state.gpus) or any(
        gpu.board.architecture != Architecture.HOPPER for gpu in state.gpus
    ):
        raise OperationRefused(Refusal.NOT_SUPPORTED, "the node's GPUs have no common NVLink bandwidth mode")
    if mode not in set(BandwidthMode):
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"bandwidth mode {mode}; expected 0..{max(BandwidthMode)}"
        )
    if any(gpu.processes for gpu in state.gpus):
        raise OperationRefused(Refusal.IN_USE, "processes use the node's GPUs")
    return _of_node(state, bandwidth_mode=BandwidthMode(mode))


@of_gpu
def set_drain(gpu: GpuState, *, draining: bool) -> GpuState:
    """Let a GPU take no new clients, or let it again; refused while a process uses it."""
    if draining and gpu.processes:
        raise OperationRefused(Refusal.IN_USE, f"{len(gpu.processes)} processes use the GPU at {gpu.pci}")
    return replace(gpu, settings=replace(gpu.settings, draining=draining))


def link_bandwidth_modes(gpu: GpuState) -> tuple[int, ...]:
    """Return the bandwidth modes of a GPU's NVLinks; NOT_SUPPORTED before Blackwell.

    Mode 0 uses all links, each further one fewer of them (nvmlDeviceGetNvlinkSupportedBwModes).
    """
    if not gpu.nvlinks or gpu.board.architecture < Architecture.BLACKWELL:
        raise OperationRefused(
            Refusal.NOT_SUPPORTED, f"{gpu.board.name} has no NVLink bandwidth modes of its own"
        )
    return tuple(range(1 + len(gpu.nvlinks) // 2))


def _with(gpu: GpuState, **changed: object) -> GpuState:
    if gpu.lost:
        raise OperationRefused(Refusal.GPU_IS_LOST, f"GPU {gpu.index} ({gpu.uuid}) has fallen off the bus")
    return replace(gpu, settings=replace(gpu.settings, **changed))  # type: ignore[arg-type]  # names of Settings


def _of_node(state: NodeState, **changed: object) -> Change[None]:
    settings = replace(state.settings, **changed)  # type: ignore[arg-type]  # names of NodeSettings
    return Change(replace(state, settings=settings), None)


def _smoothing(
    now: PowerSmoothing, enabled: bool | None, preset: int | None, parameter: int | None, value: float
) -> PowerSmoothing:
    if enabled is not None:
        return replace(now, enabled=enabled)
    if parameter is None:
        return now if preset is None else replace(now, preset=preset)
    key = (preset or 0, parameter)
    kept = tuple(each for each in now.overrides if each[0] != key)
    return replace(now, overrides=(*kept, (key, value)))


OPERATIONS = (
    set_accounting_mode,
    clear_accounting,
    lock_memory_clocks,
    unlock_memory_clocks,
    set_application_clocks,
    reset_application_clocks,
    restrict_application_clocks,
    set_fan_speed,
    set_workload_profiles,
    set_power_smoothing,
    set_link_threshold,
    clear_link_errors,
    set_link_bandwidth,
    set_metrics_streaming,
    set_hostname,
    set_node_bandwidth,
    set_drain,
)
