"""The node process: `python -m claimwright.emulator.process FOLDER LOCK READY`, started by `running.up`.

It owns the model, serves NVML and the control socket, keeps the files true, and ends on SIGTERM. READY is the
descriptor of a pipe that gets `ready`, or the error that kept the node from booting; LOCK is the flock'ed
descriptor that tells the world that this node is alive. A byte on standard input says that the request is written.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
from pathlib import Path

from claimwright.emulator.errors import EmulatorError
from claimwright.emulator.node_folder import NodeFolder, NodeLock


def main(arguments: list[str]) -> int:
    """Boot, serve until SIGTERM, and clear up; the status says whether the node ever was ready."""
    folder, lock, ready = NodeFolder(Path(arguments[0])), NodeLock(int(arguments[1])), int(arguments[2])
    for handle in (lock.handle, ready):
        os.set_inheritable(handle, False)
    lock.write_pid(os.getpid())
    # Modules stay, and are half of all objects: a collector that never looks at them spares a tenth of the start.
    gc.disable()
    import asyncio  # noqa: PLC0415

    from claimwright.emulator import serving  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    if not _released():
        return 1
    try:
        asyncio.run(serving.serve(folder, lambda: _tell(ready, "ready")))
    except (EmulatorError, OSError) as error:
        _tell(ready, json.dumps({"kind": type(error).__name__, "message": str(error)}))
        return 1
    return 0


def _released() -> bool:
    """Wait until the request is written; False when `up` ended before. Then standard input is not used any more."""
    released = bool(os.read(0, 1))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return released


def _tell(ready: int, line: str) -> None:
    with contextlib.suppress(OSError):  # `up` was killed: the node lives on, and `down` finds it by its lock
        os.write(ready, f"{line}\n".encode())
    with contextlib.suppress(OSError):
        os.close(ready)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
