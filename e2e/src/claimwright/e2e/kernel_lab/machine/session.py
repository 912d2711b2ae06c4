"""Boot the lab once for one request, and yield what it tells, until its end or a deadline."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from claimwright.e2e.kernel_lab.errors import LabError
from claimwright.e2e.kernel_lab.machine import initramfs
from claimwright.e2e.kernel_lab.machine.emulation import started
from claimwright.e2e.kernel_lab.machine.parts import Lab

Told = dict[str, Any]  # one JSON line of `inside`, by `kind`
_INHERITED = ("PATH", "PYTHONPATH", "HOME", "LANG")
_FOLDERS = ("bin", "dev", "host", "layer", "lower", "proc", "sys")


@dataclass(frozen=True, slots=True)
class Request:
    """What to do inside: run a program in a folder of this machine, or the table when `argv` is empty.

    The program has PATH, PYTHONPATH, HOME and LANG of this process, and `environment` over them.
    """

    argv: Sequence[str] = ()
    folder: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=dict)


def boot(lab: Lab, request: Request, *, deadline_seconds: float) -> Iterator[Told]:
    """Start the machine, yield its lines up to and with `end`; it is gone when the iterator is.

    Raises LabError with the end of its console when it panics, dies or is late.
    """
    with started(lab, _initramfs(lab, request)) as machine:
        for line in machine.lines(deadline_seconds):
            told = _told(line)
            yield told
            if told["kind"] == "end":
                return
        raise LabError(
            f"the lab's machine told no end within {deadline_seconds:.0f} s: it {machine.obituary()}"
        )


def _told(line: bytes) -> Told:
    try:
        told = json.loads(line)
        return {"kind": str(told["kind"]), **told}
    except (ValueError, TypeError, KeyError) as error:
        raise LabError(
            f"the lab's channel told {line!r}, which is no line of it: who inside writes to /dev/ttyS1?"
        ) from error


def _initramfs(lab: Lab, request: Request) -> bytes:
    said = json.dumps({"argv": list(request.argv), "folder": str(request.folder)}).encode()
    parts = {
        "init": initramfs.Member(files(__package__).joinpath("init.sh").read_bytes(), executable=True),
        "bin/busybox": initramfs.Member(lab.busybox.read_bytes(), executable=True),
        "lab/request.json": initramfs.Member(said),
        "lab/environment": initramfs.Member(_environment(os.environ, request.environment).encode()),
    }
    parts |= {
        f"lib/modules/{module.name}": initramfs.Member(module.read_bytes()) for module in lab.kernel.modules
    }
    return initramfs.compose(parts, _FOLDERS)


def _environment(own: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Return the environment inside as lines for its shell."""
    inside = {name: own[name] for name in _INHERITED if name in own} | dict(wanted)
    inside |= {
        "LAB_PYTHON": sys.executable,
        "PYTHONDONTWRITEBYTECODE": "1",  # it would only fill the memory that ends with the machine
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in inside.items())
