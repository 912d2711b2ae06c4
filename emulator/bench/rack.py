"""What a rack of live nodes costs on this machine: `python emulator/bench/rack.py [TRAYS] [fuse|plain]`.

Prints one JSON object: seconds until all trays are up with their IMEX domain, until a killed daemon is noticed
everywhere and until the domain is whole again, and the memory of all processes (PSS: shared pages are counted once).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

import psutil

from claimwright.emulator import rack, running
from claimwright.emulator.rack.domain import wait_for_domain


def main() -> None:
    """Measure, print, and leave nothing."""
    trays = int(sys.argv[1]) if len(sys.argv) > 1 else 18
    files: running.FilesAs = "plain" if "plain" in sys.argv else "fuse"
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = state
        started = time.perf_counter()
        made = rack.up("gb200-nvl72", name="bench", trays=trays, files=files)
        up = time.perf_counter() - started
        try:
            figures = {
                "trays": trays,
                "files": files,
                "up_seconds": round(up, 2),
                **_loss(made),
                **_memory(made),
            }
        finally:
            started = time.perf_counter()
            rack.down("bench")
        figures["down_seconds"] = round(time.perf_counter() - started, 2)
    print(json.dumps(figures, indent=2))


def _loss(made: rack.Rack) -> dict[str, float]:
    victim = running.load(made.trays[-1].node)
    started = time.perf_counter()
    _daemon(victim).kill()
    wait_for_domain(made, "DEGRADED")
    noticed = time.perf_counter()
    victim.call("start_imex")
    wait_for_domain(made, "UP")
    return {
        "loss_noticed_seconds": round(noticed - started, 2),
        "recovered_seconds": round(time.perf_counter() - noticed, 2),
    }


def _memory(made: rack.Rack) -> dict[str, float]:
    nodes = [running.load(seat.node) for seat in made.trays]
    processes = [psutil.Process(node.pid) for node in nodes]
    return {
        "nodes_mb": round(sum(each.memory_full_info().pss for each in processes) / 1e6, 1),
        "daemons_mb": round(sum(_daemon(node).memory_full_info().pss for node in nodes) / 1e6, 1),
    }


def _daemon(node: running.RunningNode) -> psutil.Process:
    return next(each for each in psutil.Process(node.pid).children() if each.name() == "nvidia-imex")


if __name__ == "__main__":
    main()
