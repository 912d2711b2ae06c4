"""What the node process and the mount worker say to each other.

A job goes in, one `Mounted` or `Refused` comes back. Where files act, the worker first says what it `Found`, gets the
descriptor of a FUSE connection that serves this too, and says when it is `Connected`.
"""

from __future__ import annotations

import pickle
import socket
import struct
from dataclasses import dataclass
from typing import Any

from claimwright.emulator.files.tree import Tree

_LENGTH = struct.Struct("<I")
_MOST_HANDLES = 16


@dataclass(frozen=True, slots=True)
class AttachJob:
    """Add this tree to a namespace; every mount carries the label as its source.

    `tree` holds sys/ and proc/, `devices` dev/. Of the folders `hidden` the namespace shows nothing of its own.
    `acting` has the tree served by FUSE instead of plain files.
    """

    namespace: str
    label: str
    tree: Tree
    devices: Tree
    hidden: frozenset[str]
    acting: bool


@dataclass(frozen=True, slots=True)
class DetachJob:
    """Take everything of this label off a namespace; `devices` are (path, device number) in its own /dev."""

    namespace: str
    label: str
    devices: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What the namespace has itself in the folders that get emulated entries: its links, and empty places."""

    real: Tree


@dataclass(frozen=True, slots=True)
class Connected:
    """The FUSE connection is mounted: it has to be served from now on."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """All is done; descriptors of these folders come along."""

    folders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was done, and why."""

    why: str


def send(connection: socket.socket, message: object, handles: tuple[int, ...] = ()) -> None:
    """Send a message, and descriptors with it."""
    body = pickle.dumps(message)
    socket.send_fds(connection, [_LENGTH.pack(len(body))], handles)
    connection.sendall(body)


def receive(connection: socket.socket) -> tuple[Any, tuple[int, ...]]:
    """Return the next message and its descriptors; EOFError when the other side has ended."""
    head, handles, _flags, _sender = socket.recv_fds(
        connection, _LENGTH.size, _MOST_HANDLES, socket.MSG_WAITALL
    )
    if len(head) < _LENGTH.size:
        raise EOFError
    length, *_ = _LENGTH.unpack(head)
    body = bytearray()
    while len(body) < length:
        if not (part := connection.recv(length - len(body))):
            raise EOFError
        body += part
    return pickle.loads(body), tuple(handles)  # noqa: S301 - between a process and the one that it started
