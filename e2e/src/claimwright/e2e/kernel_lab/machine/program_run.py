"""Run one program of this machine inside the lab, against the kernel's own sysfs and VFIO nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claimwright.e2e.kernel_lab.machine.parts import Lab
from claimwright.e2e.kernel_lab.machine.session import Request, boot

Heard = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """How a program ended inside: its exit code (128 + the signal's number, as shells say), and what it said."""

    code: int
    stdout: str
    stderr: str
    kernel: str


def run_program(
    lab: Lab,
    argv: Sequence[str],
    *,
    deadline_seconds: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    heard: Heard | None = None,
) -> ProgramRun:
    """Boot the lab, run `argv` in it as root, and return how it ended.

    It runs in `folder` (this process's own unless given) with this machine's files under it, read-only with a layer in
    memory over them: what it writes is gone with the machine. `CLAIMWRIGHT_KERNEL_LAB` tells it the devices, as a JSON
    object of the table's symbols. `heard(stream, text)` gets what it says while it says it, `stream` being `stdout` or
    `stderr`. Raises LabError when the machine, not the program, fails or is late.
    """
    request = Request(tuple(argv), folder or Path.cwd(), dict(environment or {}))
    said, kernel, code = {"stdout": "", "stderr": ""}, "", 0
    for told in boot(lab, request, deadline_seconds=deadline_seconds):
        match told["kind"]:
            case "facts":
                kernel = told["kernel"]
            case "output":
                said[told["stream"]] += told["text"]
                if heard is not None:
                    heard(told["stream"], told["text"])
            case "end":
                code = told["code"]
    return ProgramRun(code, said["stdout"], said["stderr"], kernel)
