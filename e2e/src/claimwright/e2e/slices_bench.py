"""How long the driver takes until its slices, and changes of them, are in the API server."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from claimwright.dra.kube import RESOURCE_SLICES
from claimwright.e2e.driven_node import DrivenNode

GATES = "DynamicMIG=true,NVMLDeviceHealthCheck=true"
_DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class SliceTimes:
    """Seconds, each the median of its rounds: start → all slices, XID → taint, pulled card → gone."""

    start: float
    taint: float
    pulled: float
    devices: int
    requests_until_published: int


def measure_slices(*, rounds: int = 5) -> SliceTimes:
    """Measure on an HGX H100 with eight full MIG trees, against an API server in memory."""
    with DrivenNode("hgx-h100") as node:
        starts = [_start(node) for _ in range(rounds)]
        requests = len(node.api.requests)
        taints = [_taint(node) for _ in range(rounds)]
        pulled = [_pulled(node) for _ in range(rounds)]
        return SliceTimes(
            start=statistics.median(starts),
            taint=statistics.median(taints),
            pulled=statistics.median(pulled),
            devices=len(node.devices()),
            requests_until_published=requests // rounds,
        )


def _start(node: DrivenNode) -> float:
    if node.process is not None:
        node.stop()
    for item in node.api.objects(RESOURCE_SLICES):
        node.api.remove(RESOURCE_SLICES, item["metadata"]["name"])
    began = time.monotonic()
    node.start(GATES, "--reread-seconds", "2")  # soon after a cure, which no event tells
    return _until(began, lambda: _complete(node))


def _complete(node: DrivenNode) -> bool:
    found = node.slices()
    return bool(found) and len(found) == found[0].slice_count


def _taint(node: DrivenNode) -> float:
    began = time.monotonic()
    number = node.node.call("inject_fault", fault="ecc-uncontained", parameters={"gpu": 3})["number"]
    seconds = _until(began, lambda: bool(node.devices()["gpu-3"].taints))
    node.node.call("clear_fault", number=number)
    _until(time.monotonic(), lambda: not node.devices()["gpu-3"].taints)
    return seconds


def _pulled(node: DrivenNode) -> float:
    began = time.monotonic()
    number = node.node.call("inject_fault", fault="hot-remove", parameters={"gpu": 3})["number"]
    seconds = _until(began, lambda: "gpu-3" not in node.devices())
    node.node.call("clear_fault", number=number)
    _until(time.monotonic(), lambda: "gpu-3" in node.devices())
    return seconds


def _until(began: float, fact: Callable[[], bool]) -> float:
    while not fact():
        if time.monotonic() - began > _DEADLINE_SECONDS:
            raise TimeoutError("the slices did not become so within a minute")
        time.sleep(0.005)
    return time.monotonic() - began
