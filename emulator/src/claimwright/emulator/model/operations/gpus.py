"""What can be done to one GPU, apart from its partitions: settings, load, readings, errors.

What a process asks for through NVML refuses as the header documents (nvml.h 13.5); what the environment does
(heat, load, faults) refuses only what is physically meaningless.
"""

from __future__ import annotations

from dataclasses import replace

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.change import of_gpu
from claimwright.emulator.model.mig.processes import check_instance
from claimwright.emulator.model.readings import settled
from claimwright.emulator.model.replacing import replaced
from claimwright.emulator.model.resets import after_reset, fallen_off
from claimwright.emulator.model.state import (
    ClockLock,
    ComputeMode,
    Ecc,
    EccErrors,
    GpuProcess,
    GpuState,
    ProcessKind,
    TimeSlice,
    Utilization,
)


@of_gpu
def set_persistence_mode(gpu: GpuState, *, enabled: bool) -> GpuState:
    """Keep the driver loaded while nothing uses the GPU, or not."""
    return replaced(_reachable(gpu), persistence_mode=enabled)


@of_gpu
def set_compute_mode(gpu: GpuState, mode: int) -> GpuState:
    """Set `nvmlComputeMode_t`; running processes stay, as on hardware."""
    if mode == 1:
        raise OperationRefused(
            Refusal.NOT_SUPPORTED, "compute mode 1 (EXCLUSIVE_THREAD) is no longer supported"
        )
    if mode not in set(ComputeMode):
        known = ", ".join(f"{known.value} ({known.name})" for known in ComputeMode)
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"compute mode {mode} is not one of {known}")
    return replaced(_reachable(gpu), compute_mode=ComputeMode(mode))


@of_gpu
def set_time_slice(gpu: GpuState, time_slice: int) -> GpuState:
    """Set the time slice of the compute scheduler (0 default, 1 short, 2 medium, 3 long)."""
    if time_slice not in set(TimeSlice):
        known = ", ".join(f"{known.value} ({known.name})" for known in TimeSlice)
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"time slice {time_slice} is not one of {known}")
    return replaced(_reachable(gpu), time_slice=TimeSlice(time_slice))


@of_gpu
def set_power_limit(gpu: GpuState, milliwatts: int) -> GpuState:
    """Set the power limit within the board's range."""
    allowed = gpu.board.power
    if not allowed.min_watts * 1000 <= milliwatts <= allowed.max_watts * 1000:
        wanted = f"expected {allowed.min_watts * 1000}..{allowed.max_watts * 1000} mW for {gpu.board.name}"
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"power limit {milliwatts} mW; {wanted}")
    return settled(replaced(_reachable(gpu), power=replace(gpu.power, limit_milliwatts=milliwatts)))


@of_gpu
def lock_clocks(gpu: GpuState, lowest: int, highest: int) -> GpuState:
    """Hold the graphics clock, MHz, within a range; the ends are clipped to what the board supports."""
    if not 0 <= lowest <= highest:
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"locked clocks {lowest}..{highest} MHz: expected low <= high"
        )
    top, bottom = gpu.board.max_clocks.graphics, min(step.lowest for step in gpu.board.supported_clocks)
    lock = ClockLock(min(max(lowest, bottom), top), min(max(highest, bottom), top))
    return settled(replaced(_reachable(gpu), clock_lock=lock))


@of_gpu
def unlock_clocks(gpu: GpuState) -> GpuState:
    """Let the graphics clock go free again."""
    return settled(replaced(_reachable(gpu), clock_lock=None))


@of_gpu
def start_process(
    gpu: GpuState,
    pid: int,
    name: str,
    memory_bytes: int,
    *,
    kind: ProcessKind = ProcessKind.COMPUTE,
    gpu_instance: int | None = None,
    compute_instance: int | None = None,
) -> GpuState:
    """Give a process a context and memory, if the compute mode and the free memory allow it.

    With MIG on it must name the MIG device that it runs on, whose memory is then all it can have.
    """
    process = GpuProcess(pid, name, memory_bytes, kind, gpu_instance, compute_instance)
    _reachable(gpu)
    if not gpu.nvml_visible:
        raise OperationRefused(
            Refusal.NOT_FOUND, f"GPU {gpu.index} is not on the NVIDIA driver: no process can open it"
        )
    if process.pid <= 0 or process.memory_bytes < 0:
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"{process}: expected a positive pid and memory >= 0"
        )
    if any(other.pid == process.pid for other in gpu.processes):
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"process {process.pid} runs on GPU {gpu.index} already"
        )
    if gpu.settings.draining:
        raise OperationRefused(
            Refusal.NOT_READY, f"GPU {gpu.index} is being drained and takes no new clients"
        )
    check_instance(gpu, process)
    if gpu.health.reset_required:
        raise OperationRefused(Refusal.RESET_REQUIRED, f"GPU {gpu.index} runs nothing new before a reset")
    _check_compute_mode(gpu, process)
    free = gpu.memory_free_bytes if gpu_instance is None else gpu.instance_memory_free_bytes(gpu_instance)
    if process.memory_bytes > free:
        asked = f"{process.memory_bytes} bytes asked, {free} free on GPU {gpu.index}"
        raise OperationRefused(Refusal.MEMORY, asked)
    return settled(replace(gpu, processes=(*gpu.processes, process)))


@of_gpu
def stop_process(gpu: GpuState, pid: int) -> GpuState:
    """End a process's context; its memory is free at once."""
    left = tuple(process for process in gpu.processes if process.pid != pid)
    if len(left) == len(gpu.processes):
        running = ", ".join(str(process.pid) for process in gpu.processes) or "none"
        raise OperationRefused(Refusal.NOT_FOUND, f"no process {pid} on GPU {gpu.index}; running: {running}")
    return settled(replace(gpu, processes=left))


@of_gpu
def set_utilization(gpu: GpuState, utilization: Utilization) -> GpuState:
    """Set how busy the engines are; power and clocks follow."""
    values = {name: getattr(utilization, name) for name in utilization.__dataclass_fields__}
    for name, percent in values.items():
        if not 0 <= percent <= 100:
            raise OperationRefused(
                Refusal.INVALID_ARGUMENT, f"{name} utilization {percent} %; expected 0..100"
            )
    return settled(replace(gpu, utilization=utilization))


@of_gpu
def set_temperature(gpu: GpuState, celsius: int, memory_celsius: int | None = None) -> GpuState:
    """Set what the sensors read."""
    for value in (celsius, memory_celsius):
        if value is not None and not -40 <= value <= 150:
            raise OperationRefused(Refusal.INVALID_ARGUMENT, f"{value} °C; expected -40..150")
    if memory_celsius is not None and gpu.temperature.memory is None:
        raise OperationRefused(Refusal.NOT_SUPPORTED, f"{gpu.board.name} has no memory temperature sensor")
    memory = gpu.temperature.memory if memory_celsius is None else memory_celsius
    return replace(gpu, temperature=replace(gpu.temperature, gpu=celsius, memory=memory))


@of_gpu
def count_ecc_errors(gpu: GpuState, *, corrected: int = 0, uncorrected: int = 0) -> GpuState:
    """Add memory errors to both lifetimes."""
    before = _ecc(gpu)
    if corrected < 0 or uncorrected < 0:
        raise OperationRefused(Refusal.INVALID_ARGUMENT, "error counts only grow")
    ecc = replace(
        before,
        volatile=_added(before.volatile, corrected, uncorrected),
        aggregate=_added(before.aggregate, corrected, uncorrected),
    )
    return replace(gpu, ecc=ecc)


@of_gpu
def set_ecc_mode(gpu: GpuState, *, enabled: bool) -> GpuState:
    """Set the ECC mode that the next reset makes current."""
    return replaced(_reachable(gpu), ecc=replace(_ecc(gpu), pending=enabled))


@of_gpu
def clear_ecc_errors(gpu: GpuState, *, aggregate: bool) -> GpuState:
    """Set the counts of one lifetime back to zero."""
    ecc = _ecc(_reachable(gpu))
    return replace(
        gpu, ecc=replace(ecc, aggregate=EccErrors()) if aggregate else replace(ecc, volatile=EccErrors())
    )


@of_gpu
def set_nvlink(gpu: GpuState, link: int, *, active: bool) -> GpuState:
    """Bring one NVLink down or up."""
    if not 0 <= link < len(gpu.nvlinks):
        expected = f"expected 0..{len(gpu.nvlinks) - 1}" if gpu.nvlinks else "it has none"
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"GPU {gpu.index} has no NVLink {link}; {expected}")
    changed = replace(gpu.nvlinks[link], active=active)
    return replace(gpu, nvlinks=(*gpu.nvlinks[:link], changed, *gpu.nvlinks[link + 1 :]))


@of_gpu
def lose(gpu: GpuState) -> GpuState:
    """Let the GPU fall off the bus: its processes die, and NVML answers GPU_IS_LOST from now on."""
    return fallen_off(gpu)


@of_gpu
def recover(gpu: GpuState) -> GpuState:
    """Bring a lost GPU back, as after a reset: volatile counts and locks are gone."""
    return after_reset(replace(gpu, lost=False))


def _reachable(gpu: GpuState) -> GpuState:
    if gpu.lost:
        raise OperationRefused(Refusal.GPU_IS_LOST, f"GPU {gpu.index} ({gpu.uuid}) has fallen off the bus")
    return gpu


def _ecc(gpu: GpuState) -> Ecc:
    if gpu.ecc is None:
        raise OperationRefused(Refusal.NOT_SUPPORTED, f"{gpu.board.name} has no ECC")
    return gpu.ecc


def _check_compute_mode(gpu: GpuState, process: GpuProcess) -> None:
    if process.kind is not ProcessKind.COMPUTE:
        return
    if gpu.compute_mode is ComputeMode.PROHIBITED:
        raise OperationRefused(Refusal.IN_USE, f"GPU {gpu.index} prohibits compute processes")
    place = (process.gpu_instance, process.compute_instance)
    others = [
        other.pid
        for other in gpu.processes
        if other.kind is ProcessKind.COMPUTE and (other.gpu_instance, other.compute_instance) == place
    ]
    if gpu.compute_mode is ComputeMode.EXCLUSIVE_PROCESS and others:
        raise OperationRefused(Refusal.IN_USE, f"GPU {gpu.index} is exclusive to process {others[0]}")


def _added(errors: EccErrors, corrected: int, uncorrected: int) -> EccErrors:
    return EccErrors(errors.corrected + corrected, errors.uncorrected + uncorrected)


OPERATIONS = (
    set_persistence_mode,
    set_compute_mode,
    set_time_slice,
    set_power_limit,
    lock_clocks,
    unlock_clocks,
    start_process,
    stop_process,
    set_utilization,
    set_temperature,
    count_ecc_errors,
    set_ecc_mode,
    clear_ecc_errors,
    set_nvlink,
    lose,
    recover,
)
