"""The node's end of the NVML socket: hands out the pages, carries out commands, delivers events."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from claimwright.emulator.model import NodeModel, NodeState, PciAddress
from claimwright.emulator.model.change import GpuEvent
from claimwright.emulator.model.state import DriverCondition
from claimwright.emulator.nvml._generated.functions import DIGEST
from claimwright.emulator.nvml.client import Client
from claimwright.emulator.nvml.commands import Commands
from claimwright.emulator.nvml.errors import SocketTaken
from claimwright.emulator.nvml.event_packets import binding_packets, event_packet
from claimwright.emulator.nvml.history import History
from claimwright.emulator.nvml.layout import ABI, GREETING, MAGIC, Result
from claimwright.emulator.nvml.pages import TOTAL_BYTES, PageWriter
from claimwright.emulator.nvml.socket_paths import short_path

_log = logging.getLogger(__name__)
_BACKLOG = 128
_MOST_CLIENTS = 4096
_AFTER_EVENTS_SECONDS = 0.001
_WAKE = event_packet(0, 0, 0)


class NvmlServer:
    """Serves one node on a unix socket (SOCK_SEQPACKET: one message, one packet).

    A client says nothing first: it connects and receives the pages' descriptor. Whatever else arrives that is not a
    whole request ends that client and nobody else. Runs on the event loop that `start` was awaited on.
    """

    def __init__(self, socket_path: Path, model: NodeModel, writer: PageWriter) -> None:
        self.socket_path = socket_path
        self._model = model
        self._writer = writer
        self._history = History(model)
        self._commands = Commands(model, self._history, self._find)
        self._listener: socket.socket | None = None
        self._clients: dict[int, Client] = {}
        self._next = 1
        self._unsubscribe: Callable[[], None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._lost: frozenset[int] = frozenset()
        self._driver_gone = False
        self._bound: Mapping[int, PciAddress] = {}  # GPUs that the driver holds
        self._followed = False
        self._facts: list[tuple[bool, bool, PciAddress]] = []
        self._condition: DriverCondition | None = None
        self.delay_of: Callable[[str, int], float] = lambda _function, _gpu: 0.0
        """How many seconds late a remote answer is, by function and GPU (-1: none); see answers/__init__.py."""

    @property
    def client_pids(self) -> frozenset[int]:
        """The processes connected now."""
        return frozenset(client.pid for client in self._clients.values())

    async def start(self) -> None:
        """Publish the state, then listen; SocketTaken when another node answers at the path."""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        leave = (
            self._model.subscribe(self._writer.publish),
            self._model.subscribe(self._follow),
            self._model.listen(self._deliver),
            self._history.close,
        )
        self._unsubscribe = lambda: _all(leave)
        self.socket_path.parent.mkdir(parents=True, exist_ok=True)
        _clear_stale(self.socket_path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        with short_path(self.socket_path) as path:
            listener.bind(path)
        # World-accessible as /dev/nvidiactl is: who may change what is decided by the peer's credentials.
        self.socket_path.chmod(0o666)
        listener.listen(_BACKLOG)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)

    async def stop(self) -> None:
        """Stop listening, end every client, leave no socket behind; idempotent."""
        self._unsubscribe()
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            self.socket_path.unlink(missing_ok=True)
        for client in tuple(self._clients.values()):
            self._end(client)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()

    def send_event(
        self,
        slot: int,
        kind: int,
        data: int,
        *,
        gpu_instance: int | None = None,
        compute_instance: int | None = None,
    ) -> int:
        """Queue an event for every set that registered for it; return how many. Call on the loop's thread."""
        packet = event_packet(slot, kind, data, gpu_instance=gpu_instance, compute_instance=compute_instance)
        return sum(
            client.send(packet) for client in tuple(self._clients.values()) if client.wants(slot, kind)
        )

    def _follow(self, state: NodeState) -> None:
        """Wake who waits for events of a GPU that is lost now; end every event set when the driver goes."""
        facts = [(gpu.lost, gpu.nvml_visible, gpu.pci) for gpu in state.gpus]
        if facts == self._facts and state.driver_condition is self._condition:
            return  # as after nearly every command
        self._facts, self._condition = facts, state.driver_condition
        lost = frozenset([gpu.index for gpu in state.gpus if gpu.lost])
        newly, self._lost = lost - self._lost, lost
        gone = state.driver_condition is DriverCondition.UNLOADED
        assert self._loop is not None
        if newly:  # a moment later: the XID that comes with the loss is sent first
            self._loop.call_soon_threadsafe(self._loop.call_later, _AFTER_EVENTS_SECONDS, self._wake, newly)
        if gone and not self._driver_gone:
            self._loop.call_soon_threadsafe(self._end_event_sets)
        self._driver_gone = gone
        bound = {gpu.index: gpu.pci for gpu in state.gpus if gpu.nvml_visible}
        for packet in binding_packets(self._bound, bound) if self._followed else ():
            self._loop.call_soon_threadsafe(self._tell_system, *packet)
        self._bound, self._followed = bound, True

    def _tell_system(self, kind: int, packet: bytes) -> None:
        for client in tuple(self._clients.values()):
            if client.system_events & kind:
                client.send(packet)

    def _wake(self, gpus: frozenset[int]) -> None:
        for client in tuple(self._clients.values()):
            if gpus & client.registered.keys():
                client.send(_WAKE)

    def _end_event_sets(self) -> None:
        for client in tuple(self._clients.values()):
            if client.is_event_set:
                self._end(client)

    def _deliver(self, event: GpuEvent) -> None:
        """Send on the loop's thread, whichever thread the operation came from."""
        assert self._loop is not None
        if threading.get_ident() == self._thread:
            self._send(event)
        else:
            self._loop.call_soon_threadsafe(self._send, event)

    def _send(self, event: GpuEvent) -> None:
        self.send_event(
            event.gpu,
            int(event.kind),
            event.data,
            gpu_instance=event.gpu_instance,
            compute_instance=event.compute_instance,
        )

    def _find(self, connection: int) -> Client | None:
        return self._clients.get(connection)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            made, _ = self._listener.accept()
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}:
                self._pause(error)
            return
        made.setblocking(False)
        client = Client.of(made, self._next)
        if len(self._clients) >= _MOST_CLIENTS or not _greet(client, self._writer.memfd):
            made.close()
            return
        self._next += 1
        self._clients[client.connection] = client
        asyncio.get_running_loop().add_reader(made, self._serve, client)

    def _pause(self, error: OSError) -> None:
        """Stop accepting for a moment: the waiting connection keeps the listener readable, and we would spin."""
        loop, listener = asyncio.get_running_loop(), self._listener
        assert listener is not None
        _log.warning("no descriptor left for a new NVML client: %s", error)
        loop.remove_reader(listener)
        loop.call_later(0.05, lambda: self._listener and loop.add_reader(self._listener, self._accept))

    def _serve(self, client: Client) -> None:
        packet = client.receive()
        if packet is None:
            return
        delay = self._commands.delay(packet, self.delay_of)
        if delay > 0:
            asyncio.get_running_loop().call_later(delay, self._answer, client, packet)
        else:
            self._answer(client, packet)

    def _answer(self, client: Client, packet: bytes) -> None:
        if client.connection not in self._clients:
            return  # gone while its answer was due
        reply = self._commands.answer(client, packet)
        if reply is None or not client.send(reply):
            self._end(client)

    def _end(self, client: Client) -> None:
        asyncio.get_running_loop().remove_reader(client.stream)
        client.stream.close()
        self._clients.pop(client.connection, None)


def _all(ends: Iterable[Callable[[], None]]) -> None:
    for end in ends:
        end()


def _greet(client: Client, memfd: int) -> bool:
    greeting = GREETING.pack(
        {
            "magic": MAGIC,
            "abi": ABI,
            "result": Result.SUCCESS,
            "bytes": TOTAL_BYTES,
            "connection": client.connection,
            "calls": DIGEST,
        }
    )
    try:
        socket.send_fds(client.stream, [greeting], [memfd], socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True


def _clear_stale(path: Path) -> None:
    """Remove the socket of a node that is gone; refuse to take a living one's."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise SocketTaken(path)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe, short_path(path) as short:
        if probe.connect_ex(short) == 0:
            raise SocketTaken(path)
    path.unlink(missing_ok=True)


@asynccontextmanager
async def serving(socket_path: Path, model: NodeModel) -> AsyncIterator[NvmlServer]:
    """Make the pages and serve them with the commands, for as long as the block lasts."""
    with PageWriter.create(model.snapshot().name) as writer:
        async with NvmlServer(socket_path, model, writer) as server:
            yield server
