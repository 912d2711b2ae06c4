"""Ask a node's nvidia-imex what it knows of its domain: what `nvidia-imex-ctl -N` shows, as values."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from claimwright.emulator.imex.configuration import CONTROL_SOCKET
from claimwright.emulator.nvml.socket_paths import short_path

_SECONDS = 5.0
_LINKS = (
    "INVALID",
    "NEVER_CONNECTED",
    "RECOVERING",
    "DISCONNECTED",
    "VERSION_MISMATCH",
    "NODE_MAP_MISMATCH",
    "CLIQUE_MISMATCH",
    "CONNECTED",
)  # enum link of tools/source/imex/domain.h


@dataclass(frozen=True, slots=True)
class DomainNode:
    """One node as the asked daemon knows it; `links` are its connections, by the nodes' order."""

    address: str
    status: str
    version: str
    links: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain as one daemon sees it: `state` is UP, DEGRADED or DOWN, `own` that daemon's place."""

    state: str
    own: int
    nodes: tuple[DomainNode, ...]

    @property
    def status(self) -> str:
        """What `nvidia-imex-ctl -q` prints on that node."""
        return self.nodes[self.own].status


def ask(driver_root: Path) -> Domain | None:
    """Return the domain as the daemon of this driver root sees it; None when no daemon answers."""
    try:
        with socket.socket(socket.AF_UNIX) as stream, short_path(driver_root / CONTROL_SOCKET) as path:
            stream.settimeout(_SECONDS)
            stream.connect(path)
            stream.sendall(b"domain\n")
            with stream.makefile("r", encoding="ascii") as answer:
                return _parse(answer.read().splitlines())
    except (OSError, ValueError):
        return None  # none runs, or it ended while it answered


def _parse(lines: list[str]) -> Domain | None:
    head = lines[0].split() if lines else []
    if len(head) != 4 or len(lines) != int(head[3]) + 1:
        return None
    return Domain(head[1], int(head[2]), tuple(_node(line.split()) for line in lines[1:]))


def _node(words: list[str]) -> DomainNode:
    _, address, status, version, _host, *links = words
    return DomainNode(address, status, version.strip("-"), tuple(_LINKS[int(link)] for link in links))
