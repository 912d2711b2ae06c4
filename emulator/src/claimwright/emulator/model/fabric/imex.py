"""IMEX on a node: channels of the kernel driver, and the daemon that joins nodes to a domain."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Quorum(StrEnum):
    """`IMEX_WAIT_FOR_QUORUM`: for whom a daemon waits before it is READY."""

    NONE = "NONE"
    RECOVERY = "RECOVERY"
    FULL = "FULL"


@dataclass(frozen=True, slots=True)
class ImexChannels:
    """What `NVreg_ImexChannelCount` and `NVreg_CreateImexChannel0` say, and the device nodes that exist."""

    count: int = 2048
    create_channel0: bool = False
    nodes: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class ImexService:
    """The node's own nvidia-imex (host-managed): its configuration, and whether it should run.

    `nodes` are the addresses of the domain's nodes, `address` is this one's among them. Times are the emulator's, in
    milliseconds: hardware waits up to a minute between attempts.
    """

    nodes: tuple[str, ...]
    address: str
    server_port: int = 50000
    command_port: int = 50005
    quorum: Quorum = Quorum.RECOVERY
    grace_seconds: int = -1
    keepalive_ms: int = 1000
    peer_timeout_ms: int = 5000
    running: bool = False
