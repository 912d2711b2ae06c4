"""One process at the other end of the NVML socket."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass, field

from claimwright.emulator.nvml.layout import PACKET_BYTES

_ROOM = PACKET_BYTES + 1
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))


@dataclass(eq=False, slots=True)
class Client:
    """A connection, who made it, and the events that it registered for."""

    stream: socket.socket
    connection: int
    pid: int
    uid: int
    registered: dict[int, int] = field(default_factory=dict)  # GPU slot -> event types
    system_events: int = 0  # nvmlSystemEventType*

    @classmethod
    def of(cls, made: socket.socket, connection: int) -> Client:
        """Ask the kernel who connected."""
        data = made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(data)
        return cls(made, connection, pid, uid)

    @property
    def may_administrate(self) -> bool:
        """Whether it may change the node: root may, and so may the user whose node it is."""
        return self.uid in {0, os.geteuid()}

    def wants(self, slot: int, kind: int) -> bool:
        """Whether it registered for this event of this GPU."""
        return bool(self.registered.get(slot, 0) & kind)

    @property
    def is_event_set(self) -> bool:
        """Whether it waits for events of any kind."""
        return bool(self.registered or self.system_events)

    def receive(self) -> bytes | None:
        """Return one packet, empty when the client is gone, None when there is none after all."""
        try:
            return self.stream.recv(_ROOM)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def send(self, packet: bytes) -> bool:
        """Queue one packet; False when the client does not read, or is gone."""
        try:
            return self.stream.send(packet, socket.MSG_NOSIGNAL) == len(packet)
        except OSError:
            return False
