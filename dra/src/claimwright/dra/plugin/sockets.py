"""The plugin's sockets: their names, and a gRPC server on one of them."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import grpc

from claimwright.dra.plugin.errors import SocketUnusable

# sun_path has 108 bytes, and gRPC keeps one for the terminating zero.
LONGEST_PATH: Final = 107


def registration_socket(registry_dir: Path, driver: str, instance: str | None) -> Path:
    """Give the registration socket's path; two instances of a driver have different ones.

    With an instance (a pod uid) the first name that fits is taken, as the Go helper library does.
    """
    if instance is None:
        return fitting(registry_dir / f"{driver}-reg.sock")
    names = (
        f"{driver}-{instance}-reg.sock",
        f"{driver}-{_digest(instance.encode(), 8)}-reg.sock",
        f"dra-{_digest(driver.encode() + bytes(1) + instance.encode(), 16)}-reg.sock",
    )
    candidates = [registry_dir / name for name in names]
    return fitting(next((path for path in candidates if _fits(path)), candidates[-1]))


def dra_socket(plugin_dir: Path, instance: str | None) -> Path:
    """Give the DRA socket's path."""
    return fitting(plugin_dir / ("dra.sock" if instance is None else f"dra-{instance}.sock"))


def fitting(path: Path) -> Path:
    """Give `path` as an absolute one; raises SocketUnusable if a socket cannot have so long a path."""
    path = path.absolute()
    if not _fits(path):
        raise SocketUnusable(
            f"socket path {path} has {len(os.fsencode(path))} bytes, at most {LONGEST_PATH} work: "
            "use a shorter folder"
        )
    return path


class SocketServer:
    """A gRPC server on a unix socket that appears only when it serves, with mode 0600.

    gRPC binds under a hidden name, which the kubelet's plugin watcher ignores; the rename then publishes a
    socket that answers. It also keeps gRPC from removing the file of a successor that took the name
    meanwhile.
    """

    def __init__(self, path: Path, add_services: Callable[[grpc.aio.Server], None]) -> None:
        self.path = path
        self._add_services = add_services
        self._server: grpc.aio.Server | None = None
        self._inode: int | None = None

    @property
    def present(self) -> bool:
        """Whether the socket file is still this server's."""
        try:
            return self._inode is not None and self.path.lstat().st_ino == self._inode
        except FileNotFoundError:
            return False

    async def start(self) -> None:
        """Serve, replacing a stale socket; raises SocketUnusable."""
        hidden = self.path.parent / f".{secrets.token_hex(3)}"
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        self._add_services(server)
        try:
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            server.add_insecure_port(f"unix:{hidden}")
            hidden.chmod(0o600)
            await server.start()
            inode = hidden.lstat().st_ino
            hidden.replace(self.path)
        except (OSError, RuntimeError) as error:
            await server.stop(None)
            with suppress(OSError):
                hidden.unlink(missing_ok=True)
            raise SocketUnusable(f"cannot serve on {self.path}: {error}") from error
        self._server, self._inode = server, inode

    def withdraw(self) -> None:
        """Remove the socket file, unless another process has put its own there."""
        if self.present:
            self.path.unlink(missing_ok=True)

    async def stop(self, *, grace_seconds: float) -> None:
        """Refuse new calls, let running ones finish for `grace_seconds`, then cancel them."""
        server, self._server = self._server, None
        self.withdraw()
        if server is not None:
            await server.stop(grace_seconds)


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= LONGEST_PATH


def _digest(data: bytes, length: int) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()[:length]).rstrip(b"=").decode()
