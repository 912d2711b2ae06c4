"""The life of a node inside its process: its model, and the faces around it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from claimwright.dra.files import write_atomically
from claimwright.emulator import control
from claimwright.emulator.control import Services
from claimwright.emulator.fabric_manager import serving as fabric_manager
from claimwright.emulator.faults.kernel_log import kernel_log
from claimwright.emulator.faults.service import ScriptService
from claimwright.emulator.files.following import attach_files, serve_files
from claimwright.emulator.imex.service import keep
from claimwright.emulator.model import NodeModel
from claimwright.emulator.node_folder import NodeFolder
from claimwright.emulator.node_request import Request
from claimwright.emulator.nvml import NvmlServer, PageWriter
from claimwright.emulator.nvml.driver_root import SOCKET
from claimwright.emulator.watch.feed import Feed


async def serve(folder: NodeFolder, ready: Callable[[], None]) -> None:
    """Boot the node that was asked for, say that it is ready, serve until SIGTERM, and clear up."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        await _boot(folder, stack)
        ready()
        await stop.wait()


async def _boot(folder: NodeFolder, stack: AsyncExitStack) -> None:
    """Bring up the faces; the stack takes them down in reverse."""
    request = Request.unpacked(folder.request.read_bytes())
    model = NodeModel(request.state)
    writer = stack.enter_context(PageWriter.create(folder.name))
    # Files before pages: whoever reads of another topology looks for the device nodes that belong to it.
    stack.enter_context(_files(folder, model, request))
    await stack.enter_async_context(NvmlServer(folder.driver_root / SOCKET, model, writer))
    feed = Feed()
    stack.enter_context(feed.attached(model))
    stack.enter_context(kernel_log(folder.kernel_log, model))
    scripts = ScriptService(model, feed)
    stack.push_async_callback(scripts.close)
    await stack.enter_async_context(_controlled(folder.control, model, scripts.services))
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
