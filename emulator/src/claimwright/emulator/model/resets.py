"""What a GPU forgets: at a reset, and when its kernel driver lets go of it."""

from __future__ import annotations

from dataclasses import replace

from claimwright.emulator.model.board import Architecture
from claimwright.emulator.model.mig.instances import Mig
from claimwright.emulator.model.readings import settled
from claimwright.emulator.model.settings import Settings
from claimwright.emulator.model.state import EccErrors, GpuState, NvLinkErrors, Utilization


def after_reset(gpu: GpuState) -> GpuState:
    """Return the GPU as it comes back from a reset: pending modes hold, volatile counts, locks, instances are gone."""
    ecc = gpu.ecc and replace(gpu.ecc, volatile=EccErrors(), current=gpu.ecc.pending)
    health = replace(gpu.health, rows=replace(gpu.health.rows, pending=False), pcie_replays=0)
    links = tuple(replace(link, errors=NvLinkErrors()) for link in gpu.nvlinks)
    mig = _mig_after_reset(gpu)
    kept = _kept(gpu.settings)
    return settled(
        replace(gpu, ecc=ecc, clock_lock=None, settings=kept, mig=mig, health=health, nvlinks=links)
    )


def fallen_off(gpu: GpuState) -> GpuState:
    """Return the GPU gone from the bus: its processes are dead, nothing on it answers."""
    return settled(without_instances(replace(gpu, lost=True, processes=(), utilization=Utilization())))


def _kept(settings: Settings) -> Settings:
    """Clocks and profiles are the driver's and end with a reset; accounting, drain and the host's name stay."""
    return Settings(
        accounting=settings.accounting,
        accounting_cleared=settings.accounting_cleared,
        hostname=settings.hostname,
        draining=settings.draining,
        free_application_clocks=settings.free_application_clocks,
    )


def without_instances(gpu: GpuState) -> GpuState:
    """Return the GPU without MIG instances, and without the processes in them."""
    if gpu.mig is None or not gpu.mig.gpu_instances:
        return gpu
    outside = tuple(process for process in gpu.processes if process.gpu_instance is None)
    return replace(gpu, mig=replace(gpu.mig, gpu_instances=()), processes=outside)


def after_unload(gpu: GpuState) -> GpuState:
    """Return the GPU that its driver has let go of: instances are gone, and what only the driver kept."""
    return replace(without_instances(gpu), mig=_mig_after_reset(gpu))


def _mig_after_reset(gpu: GpuState) -> Mig | None:
    """Ampere keeps the mode in its InfoROM; from Hopper on the driver keeps it, so it is off after a reset."""
    if gpu.mig is None:
        return None
    kept = gpu.mig.pending and gpu.board.architecture < Architecture.HOPPER
    return Mig(current=kept, pending=kept)
