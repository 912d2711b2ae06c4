"""Faults of cooling and power: slowdown, shutdown, brake, cap, stuck clocks, fans."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.change import Change, EventKind, GpuEvent, gpu_at, with_gpu
from claimwright.emulator.model.faults.bus import fell_off, plugged_again
from claimwright.emulator.model.faults.fault import BY_REPAIR, GpuFault, xid
from claimwright.emulator.model.health import ClockReason
from claimwright.emulator.model.readings import settled
from claimwright.emulator.model.rules import Field
from claimwright.emulator.model.state import NodeState

FALLEN_OFF_XID = 79


class ThermalSlowdown(GpuFault):
    """Too hot: clocks go down until it is cooler."""

    name = "thermal-slowdown"
    summary = "the GPU is too hot and slows down"
    faces = "NVML temperature, T.Limit margin, clocks, event reasons HW slowdown + HW thermal, clock event"
    cured_by = BY_REPAIR

    celsius: Annotated[
        int | None, Field(ge=30, le=150, description="default: the board's slowdown point")
    ] = None

    def strike(self, state: NodeState) -> Change[None]:
        """Tell that the clocks changed."""
        return Change(state, None, (GpuEvent(gpu_at(state, self.gpu).index, EventKind.CLOCK),))

    def hold(self, state: NodeState) -> NodeState:
        """Heat it; halve its clock."""
        gpu = gpu_at(state, self.gpu)
        hot = gpu.board.thermals.slowdown_at if self.celsius is None else self.celsius
        return _limited(
            with_gpu(state, replace(gpu, temperature=replace(gpu.temperature, gpu=hot))),
            self.gpu,
            ClockReason.HARDWARE_SLOWDOWN | ClockReason.HARDWARE_THERMAL | ClockReason.SOFTWARE_THERMAL,
            ceiling=gpu.board.max_clocks.graphics // 2,
        )

    def release(self, state: NodeState) -> NodeState:
        """Cool it down to idle."""
        return _cooled(_free(state, self.gpu), self.gpu)


class ThermalShutdown(GpuFault):
    """So hot that the board cuts its own power."""

    name = "thermal-shutdown"
    summary = "the board overheats and switches itself off (XID 79); back after a power cycle"
    faces = "NVML GPU_IS_LOST, XID 79; nvidia-smi; kernel log line"
    cured_by = BY_REPAIR

    def strike(self, state: NodeState) -> Change[None]:
        """Report that it is gone."""
        gpu = gpu_at(state, self.gpu)
        if gpu.lost:
            raise OperationRefused(Refusal.GPU_IS_LOST, f"GPU {self.gpu} is off the bus already")
        return Change(state, None, (xid(gpu, FALLEN_OFF_XID),))

    def hold(self, state: NodeState) -> NodeState:
        """Heat it beyond its limit and take it away."""
        gpu = gpu_at(state, self.gpu)
        heated = replace(gpu, temperature=replace(gpu.temperature, gpu=gpu.board.thermals.shutdown_at))
        return fell_off(with_gpu(state, heated), self.gpu)

    def release(self, state: NodeState) -> NodeState:
        """Switch it on again, cold."""
        return _cooled(plugged_again(state, self.gpu), self.gpu)


class PowerBrake(GpuFault):
    """The machine pulls the brake: its power supply is overloaded."""

    name = "power-brake"
    summary = "the machine's power supply orders the GPU to slow down"
    faces = "NVML event reasons HW slowdown + power brake, clocks; clock and power source events"
    cured_by = BY_REPAIR

    def strike(self, state: NodeState) -> Change[None]:
        """Tell that clocks and power source changed."""
        index = gpu_at(state, self.gpu).index
        return Change(
            state, None, (GpuEvent(index, EventKind.POWER_SOURCE), GpuEvent(index, EventKind.CLOCK))
        )

    def hold(self, state: NodeState) -> NodeState:
        """Quarter its clock."""
        ceiling = gpu_at(state, self.gpu).board.max_clocks.graphics // 4
        return _limited(
            state, self.gpu, ClockReason.HARDWARE_SLOWDOWN | ClockReason.POWER_BRAKE, ceiling=ceiling
        )

    def release(self, state: NodeState) -> NodeState:
        """Let go."""
        return _free(state, self.gpu)


class PowerCap(GpuFault):
    """The power limit holds the clocks down."""

    name = "power-cap"
    summary = "the power limit keeps the clocks low"
    faces = "NVML event reason SW power cap, clocks, clock event"
    cured_by = BY_REPAIR

    percent: Annotated[int, Field(ge=10, le=99, description="of the highest clock")] = 70

    def strike(self, state: NodeState) -> Change[None]:
        """Tell that the clocks changed."""
        return Change(state, None, (GpuEvent(gpu_at(state, self.gpu).index, EventKind.CLOCK),))

    def hold(self, state: NodeState) -> NodeState:
        """Lower the ceiling."""
        ceiling = gpu_at(state, self.gpu).board.max_clocks.graphics * self.percent // 100
        return _limited(state, self.gpu, ClockReason.SOFTWARE_POWER_CAP, ceiling=ceiling)

    def release(self, state: NodeState) -> NodeState:
        """Lift it."""
        return _free(state, self.gpu)


class ClocksStuck(GpuFault):
    """The clocks stay where they are, whatever the load."""

    name = "clocks-stuck"
    summary = "the graphics clock stays at one value, busy or idle; a reset frees it"
    faces = "NVML clocks (no event reason says why); nvidia-smi"

    mhz: Annotated[int | None, Field(ge=1, description="default: the idle clock")] = None

    def strike(self, state: NodeState) -> Change[None]:
        """Refuse what the board cannot run at."""
        top = gpu_at(state, self.gpu).board.max_clocks.graphics
        if self.mhz is not None and self.mhz > top:
            raise OperationRefused(Refusal.INVALID_ARGUMENT, f"mhz={self.mhz}; expected at most {top}")
        return Change(state, None)

    def hold(self, state: NodeState) -> NodeState:
        """Pin them."""
        gpu = gpu_at(state, self.gpu)
        stuck = gpu.board.idle_clocks.graphics if self.mhz is None else self.mhz
        return with_gpu(state, settled(replace(gpu, health=replace(gpu.health, clock_stuck=stuck))))

    def release(self, state: NodeState) -> NodeState:
        """Let them follow the load."""
        gpu = gpu_at(state, self.gpu)
        return with_gpu(state, settled(replace(gpu, health=replace(gpu.health, clock_stuck=None))))


class FanFailure(GpuFault):
    """Fans stand still; the GPU warms up."""

    name = "fan-failure"
    summary = "fans stop (boards with fans of their own)"
    faces = "NVML fan speed 0 for the failed fans, temperature up; nvidia-smi"
    cured_by = BY_REPAIR

    fans: Annotated[int, Field(ge=1, description="how many stand still")] = 1

    def strike(self, state: NodeState) -> Change[None]:
        """Refuse it on boards that the machine cools."""
        board = gpu_at(state, self.gpu).board
        if self.fans > board.fans:
            has = f"has {board.fans} fans" if board.fans else "has no fans of its own"
            raise OperationRefused(Refusal.NOT_SUPPORTED, f"fans={self.fans}: {board.name} {has}")
        return Change(state, None)

    def hold(self, state: NodeState) -> NodeState:
        """Stop them."""
        gpu = gpu_at(state, self.gpu)
        warm = replace(gpu.temperature, gpu=max(gpu.temperature.gpu, gpu.board.thermals.idle + 30))
        return with_gpu(
            state, replace(gpu, temperature=warm, health=replace(gpu.health, failed_fans=self.fans))
        )

    def release(self, state: NodeState) -> NodeState:
        """Let them turn."""
        gpu = gpu_at(state, self.gpu)
        return _cooled(with_gpu(state, replace(gpu, health=replace(gpu.health, failed_fans=0))), self.gpu)


def _limited(state: NodeState, gpu: int, reasons: ClockReason, *, ceiling: int) -> NodeState:
    present = gpu_at(state, gpu)
    health = present.health
    lowest = ceiling if health.clock_ceiling is None else min(ceiling, health.clock_ceiling)
    health = replace(health, clock_reasons=health.clock_reasons | reasons, clock_ceiling=lowest)
    return with_gpu(state, settled(replace(present, health=health)))


def _free(state: NodeState, gpu: int) -> NodeState:
    present = gpu_at(state, gpu)
    health = replace(present.health, clock_reasons=ClockReason.NONE, clock_ceiling=None)
    return with_gpu(state, settled(replace(present, health=health)))


def _cooled(state: NodeState, gpu: int) -> NodeState:
    present = gpu_at(state, gpu)
    cool = replace(present.temperature, gpu=present.board.thermals.idle)
    return with_gpu(state, replace(present, temperature=cool))
