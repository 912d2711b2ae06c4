"""What runs inside the lab: the table on the kernel's own files, or any program; told as JSON lines on a serial port.

Started by init.sh with the request's path and the port. Lines have a `kind`: `facts`, `result`, `not-run`, `output`
and at last `end` with the exit code; without an `end` the machine died.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import termios
import traceback
import tty
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from claimwright.e2e.kernel_lab.inside.kernel_world import kernel_world
from claimwright.e2e.kernel_lab.results import Result
from claimwright.e2e.kernel_lab.running import run_table
from claimwright.e2e.kernel_lab.table import load_table

Tell = Callable[..., None]
_FAILED = 1


def main(request_path: str, port: str) -> int:
    """Serve one request; the exit code is that of what was asked for."""
    descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(descriptor, termios.TCSANOW)

    def tell(kind: str, **said: object) -> None:
        line = json.dumps({"kind": kind, **said}).encode() + b"\n"
        while line:
            line = line[os.write(descriptor, line) :]

    tell("facts", kernel=os.uname().release)
    try:
        request = json.loads(Path(request_path).read_bytes())
        code = _run_program(request, tell) if request["argv"] else _run_table(tell)
    except Exception:  # noqa: BLE001 - nobody but the other end of the port can see it
        tell("output", text=traceback.format_exc())
        code = _FAILED
    tell("end", code=code)
    termios.tcdrain(descriptor)
    return code


def _run_table(tell: Tell) -> int:
    for result in run_table(load_table(), kernel_world()):
        tell("result" if isinstance(result, Result) else "not-run", **asdict(result))
    return 0


def _run_program(request: dict[str, object], tell: Tell) -> int:
    argv, folder = [str(part) for part in _listed(request["argv"])], str(request["folder"])
    try:
        program = subprocess.Popen(
            argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        tell("output", text=f"{argv[0]}: {error.strerror}\n")
        return 127 if isinstance(error, FileNotFoundError) else 126
    assert program.stdout is not None
    while part := program.stdout.read1(4096):  # type: ignore[attr-defined]  # a BufferedReader, since it is a pipe
        tell("output", text=part.decode(errors="replace"))
    return program.wait()


def _listed(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"a list of words is expected, not {value!r}")
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
