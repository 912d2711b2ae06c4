"""What GPUs did over time: sums of load, power and limits, samples of them, and the processes that ran.

A subscriber of the model: it notes the time of each change, so that everything between two changes is known exactly.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from claimwright.emulator.model import GpuState, NodeModel, NodeState
from claimwright.emulator.model.health import ClockReason

_CHANGES = 4096  # kept per GPU for samples
_ENDED = 4000  # processes that accounting remembers (nvmlDeviceGetAccountingBufferSize)
SAMPLE_PERIOD_US = 166_667  # six samples a second, as the driver keeps of utilization
SAMPLES = 120
# Plain numbers: flags are combined in Python, and every change of a GPU asks for these.
_POWER_REASONS = int(ClockReason.SOFTWARE_POWER_CAP | ClockReason.POWER_BRAKE)
_HEAT_REASONS = int(ClockReason.SOFTWARE_THERMAL | ClockReason.HARDWARE_THERMAL)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over time: percent of load times us by engine, and power, mW times us."""

    gpu: int = 0
    memory: int = 0
    encoder: int = 0
    decoder: int = 0
    jpeg: int = 0
    optical_flow: int = 0
    power: int = 0
    power_limited: int = 0  # us that the power limit, and that heat, held the clocks down
    heat_limited: int = 0

    @property
    def energy_millijoules(self) -> int:
        """Energy since the node booted."""
        return self.power // 1_000_000


@dataclass(slots=True)
class Accounted:
    """A process that was seen on a GPU; times in us since the epoch, `ended` 0 while it runs."""

    pid: int
    started: int
    ended: int = 0
    memory_bytes: int = 0
    before: Totals = Totals()
    after: Totals | None = None


@dataclass(slots=True)
class GpuHistory:
    """One GPU's past."""

    booted: int
    changes: deque[tuple[int, GpuState]] = field(default_factory=lambda: deque(maxlen=_CHANGES))
    totals: Totals = Totals()
    processes: deque[Accounted] = field(default_factory=lambda: deque(maxlen=_ENDED))

    def note(self, now: int, gpu: GpuState) -> None:
        """Close the time since the last change, and remember this one."""
        before = self.changes[-1][1] if self.changes else None
        self.totals = self.until(now)
        self.changes.append((now, gpu))
        if before is None or before.processes is not gpu.processes or before.settings is not gpu.settings:
            self._account(now, gpu, before)

    def until(self, now: int) -> Totals:
        """Return the sums up to a time, not before the last change."""
        if not self.changes:
            return self.totals
        at, gpu = self.changes[-1]
        passed, load, sums = max(0, now - at), gpu.utilization, self.totals
        return Totals(
            gpu=sums.gpu + load.gpu * passed,
            memory=sums.memory + load.memory * passed,
            encoder=sums.encoder + load.encoder * passed,
            decoder=sums.decoder + load.decoder * passed,
            jpeg=sums.jpeg + load.jpeg * passed,
            optical_flow=sums.optical_flow + load.optical_flow * passed,
            power=sums.power + gpu.power.usage_milliwatts * passed,
            power_limited=sums.power_limited + passed * is_power_limited(gpu),
            heat_limited=sums.heat_limited + passed * is_heat_limited(gpu),
        )

    def samples(self, now: int, since: int, value: Callable[[GpuState], int]) -> Iterator[tuple[int, int]]:
        """Yield time and value of each sample after `since`, oldest first, as many as the driver's buffer holds."""
        first = max(
            since // SAMPLE_PERIOD_US, self.booted // SAMPLE_PERIOD_US, now // SAMPLE_PERIOD_US - SAMPLES
        )
        for number in range(first + 1, now // SAMPLE_PERIOD_US + 1):
            at = number * SAMPLE_PERIOD_US
            if (gpu := self.at(at)) is not None:
                yield at, value(gpu)

    def at(self, moment: int) -> GpuState | None:
        """Return the GPU as it was at a time; None before it is known."""
        for at, gpu in reversed(self.changes):
            if at <= moment:
                return gpu
        return None

    def _account(self, now: int, gpu: GpuState, before: GpuState | None) -> None:
        running = {process.pid: process.memory_bytes for process in gpu.processes}
        for known in self.processes:
            if not known.ended and known.pid not in running:
                known.ended, known.after = now, self.totals
            elif not known.ended:
                known.memory_bytes = max(known.memory_bytes, running[known.pid])
        if before is not None and before.settings.accounting_cleared != gpu.settings.accounting_cleared:
            self.processes = deque((p for p in self.processes if not p.ended), maxlen=_ENDED)
        if gpu.settings.accounting:
            held = {known.pid for known in self.processes if not known.ended}
            earlier = {process.pid for process in before.processes} if before is not None else set()
            for pid, memory in running.items():
                if pid not in held and pid not in earlier:
                    self.processes.append(Accounted(pid, now, 0, memory, self.totals))


def is_power_limited(gpu: GpuState) -> bool:
    """Whether the board draws all that it may."""
    at_limit = gpu.power.usage_milliwatts >= gpu.power.limit_milliwatts
    return at_limit or bool(int(gpu.health.clock_reasons) & _POWER_REASONS)


def is_heat_limited(gpu: GpuState) -> bool:
    """Whether the temperature has reached the slowdown threshold."""
    too_hot = gpu.temperature.gpu >= gpu.board.thermals.slowdown_at
    return too_hot or bool(int(gpu.health.clock_reasons) & _HEAT_REASONS)


def _now_us() -> int:
    return time.time_ns() // 1000


class History:
    """Follows a model; `clock` gives us since the epoch."""

    def __init__(self, model: NodeModel, clock: Callable[[], int] = _now_us) -> None:
        self.clock = clock
        self.booted = clock()
        self._gpus: dict[int, GpuHistory] = {}
        self._known: dict[int, GpuState] = {}
        self.close = model.subscribe(self._note)

    def of(self, gpu: int) -> GpuHistory:
        """Return the past of the GPU of this index."""
        return self._gpus[gpu]

    def totals(self, gpu: int) -> Totals:
        """Return a GPU's sums up to now."""
        return self._gpus[gpu].until(self.clock())

    def _note(self, state: NodeState) -> None:
        now = self.clock()
        for gpu in state.gpus:
            if self._known.get(gpu.index) is not gpu:
                self._known[gpu.index] = gpu
                self._gpus.setdefault(gpu.index, GpuHistory(now)).note(now, gpu)
