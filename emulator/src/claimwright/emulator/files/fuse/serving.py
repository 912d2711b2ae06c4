"""The thread that serves /dev/fuse, and the mount.

Nothing hangs when the process dies: its descriptor closes, the kernel ends the connection, and whoever waits for an
answer gets ECONNABORTED. The mount itself stays, answers ENOTCONN, and carries the node's label, by which it is found
and taken off.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from claimwright.emulator.errors import MountRefused
from claimwright.emulator.files.acting import is_waiting
from claimwright.emulator.files.fuse import protocol
from claimwright.emulator.files.fuse.answering import Answers, Blocked, Request
from claimwright.emulator.files.fuse.protocol import Opcode
from claimwright.emulator.files.fuse_mounts import DEVICE, mount_fuse, usable
from claimwright.emulator.files.hosting import HostFiles
from claimwright.emulator.files.syscalls import unmount
from claimwright.emulator.model import NodeState

_log = logging.getLogger(__name__)
_STOP_SECONDS = 5.0
_SILENT = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET})  # the kernel expects no answer


class FuseServer:
    """Serves one tree on one connection; `handle` is what mount(2) takes, in any mount namespace."""

    def __init__(self, files: HostFiles) -> None:
        self._files = files
        self._answers = Answers(files)
        self._blocked: dict[int, Blocked] = {}
        self._lock = threading.Lock()
        self.handle = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._unsubscribe = files.model.subscribe(self._release)
        self._thread = threading.Thread(target=self._serve, name="claimwright-fuse", daemon=True)

    def mount(self, target: str, label: str) -> None:
        """Mount at a folder of this process's mount namespace, and begin to serve."""
        mount_fuse(self.handle, target, label)
        self.start()

    def start(self) -> None:
        """Begin to serve; the kernel's first request waits for it."""
        self._thread.start()

    def close(self) -> None:
        """End the connection; where it is still mounted, as in a container's copy, it answers ENOTCONN. Idempotent."""
        if self.handle < 0:
            return
        self._unsubscribe()
        os.eventfd_write(self._end, 1)
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)
        os.close(self.handle)
        os.close(self._end)
        self.handle = -1

    def _serve(self) -> None:
        buffer = bytearray(protocol.BUFFER_BYTES)
        view = memoryview(buffer)
        asked = select.poll()
        asked.register(self.handle, select.POLLIN)
        asked.register(self._end, select.POLLIN)
        while True:
            try:
                count = os.readv(self.handle, [buffer])
            except BlockingIOError:
                if any(ready == self._end for ready, _ in asked.poll()):
                    return
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EINTR):
                    return  # ENODEV: unmounted
            else:
                self._take(view[:count])

    def _take(self, message: memoryview) -> None:
        _, opcode, unique, node, uid, _gid, _pid, _, _ = protocol.IN_HEADER.unpack_from(message)
        body = message[protocol.IN_HEADER.size :]
        if opcode == Opcode.INIT:
            _, _, readahead, flags = protocol.INIT_IN.unpack_from(body)
            self._reply(unique, protocol.init_reply(flags, readahead))
        elif opcode == Opcode.INTERRUPT:
            self._interrupt(protocol.INTERRUPT_IN.unpack_from(body)[0])
        elif opcode not in _SILENT:
            self._answer(unique, Request(opcode, node, uid, body))

    def _answer(self, unique: int, request: Request) -> None:
        try:
            self._reply(unique, self._answers.answer(request))
        except Blocked as blocked:
            self._wait(unique, blocked)
        except OSError as error:
            self._reply(unique, b"", error.errno or errno.EIO)
        except Exception:  # noqa: BLE001 - the top of a request: it is answered, whatever fails
            _log.exception("FUSE request %d failed", request.opcode)
            self._reply(unique, b"", errno.EIO)

    def _wait(self, unique: int, blocked: Blocked) -> None:
        """Keep a writer waiting; the users may have gone between the store and now."""
        with self._lock:
            self._blocked[unique] = blocked
        self._release(self._files.model.snapshot())

    def _release(self, state: NodeState) -> None:
        for unique, blocked in tuple(self._blocked.items()):
            if not is_waiting(state, blocked.waits):
                self._let_go(unique, blocked.reply)

    def _let_go(self, unique: int, reply: bytes, error: int = 0) -> None:
        with self._lock:
            waiting = self._blocked.pop(unique, None)
        if waiting is not None:
            self._reply(unique, reply, error)

    def _interrupt(self, unique: int) -> None:
        """Release a writer that got a signal; what it asked for still happens, as in the kernel, which kills none."""
        self._let_go(unique, b"", errno.EINTR)

    def _reply(self, unique: int, body: bytes, error: int = 0) -> None:
        header = protocol.OUT_HEADER.pack(protocol.OUT_HEADER.size + len(body), -error, unique)
        with suppress(OSError):  # ENOENT: the caller was killed meanwhile; ENODEV: unmounted
            os.write(self.handle, header + body)


@contextmanager
def mounted(files: HostFiles, target: Path, label: str) -> Iterator[FuseServer]:
    """Serve files at a folder for as long as the block lasts."""
    if why := usable():
        raise MountRefused(f"{target}: {why}")
    server = FuseServer(files)
    try:
        server.mount(os.fspath(target), label)
        try:
            yield server
        finally:
            unmount(os.fspath(target))
    finally:
        server.close()
