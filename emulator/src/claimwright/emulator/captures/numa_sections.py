"""The NUMA nodes of a captured machine as sections of a profile."""

from __future__ import annotations

import re
from typing import Any

from claimwright.emulator.captures.boards import Placed
from claimwright.emulator.captures.capture import Capture, number
from claimwright.emulator.captures.errors import CaptureError

_DISTANCE = re.compile(r"[0-9]{1,4}")
_UNKNOWN = {"id": 0, "socket": 0, "cpus": "0-31", "memory_mib": 131072, "distances": [10]}
_USUAL = {"per_gpu": 8, "near": 80, "far": 120, "between": 255}


def numa_sections(capture: Capture, gpus: list[Placed]) -> dict[str, Any]:
    """Return `numa`, and `gpu_memory_nodes` where GPUs are coherent; one plain node where none were captured."""
    coherent = sum(gpu.base.coherent_memory for gpu in gpus)
    numbers = _numbers(capture)
    if not numbers:
        return {"numa": [_UNKNOWN], **({"gpu_memory_nodes": _USUAL} if coherent else {})}
    table = [_distances(capture, each, len(numbers)) for each in numbers]
    cpus = [each for each in numbers if capture.leaves.get(f"numa.{each}.cpus") or not coherent]
    sections: dict[str, Any] = {"numa": [_node(capture, each, table[each][: len(cpus)]) for each in cpus]}
    if coherent:
        sections["gpu_memory_nodes"] = _memory_nodes(table, len(cpus), coherent)
    return sections


def _numbers(capture: Capture) -> list[int]:
    named = capture.numbers("numa")
    if named != [str(each) for each in range(len(named))]:
        raise CaptureError(
            f"numa: nodes {', '.join(named)}: expected 0, 1, … without holes, as a profile lists them"
        )
    return list(range(len(named)))


def _node(capture: Capture, node: int, distances: list[int]) -> dict[str, Any]:
    told = capture.below(f"numa.{node}")
    return {
        "id": node,
        "socket": number(told, "socket", 0),
        "cpus": told.get("cpus", ""),
        "memory_mib": number(told, "memory_mib"),
        "distances": distances,
    }


def _distances(capture: Capture, node: int, count: int) -> list[int]:
    words = capture.need(f"numa.{node}.distances").split()
    if len(words) != count or not all(_DISTANCE.fullmatch(word) for word in words):
        raise capture.refused(f"numa.{node}.distances", f"expected {count} numbers, found {words}")
    return [int(word) for word in words]


def _memory_nodes(table: list[list[int]], cpus: int, gpus: int) -> dict[str, int]:
    added = len(table) - cpus
    if added == 0 or added % gpus:
        raise CaptureError(f"numa: {added} nodes without processors for {gpus} coherent GPUs")
    to_processors = [distance for row in table[cpus:] for distance in row[:cpus]]
    among = [distance for row in table[cpus:] for distance in row[cpus:] if distance != 10]
    return {
        "per_gpu": added // gpus,
        "near": min(to_processors),
        "far": max(to_processors) if cpus > 1 else _USUAL["far"],
        "between": max(among, default=_USUAL["between"]),
    }
