"""How much a node of a fleet costs: `python emulator/bench/fleet.py [NODES]`; prints one JSON object.

Memory is what Python holds per node (tracemalloc), with nothing but the models and then with every node's tree of
files; times are the best and the median of boots in this process.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
import tracemalloc

from claimwright.emulator.files import faces
from claimwright.emulator.fleet import Fleet
from claimwright.emulator.model import build_node, load_node_profile
from claimwright.emulator.nvml.pages import PageWriter


def main() -> None:
    """Measure, and print."""
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    profile = load_node_profile("hgx-h100")
    faces.host_root(build_node(profile, "warm"))
    boots, fleet = [], Fleet()
    for number in range(nodes):
        started = time.perf_counter()
        fleet.add(profile, name=f"n-{number}")
        boots.append(time.perf_counter() - started)
    whole = [whole_boot(number) for number in range(10)]
    models, trees = _held(nodes)
    print(
        json.dumps(
            {
                "nodes": nodes,
                "model_kib_per_node": round(models / nodes / 1024, 1),
                "model_and_files_kib_per_node": round(trees / nodes / 1024, 1),
                "boot_ms": {"best": _ms(min(boots)), "median": _ms(statistics.median(boots))},
                "boot_with_files_and_pages_ms": {
                    "best": _ms(min(whole)),
                    "median": _ms(statistics.median(whole)),
                },
            },
            indent=2,
        )
    )


def whole_boot(number: int) -> float:
    """Boot a node with all its files and pages; return how long it took, seconds."""
    started = time.perf_counter()
    state = build_node(load_node_profile("hgx-h100"), f"whole-{number}")
    faces.host_root(state)
    with PageWriter.create(state.name) as writer:
        writer.publish(state)
        return time.perf_counter() - started


def _held(nodes: int) -> tuple[int, int]:
    """Return the bytes that a fleet holds: its models, and those with all files."""
    gc.collect()
    tracemalloc.start()
    fleet = Fleet("hgx-h100", nodes=nodes)
    gc.collect()
    models, _ = tracemalloc.get_traced_memory()
    for node in fleet.values():
        node.files()
    gc.collect()
    trees, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return models, trees


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


if __name__ == "__main__":
    main()
