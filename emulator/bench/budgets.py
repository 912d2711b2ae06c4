"""Measure the emulator against its budgets: `python emulator/bench/budgets.py [--rounds 3] [--json FILE]`.

Everything is asked of a live node, from other processes, as its users do. Each round measures all figures in turn
(A B C, A B C), so that a moment of other work spoils no figure alone; a figure is the best of its rounds, as other
work only adds. Prints value, budget and ratio of each. What this machine cannot run is named with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import fleet
import xid_wakeup

from claimwright.emulator import running
from claimwright.emulator.nvml.driver_root import LIBRARY_FOLDER

_PROFILE = "hgx-h100"
_SHORT_ROUNDS = "20"  # inside one run of the C program
_LINES: dict[str, tuple[str, float, str]] = {
    r"(nvml\w+) ([\d.]+) ns": ("getter {0}", 20, "ns"),
    r"(init) p50 ([\d.]+) us": ("library init, p50", 100, "us"),
    r"(resident memory added) (\d+) KiB": ("library memory added", 512, "KiB"),
    r"(threads added) (\d+)": ("threads added by the library", 0, ""),
    r"(set and visible) p50 ([\d.]+) us": ("command over NVML, p50", 50, "us"),
    r"(seen by another process) p50 ([\d.]+) us": ("visible in another process, p50", 1000, "us"),
}


@dataclass(frozen=True)
class Figure:
    """One measured value beside the most that it may be."""

    what: str
    value: float
    budget: float
    unit: str

    @property
    def ratio(self) -> float:
        """Value over budget; of a budget of nothing, the value itself."""
        return self.value / self.budget if self.budget else self.value


def library_figures(said: str) -> Iterator[Figure]:
    """Read what the C program prints."""
    for line in said.splitlines():
        for pattern, (what, budget, unit) in _LINES.items():
            if found := re.match(pattern, line):
                yield Figure(what.format(found[1]), float(found[2]), budget, unit)


class Subject:
    """A live node and the compiled C program."""

    def __init__(self, folder: Path) -> None:
        os.environ["XDG_STATE_HOME"] = str(folder)
        self.loop = folder / "loop"
        source = Path(__file__).with_name("nvml_getters.c")
        subprocess.run(["gcc", "-O2", "-o", str(self.loop), str(source), "-ldl"], check=True, timeout=60)
        self.node = running.up(_PROFILE, name="budgets")

    def library(self) -> Iterator[Figure]:
        """Time getters, commands and start of the library from a C loop."""
        library = self.node.driver_root / LIBRARY_FOLDER / "libnvidia-ml.so.1"
        command = [str(self.loop), str(library), _SHORT_ROUNDS]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        return library_figures(done.stdout)

    def wakeup(self) -> Iterator[Figure]:
        """Time an XID until a process that only waits has it."""
        taken = xid_wakeup.measure(self.node, 200, 1)
        yield Figure("XID until a waiting process has it, p99", taken["p99_ms"], 5, "ms")

    def files(self) -> Iterator[Figure]:
        """Time open, read and close of a file of the node."""
        if not self.node.acting_files:
            return
        path = str(next(self.node.host_root.glob("sys/bus/pci/devices/*/numa_node")))
        taken = sorted(_read_once(path) for _ in range(2000))
        yield Figure("read of a file through FUSE, p50", statistics.median(taken) * 1e6, 150, "us")

    def model_boot(self) -> Iterator[Figure]:
        """Time a model with all its files and pages, from its profile's text."""
        best = min(fleet.whole_boot(number) for number in range(10))
        yield Figure("model boot with files and pages", best * 1000, 50, "ms")

    def live_boot(self) -> Iterator[Figure]:
        """Time a node until all its faces answer."""
        started = time.perf_counter()
        running.up(_PROFILE, name="booted")
        taken = time.perf_counter() - started
        running.down("booted")
        yield Figure("live boot", taken * 1000, 300, "ms")

    def close(self) -> None:
        """Stop the node."""
        running.down("budgets")


def _read_once(path: str) -> float:
    started = time.perf_counter()
    handle = os.open(path, os.O_RDONLY)
    os.read(handle, 4096)
    os.close(handle)
    return time.perf_counter() - started


def measure(subject: Subject, rounds: int) -> list[Figure]:
    """Return the best of each figure."""
    best: dict[str, Figure] = {}
    parts: list[Callable[[], Iterator[Figure]]] = [
        subject.library, subject.wakeup, subject.files, subject.model_boot, subject.live_boot,
    ]  # fmt: skip
    for number in range(rounds):
        for part in parts:
            for figure in part():
                known = best.get(figure.what)
                best[figure.what] = figure if known is None or figure.value < known.value else known
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return list(best.values())


def main() -> int:
    """Measure, print, store; a missed budget is told and is no failure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(Path(folder))
        try:
            figures = measure(subject, given.rounds)
        finally:
            subject.close()
    for each in figures:
        value, budget = f"{each.value:.4g} {each.unit}", f"<= {each.budget:g} {each.unit}"
        print(
            f"{each.what:44} {value:>12} {budget:>12} {each.ratio:6.2f} {'missed' if each.value > each.budget else ''}"
        )
    if not subject.node.acting_files:
        print("read of a file through FUSE: not measured, this machine has no FUSE for us")
    load = os.getloadavg()[0]
    print(f"best of {given.rounds} rounds; load average {load:.1f} on {os.cpu_count()} processors")
    if given.json is not None:
        rows = [{**asdict(each), "ratio": round(each.ratio, 3)} for each in figures]
        given.json.write_text(json.dumps({"figures": rows, "load_average": load}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
