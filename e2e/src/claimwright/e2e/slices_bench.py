"""How long the driver takes until its slices, and changes of them, are in the API server, and its memory then.

python -m claimwright.e2e.slices_bench          # alone, with the parts of the start; `claimwright bench` has it too
"""

from __future__ import annotations

import datetime as dt
import re
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import psutil

from claimwright.dra.kube import RESOURCE_SLICES
from claimwright.e2e.driven_node import DrivenNode

GATES = "DynamicMIG=true,NVMLDeviceHealthCheck=true"
_DEADLINE_SECONDS = 60.0
_SETTLED_MEGABYTES = 0.1
# What the log says at the end of each part of the start.
_MARKS: Final = {
    "process and imports": "configuration ",
    "GPUs read once": "CUDA .* GPUs: ",
    "recovered, read again, serving": "plugin serves",
}


@dataclass(frozen=True)
class SliceTimes:
    """Seconds, each the median of its rounds: start → all slices, XID → taint, pulled card → gone.

    `parts` is what the start consists of, in order; `resident` the driver's memory in MB, settled.
    """

    start: float
    parts: Mapping[str, float]
    resident: float
    taint: float
    pulled: float
    devices: int
    requests_until_published: int


def measure_slices(*, rounds: int = 5) -> SliceTimes:
    """Measure on an HGX H100 with eight full MIG trees, against an API server in memory."""
    with DrivenNode("hgx-h100") as node:
        starts = []
        parts = []
        for _ in range(rounds):
            began = time.time()
            starts.append(_start(node))
            parts.append(_parts(node, began, starts[-1]))
        assert node.process is not None
        resident = _settled_megabytes(node.process.pid)
        requests, devices = len(node.api.requests), len(node.devices())
        taints = [_taint(node) for _ in range(rounds)]
        pulled = [_pulled(node) for _ in range(rounds)]
        return SliceTimes(
            start=statistics.median(starts),
            parts={name: statistics.median(each[name] for each in parts) for name in parts[0]},
            resident=resident,
            taint=statistics.median(taints),
            pulled=statistics.median(pulled),
            devices=devices,
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


def _parts(node: DrivenNode, began: float, seconds: float) -> dict[str, float]:
    """Take the start apart by what the driver's log says when."""
    log = node.log.read_text()
    at = began
    found = {}
    for name, words in _MARKS.items():
        times = re.findall(rf"^(\S+)Z \w+ .*{words}", log, re.MULTILINE)
        now = dt.datetime.fromisoformat(f"{times[-1]}+00:00").timestamp()
        found[name], at = now - at, now
    return {**found, "visible": began + seconds - at}


def _settled_megabytes(pid: int) -> float:
    """Read the memory when two readings a second apart agree."""
    last = 0.0
    for _ in range(10):
        time.sleep(1)
        now = psutil.Process(pid).memory_info().rss / 1e6
        if abs(now - last) < _SETTLED_MEGABYTES:
            break
        last = now
    return now


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


def main() -> None:
    """Print it for people."""
    times = measure_slices()
    print(
        f"{times.devices} devices visible {times.start:.2f} s after the start, {times.resident:.1f} MB then:"
    )
    for name, seconds in times.parts.items():
        print(f"  {seconds:5.2f} s  {name}")
    print(f"XID until its taint {times.taint:.2f} s, card pulled until gone {times.pulled:.2f} s")


if __name__ == "__main__":
    main()
