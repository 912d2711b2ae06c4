"""Faults of the frame buffer: bit errors, remapped rows, retired pages, and memory that somebody else took."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.change import Change, EventKind, GpuEvent, gpu_at, with_gpu
from claimwright.emulator.model.faults.fault import (
    BY_RELOAD,
    BY_REPAIR,
    GpuFault,
    health_of,
    with_health,
    xid,
)
from claimwright.emulator.model.faults.recovery import needing, needing_nothing
from claimwright.emulator.model.health import RecoveryAction, RetiredPages, RowRemaps
from claimwright.emulator.model.readings import settled
from claimwright.emulator.model.rules import Field
from claimwright.emulator.model.state import Ecc, EccErrors, GpuProcess, GpuState, NodeState

Count = Annotated[int, Field(ge=1, le=1 << 31)]
_PAGE_BYTES = 4096
_MOST_RETIRED = 64  # pages of a board (NVIDIA, "Dynamic page retirement")


class SingleBitEcc(GpuFault):
    """Corrected errors in the frame buffer."""

    name = "ecc-single-bit"
    summary = "single-bit ECC errors, corrected on the way"
    faces = "NVML corrected counts, volatile and aggregate, single-bit ECC event per burst; nvidia-smi"

    count: Annotated[Count, Field(description="errors to add")] = 1

    @property
    def lasts(self) -> bool:
        """A count and nothing else."""
        return False

    def strike(self, state: NodeState) -> Change[None]:
        """Count them and tell once."""
        gpu = counted(gpu_at(state, self.gpu), corrected=self.count)
        return Change(with_gpu(state, gpu), None, (GpuEvent(self.gpu, EventKind.SINGLE_BIT_ECC, self.count),))


class EccStorm(GpuFault):
    """So many corrected errors that the driver stops reporting each."""

    name = "ecc-storm"
    summary = "a storm of single-bit ECC errors (XID 92)"
    faces = "NVML corrected counts, single-bit storm event and XID 92; kernel log line"

    count: Annotated[Count, Field(description="errors to add")] = 10_000

    @property
    def lasts(self) -> bool:
        """A count and nothing else."""
        return False

    def strike(self, state: NodeState) -> Change[None]:
        """Count them, and report the rate."""
        gpu = counted(gpu_at(state, self.gpu), corrected=self.count)
        storm = GpuEvent(self.gpu, EventKind.SINGLE_BIT_ECC_STORM, self.count)
        return Change(with_gpu(state, gpu), None, (storm, xid(gpu, 92)))


class DoubleBitEcc(GpuFault):
    """An error that cannot be corrected; the row, or on older boards the page, is to be taken out of use."""

    name = "ecc-double-bit"
    summary = "a double-bit ECC error (XID 48), with a row remap or a page retirement pending (XID 63)"
    faces = "NVML uncorrected counts, double-bit event, XID 48 and 63, rows or pages pending, field 230"

    count: Annotated[Count, Field(description="errors to add")] = 1

    def strike(self, state: NodeState) -> Change[None]:
        """Count them; mark the row or page."""
        gpu = counted(gpu_at(state, self.gpu), uncorrected=self.count)
        after = _with_bad_spot(with_gpu(state, gpu), self.gpu)
        error = GpuEvent(self.gpu, EventKind.DOUBLE_BIT_ECC, self.count)
        return Change(after, None, (error, xid(gpu, 48), xid(gpu, 63)))

    def hold(self, state: NodeState) -> NodeState:
        """Wait for a reset."""
        return needing(_pending(state, self.gpu), self.gpu, RecoveryAction.GPU_RESET)

    def release(self, state: NodeState) -> NodeState:
        """Put the spare row in force."""
        return needing_nothing(_settled(state, self.gpu), self.gpu)


class RowRemap(GpuFault):
    """Rows that wait to be replaced by spare ones."""

    name = "row-remap"
    summary = "rows are marked for remapping (XID 63); a reset puts the spare rows in force"
    faces = "NVML remapped rows (also fields 142 to 145), DRAM retirement event, XID 63, field 230"

    corrected: Annotated[int, Field(ge=0, le=512, description="rows with corrected errors")] = 0
    uncorrected: Annotated[int, Field(ge=0, le=512, description="rows with uncorrected errors")] = 1

    def strike(self, state: NodeState) -> Change[None]:
        """Count the rows."""
        gpu = _with_remapper(gpu_at(state, self.gpu))
        rows = gpu.health.rows
        rows = replace(
            rows, corrected=rows.corrected + self.corrected, uncorrected=rows.uncorrected + self.uncorrected
        )
        events = (GpuEvent(self.gpu, EventKind.DRAM_RETIREMENT), xid(gpu, 63))
        return Change(with_health(state, self.gpu, rows=rows), None, events)

    def hold(self, state: NodeState) -> NodeState:
        """Wait for a reset."""
        return needing(_pending(state, self.gpu), self.gpu, RecoveryAction.GPU_RESET)

    def release(self, state: NodeState) -> NodeState:
        """Put the spare rows in force."""
        return needing_nothing(_settled(state, self.gpu), self.gpu)


class RowRemapFailure(GpuFault):
    """No spare row was left: the board has to go."""

    name = "row-remap-failure"
    summary = "a row cannot be remapped (XID 64); no reset helps, only another board"
    faces = "NVML remapped rows failure (field 145), DRAM retirement failure event, XID 64"
    cured_by = BY_REPAIR

    def strike(self, state: NodeState) -> Change[None]:
        """Report it."""
        gpu = _with_remapper(gpu_at(state, self.gpu))
        return Change(state, None, (GpuEvent(self.gpu, EventKind.DRAM_RETIREMENT_FAILURE), xid(gpu, 64)))

    def hold(self, state: NodeState) -> NodeState:
        """Say so from now on."""
        return with_health(state, self.gpu, rows=replace(health_of(state, self.gpu).rows, failed=True))

    def release(self, state: NodeState) -> NodeState:
        """Be another board: nothing was ever remapped."""
        return with_health(state, self.gpu, rows=RowRemaps())


class RetiredPagesPending(GpuFault):
    """Pages to be taken out of use on boards that have no row remapper, such as the T4."""

    name = "retired-pages"
    summary = (
        "pages wait for retirement (XID 63, boards without a row remapper); a driver reload retires them"
    )
    faces = "NVML retired pages, pending status (fields 29 to 31, 92, 93), XID 63"
    cured_by = BY_RELOAD

    pages: Annotated[int, Field(ge=1, le=_MOST_RETIRED, description="pages to add")] = 1

    def strike(self, state: NodeState) -> Change[None]:
        """Retire them."""
        gpu = gpu_at(state, self.gpu)
        if gpu.board.memory.remap_banks or gpu.ecc is None:
            raise OperationRefused(
                Refusal.NOT_SUPPORTED, f"{gpu.board.name} remaps rows and retires no pages: use row-remap"
            )
        for _ in range(self.pages):
            state = _with_retired_page(state, self.gpu)
        return Change(state, None, (GpuEvent(self.gpu, EventKind.DRAM_RETIREMENT), xid(gpu, 63)))

    def hold(self, state: NodeState) -> NodeState:
        """Wait for a driver reload."""
        return needing(_pending(state, self.gpu), self.gpu, RecoveryAction.GPU_RESET)

    def release(self, state: NodeState) -> NodeState:
        """Have them retired."""
        return needing_nothing(_settled(state, self.gpu), self.gpu)


class ContainedEcc(GpuFault):
    """An uncorrected error that hit one process only."""

    name = "ecc-contained"
    summary = "an uncorrected error contained to one process (XID 94), which dies; the GPU goes on"
    faces = "NVML uncorrected counts, non-fatal poison event, XID 94, the process is gone; kernel log line"

    pid: Annotated[int | None, Field(ge=1, description="the process that dies; default: the first")] = None

    @property
    def lasts(self) -> bool:
        """The GPU goes on."""
        return False

    def strike(self, state: NodeState) -> Change[None]:
        """End the process that read the poison."""
        gpu = counted(gpu_at(state, self.gpu), uncorrected=1)
        victims = [each for each in gpu.processes if self.pid in (None, each.pid)][:1]
        if self.pid is not None and not victims:
            raise OperationRefused(Refusal.NOT_FOUND, f"no process {self.pid} on GPU {self.gpu}")
        left = tuple(each for each in gpu.processes if each not in victims)
        events = (GpuEvent(self.gpu, EventKind.NON_FATAL_POISON), xid(gpu, 94))
        return Change(with_gpu(state, settled(replace(gpu, processes=left))), None, events)


class UncontainedEcc(GpuFault):
    """An uncorrected error that may have hit anything on the GPU."""

    name = "ecc-uncontained"
    summary = "an uncorrected error that is not contained (XID 95): every process dies, drain and reset"
    faces = (
        "NVML uncorrected counts, fatal poison event, XID 95, field 230 = DRAIN_AND_RESET; kernel log line"
    )

    def strike(self, state: NodeState) -> Change[None]:
        """End every process."""
        gpu = counted(gpu_at(state, self.gpu), uncorrected=1)
        events = (GpuEvent(self.gpu, EventKind.FATAL_POISON), xid(gpu, 95))
        return Change(with_gpu(state, settled(replace(gpu, processes=()))), None, events)

    def hold(self, state: NodeState) -> NodeState:
        """Ask for draining and a reset."""
        return needing(state, self.gpu, RecoveryAction.DRAIN_AND_RESET)

    def release(self, state: NodeState) -> NodeState:
        """Ask for nothing."""
        return needing_nothing(state, self.gpu)


class MemoryExhausted(GpuFault):
    """A stray process holds nearly all of the frame buffer."""

    name = "memory-exhausted"
    summary = "a stray process takes the frame buffer; what others ask for fails with MEMORY"
    faces = "NVML memory info and process lists, nvidia-smi; new processes refused with MEMORY"
    cured_by = BY_RELOAD  # a reset is refused while it runs

    pid: Annotated[int, Field(ge=1, description="its process id")] = 999_983
    leave_mib: Annotated[int, Field(ge=0, description="MiB that stay free")] = 0

    def strike(self, state: NodeState) -> Change[None]:
        """Start it."""
        gpu = gpu_at(state, self.gpu)
        taken = gpu.memory_free_bytes - (self.leave_mib << 20)
        if any(each.pid == self.pid for each in gpu.processes) or taken <= 0:
            raise OperationRefused(
                Refusal.INVALID_ARGUMENT,
                f"pid={self.pid} leave_mib={self.leave_mib}: expected a pid not on GPU {self.gpu} "
                f"and less than the {gpu.memory_free_bytes >> 20} MiB that are free",
            )
        stray = GpuProcess(self.pid, "stray", taken)
        return Change(with_gpu(state, settled(replace(gpu, processes=(*gpu.processes, stray)))), None)

    def release(self, state: NodeState) -> NodeState:
        """End it."""
        gpu = gpu_at(state, self.gpu)
        left = tuple(each for each in gpu.processes if each.pid != self.pid)
        return with_gpu(state, settled(replace(gpu, processes=left)))


def counted(gpu: GpuState, *, corrected: int = 0, uncorrected: int = 0) -> GpuState:
    """Return the GPU with errors added to both lifetimes; NOT_SUPPORTED where it counts none."""
    if gpu.ecc is None or not gpu.ecc.current:
        raise OperationRefused(
            Refusal.NOT_SUPPORTED, f"{gpu.board.name} (GPU {gpu.index}) has no ECC, or it is off"
        )
    both = (_plus(each, corrected, uncorrected) for each in (gpu.ecc.volatile, gpu.ecc.aggregate))
    return replace(gpu, ecc=Ecc(gpu.ecc.current, gpu.ecc.pending, *both))


def _plus(errors: EccErrors, corrected: int, uncorrected: int) -> EccErrors:
    return EccErrors(errors.corrected + corrected, errors.uncorrected + uncorrected)


def _with_remapper(gpu: GpuState) -> GpuState:
    if not gpu.board.memory.remap_banks:
        raise OperationRefused(
            Refusal.NOT_SUPPORTED, f"{gpu.board.name} has no row remapper: use retired-pages"
        )
    return gpu


def _with_bad_spot(state: NodeState, gpu: int) -> NodeState:
    """Mark a row; without a remapper, retire a page."""
    present = gpu_at(state, gpu)
    if not present.board.memory.remap_banks:
        return _with_retired_page(state, gpu)
    rows = present.health.rows
    return with_health(state, gpu, rows=replace(rows, uncorrected=rows.uncorrected + 1))


def _with_retired_page(state: NodeState, gpu: int) -> NodeState:
    """Retire one more page, at an address that no other has."""
    present = gpu_at(state, gpu)
    retired = present.health.retired
    if len(retired.double_bit) + len(retired.single_bit) >= _MOST_RETIRED:
        raise OperationRefused(
            Refusal.INSUFFICIENT_RESOURCES, f"GPU {gpu} has retired all {_MOST_RETIRED} pages that it can"
        )
    # Spread over the memory as addresses of real errors are; the factor is prime to the number of pages.
    page = (len(retired.double_bit) + 1) * 2_654_435_761 % (present.board.memory.total_bytes // _PAGE_BYTES)
    return with_health(
        state, gpu, retired=replace(retired, double_bit=(*retired.double_bit, page * _PAGE_BYTES))
    )


def _pending(state: NodeState, gpu: int) -> NodeState:
    present = gpu_at(state, gpu)
    if present.board.memory.remap_banks:
        return with_health(state, gpu, rows=replace(present.health.rows, pending=True))
    return with_health(state, gpu, retired=replace(present.health.retired, pending_double_bit=True))


def _settled(state: NodeState, gpu: int) -> NodeState:
    health = health_of(state, gpu)
    retired: RetiredPages = replace(health.retired, pending_single_bit=False, pending_double_bit=False)
    return with_health(state, gpu, rows=replace(health.rows, pending=False), retired=retired)
