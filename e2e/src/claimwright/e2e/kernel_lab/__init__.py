"""The table of sysfs and VFIO operations, its runner, and the worlds that it is run in.

The same table runs on the emulator (in-process and through FUSE) and on a real kernel in QEMU, result by result and
errno by errno. `load_table()` gives the cases, `run_table(cases, world)` one result per step, `differences(a, b)` what
two worlds do not agree on. A world is a `FileDoor`, what its host offers, and what the table's symbols mean there.
"""

from claimwright.e2e.kernel_lab.door import FileDoor, OpenFile, RealDoor, Request
from claimwright.e2e.kernel_lab.errors import LabError, TableInvalid, WorldBroken
from claimwright.e2e.kernel_lab.results import Difference, NotRun, Result, differences
from claimwright.e2e.kernel_lab.running import run_case, run_table
from claimwright.e2e.kernel_lab.table import Case, load_table, read_cases
from claimwright.e2e.kernel_lab.world import EMULATED_ONLY, OFFERS, World

__all__ = [
    "EMULATED_ONLY",
    "OFFERS",
    "Case",
    "Difference",
    "FileDoor",
    "LabError",
    "NotRun",
    "OpenFile",
    "RealDoor",
    "Request",
    "Result",
    "TableInvalid",
    "World",
    "WorldBroken",
    "differences",
    "load_table",
    "read_cases",
    "run_case",
    "run_table",
]
