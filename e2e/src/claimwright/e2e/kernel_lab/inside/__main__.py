"""What runs inside the lab: the table on the kernel's own files, or any program; told as JSON lines on a serial port.

Started by init.sh with the request's path and the port. Lines have a `kind`: `facts`, `result`, `not-run`, `output`
and at last `end` with the exit code; without an `end` the machine died.
"""

from __future__ import annotations

import json
import os
import sys
import termios
import traceback
import tty
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from claimwright.e2e.kernel_lab.inside.kernel_world import kernel_world
from claimwright.e2e.kernel_lab.inside.program import run_program
from claimwright.e2e.kernel_lab.results import Result
from claimwright.e2e.kernel_lab.running import run_table
from claimwright.e2e.kernel_lab.table import load_table

Tell = Callable[..., None]
_FAILED = 1


def main(request_path: str, port: str) -> int:
    """Serve one request; the exit code is that of what was asked for."""
    descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    tty.setraw(descriptor, termios.TCSANOW)

    def tell(kind: str, **said: object) -> None:
        line = json.dumps({"kind": kind, **said}).encode() + b"\n"
        while line:
            line = line[os.write(descriptor, line) :]

    tell("facts", kernel=os.uname().release)
    try:
        code = _serve(json.loads(Path(request_path).read_bytes()), tell)
    except Exception:  # noqa: BLE001 - nobody but the other end of the port can see it
        tell("output", stream="stderr", text=traceback.format_exc())
        code = _FAILED
    tell("end", code=code)
    termios.tcdrain(descriptor)
    return code


def _serve(request: dict[str, object], tell: Tell) -> int:
    world = kernel_world()
    argv = request["argv"]
    if isinstance(argv, list) and argv:
        return run_program(
            argv, str(request["folder"]), world, lambda stream, text: tell("output", stream=stream, text=text)
        )
    for result in run_table(load_table(), world):
        tell("result" if isinstance(result, Result) else "not-run", **asdict(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
