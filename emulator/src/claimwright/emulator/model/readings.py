"""Readings that follow from load: clocks, performance state and power draw."""

from __future__ import annotations

from dataclasses import replace

from claimwright.emulator.model.board import Board
from claimwright.emulator.model.state import ClockReading, GpuState


def settled(gpu: GpuState) -> GpuState:
    """Return the GPU with the clocks, performance state and power draw that its load and limits imply."""
    busy = bool(gpu.processes) or gpu.utilization.gpu > 0
    return replace(
        gpu,
        clocks=_clocks(gpu, busy=busy),
        performance_state=0 if busy else gpu.board.idle_performance_state,
        power=replace(gpu.power, usage_milliwatts=_draw(gpu)),
    )


def idle_clocks(board: Board) -> ClockReading:
    """Return what a board reads when nothing runs on it."""
    clocks = board.idle_clocks
    return ClockReading(clocks.graphics, clocks.sm, clocks.memory, clocks.video)


def _clocks(gpu: GpuState, *, busy: bool) -> ClockReading:
    board = gpu.board
    top = board.max_clocks
    reading = ClockReading(top.graphics, top.sm, top.memory, top.video) if busy else idle_clocks(board)
    if busy and gpu.settings.application_clocks is not None:
        memory, graphics = gpu.settings.application_clocks
        reading = replace(reading, memory=memory, graphics=graphics, sm=min(graphics, top.sm))
    if gpu.settings.memory_lock is not None:
        reading = replace(reading, memory=_locked_memory(board, reading.memory, gpu.settings.memory_lock))
    graphics = _graphics(gpu, reading.graphics)
    if graphics == reading.graphics:
        return reading
    return replace(reading, graphics=graphics, sm=min(graphics, top.sm))


def _graphics(gpu: GpuState, wanted: int) -> int:
    """Return the clock that is run: a lock widens or narrows what the load wants, faults have the last word."""
    if gpu.health.clock_stuck is not None:
        return gpu.health.clock_stuck
    if gpu.clock_lock is not None:
        wanted = min(max(wanted, gpu.clock_lock.lowest), gpu.clock_lock.highest)
    return wanted if gpu.health.clock_ceiling is None else min(wanted, gpu.health.clock_ceiling)


def _locked_memory(board: Board, now: int, lock: tuple[int, int]) -> int:
    """Return the board's memory clock within the lock that is nearest, or the nearest to the lock if none is."""
    lowest, highest = lock
    offered = sorted({step.memory for step in board.supported_clocks} | {now})
    inside = [clock for clock in offered if lowest <= clock <= highest]
    return (
        min(inside, key=lambda clock: abs(clock - now))
        if inside
        else min(offered, key=lambda c: abs(c - highest))
    )


def _draw(gpu: GpuState) -> int:
    idle = round(gpu.board.power.idle_watts * 1000)
    span = max(0, gpu.power.limit_milliwatts - idle)
    return min(idle + span * gpu.utilization.gpu // 100, gpu.power.limit_milliwatts)
