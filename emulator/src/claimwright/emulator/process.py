"""The node process: `python -m claimwright.emulator.process FOLDER LOCK READY`, started by `running.up`.

It owns the model, serves NVML and the control socket, keeps the files true, and ends on SIGTERM. READY is the
descriptor of a pipe that gets `ready`, or the error that kept the node from booting; LOCK is the flock'ed
descriptor that tells the world that this node is alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from claimwright.dra.files import write_atomically
from claimwright.emulator import control
from claimwright.emulator.control import Services
from claimwright.emulator.errors import EmulatorError
from claimwright.emulator.fabric_manager import serving as fabric_manager
from claimwright.emulator.faults.kernel_log import kernel_log
from claimwright.emulator.faults.service import ScriptService
from claimwright.emulator.files.following import attach_files, serve_files
from claimwright.emulator.imex.service import keep
from claimwright.emulator.model import NodeModel
from claimwright.emulator.node_folder import NodeFolder, NodeLock
from claimwright.emulator.node_request import Request
from claimwright.emulator.nvml import NvmlServer, PageWriter, compose
from claimwright.emulator.watch.feed import Feed


def main(arguments: list[str]) -> int:
    """Boot, serve until SIGTERM, and clear up; the status says whether the node ever was ready."""
    folder, lock, ready = NodeFolder(Path(arguments[0])), NodeLock(int(arguments[1])), int(arguments[2])
    for handle in (lock.handle, ready):
        os.set_inheritable(handle, False)
    lock.write_pid(os.getpid())
    if not _released():
        return 1
    try:
        asyncio.run(_run(folder, ready))
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


async def _run(folder: NodeFolder, ready: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        await _boot(folder, stack)
        _tell(ready, "ready")
        await stop.wait()


async def _boot(folder: NodeFolder, stack: AsyncExitStack) -> None:
    """Bring up the faces; the stack takes them down in reverse."""
    request = Request.unpacked(folder.request.read_bytes())
    model = NodeModel(request.state)
    root = compose(folder.driver_root, request.state.driver_version)
    writer = stack.enter_context(PageWriter.create(folder.name))
    await stack.enter_async_context(NvmlServer(root.socket_path, model, writer))
    feed = Feed()
    stack.enter_context(feed.attached(model))
    stack.enter_context(kernel_log(folder.kernel_log, model))
    scripts = ScriptService(model, feed)
    stack.push_async_callback(scripts.close)
    await stack.enter_async_context(_controlled(folder.control, model, scripts.services))
    stack.enter_context(_files(folder, model, request))
    await stack.enter_async_context(keep(model, folder.driver_root))
    await stack.enter_async_context(fabric_manager.serve(model, folder.driver_root))
    _write_record(folder, request)


@asynccontextmanager
async def _controlled(path: Path, model: NodeModel, services: Services) -> AsyncIterator[None]:
    server = await control.serve(path, model, services)
    try:
        yield
    finally:
        server.close()


@contextmanager
def _files(folder: NodeFolder, model: NodeModel, request: Request) -> Iterator[None]:
    acting = request.why_files_only_show is None
    if request.mount_namespace is None:
        with serve_files(model, folder.host_root, folder.driver_root, acting=acting):
            yield
    else:
        with attach_files(model, request.mount_namespace, folder.mounts, acting=acting):
            yield


def _write_record(folder: NodeFolder, request: Request) -> None:
    namespace = request.mount_namespace
    record = {
        "name": folder.name,
        "pid": os.getpid(),
        "profile": request.state.profile,
        "title": request.state.title,
        "driver_root": str(folder.driver_root),
        "host_root": str(folder.host_root) if namespace is None else "/",
        "mount_namespace": None if namespace is None else str(namespace),
        "why_files_only_show": request.why_files_only_show,
    }
    write_atomically(folder.record, json.dumps(record, indent=2) + "\n", mode=0o644, durable=False)


def _tell(ready: int, line: str) -> None:
    with contextlib.suppress(OSError):  # `up` was killed: the node lives on, and `down` finds it by its lock
        os.write(ready, f"{line}\n".encode())
    with contextlib.suppress(OSError):
        os.close(ready)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
