"""Load over time: how busy a GPU is, and how it warms up and cools down meanwhile. Off until somebody calls it."""

from __future__ import annotations

import math
from dataclasses import replace

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.change import of_gpu
from claimwright.emulator.model.readings import settled
from claimwright.emulator.model.state import GpuState

# A heat sink with air through it takes about a minute for two thirds of the way, memory stacks a little longer.
_GPU_SECONDS, _MEMORY_SECONDS = 45.0, 70.0
_BELOW_SLOWDOWN = 12  # degrees between the slowdown point and what full power settles at


@of_gpu
def apply_load(gpu: GpuState, percent: int, seconds: float) -> GpuState:
    """Let a GPU be busy for some seconds: clocks and power follow at once, temperatures as metal does.

    Called again and again with small steps it gives a curve; `percent` 0 is idling, and cools.
    """
    if not 0 <= percent <= 100 or not 0 <= seconds <= 86_400:
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"load {percent} % for {seconds} s; expected 0..100 % and 0..86400 s"
        )
    if gpu.lost:
        return gpu
    busy = replace(gpu.utilization, gpu=percent, memory=percent * 6 // 10)
    return warmed(settled(replace(gpu, utilization=busy)), seconds)


def warmed(gpu: GpuState, seconds: float) -> GpuState:
    """Return the GPU after some seconds at its present power (Newton's law of cooling)."""
    board = gpu.board
    fraction = gpu.power.usage_milliwatts / (board.power.max_watts * 1000)
    hot = board.thermals.slowdown_at - _BELOW_SLOWDOWN
    at_idle = board.power.idle_watts / board.power.max_watts
    share = max(0.0, (fraction - at_idle) / (1 - at_idle)) if at_idle < 1 else 0.0
    goal = board.thermals.idle + (hot - board.thermals.idle) * share
    now = gpu.temperature
    warm, warm_rest = _towards(now.gpu + now.gpu_rest, goal, seconds / _GPU_SECONDS)
    changed = replace(now, gpu=warm, gpu_rest=warm_rest)
    if now.memory is not None:
        rest = board.thermals.memory_idle if board.thermals.memory_idle is not None else board.thermals.idle
        goal = rest + (hot - rest) * share
        memory, memory_rest = _towards(now.memory + now.memory_rest, goal, seconds / _MEMORY_SECONDS)
        changed = replace(changed, memory=memory, memory_rest=memory_rest)
    return replace(gpu, temperature=changed)


def _towards(now: float, goal: float, spans: float) -> tuple[int, float]:
    """Return the whole degrees that a sensor shows, and the rest."""
    exact = goal + (now - goal) * math.exp(-spans)
    whole = round(exact)
    return whole, exact - whole


OPERATIONS = (apply_load,)
