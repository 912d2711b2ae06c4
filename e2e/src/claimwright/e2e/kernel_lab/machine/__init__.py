"""A real kernel in QEMU to run the table on, or any program of this machine.

`prepare_lab(progress)` brings its parts once, `find_lab()` finds them; `run_on_kernel(lab)` runs the table,
`run_program(lab, argv)` anything else, and `boot(lab, request)` is what both are made of. Emulation without KVM is
enough: a boot takes seconds.
"""

from claimwright.e2e.kernel_lab.machine.parts import Lab
from claimwright.e2e.kernel_lab.machine.program_run import ProgramRun, run_program
from claimwright.e2e.kernel_lab.machine.provision import find_lab, lab_folder, prepare_lab
from claimwright.e2e.kernel_lab.machine.session import Request, Told, boot
from claimwright.e2e.kernel_lab.machine.table_run import KernelRun, run_on_kernel

__all__ = [
    "KernelRun",
    "Lab",
    "ProgramRun",
    "Request",
    "Told",
    "boot",
    "find_lab",
    "lab_folder",
    "prepare_lab",
    "run_on_kernel",
    "run_program",
]
