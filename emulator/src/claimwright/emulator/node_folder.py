"""Where a node keeps its things, and the lock that says whether it is alive.

`$XDG_STATE_HOME/claimwright/nodes/NAME/` holds one node, `NAME.lock` beside it is flock'ed by `up` and then,
through an inherited descriptor, by the node process as long as it lives: a lock cannot be stale, as a pid
file can.
"""

from __future__ import annotations

import fcntl
import os
import re
from dataclasses import dataclass
from pathlib import Path

from claimwright.emulator.errors import NodeError, NodeExists

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def nodes_folder() -> Path:
    """Return the folder of all nodes of this user."""
    state = os.environ.get("XDG_STATE_HOME", "")
    home = Path(state) if Path(state).is_absolute() else Path.home() / ".local/state"
    return home / "claimwright/nodes"


@dataclass(frozen=True, slots=True)
class NodeFolder:
    """The paths of one node."""

    path: Path

    @classmethod
    def of(cls, name: str) -> NodeFolder:
        """Return the folder for a name; NodeError when it is no name."""
        if not _NAME.fullmatch(name):
            raise NodeError(f"{name!r} is no node name; expected 1 to 63 of a-z, 0-9 and '-' (RFC 1123)")
        return cls(nodes_folder() / name)

    @property
    def name(self) -> str:
        """The node's name."""
        return self.path.name

    @property
    def lock(self) -> Path:
        """Beside the folder, so that it outlives it."""
        return self.path.with_name(f"{self.name}.lock")

    @property
    def record(self) -> Path:
        """What the node says of itself once it is ready."""
        return self.path / "node.json"

    @property
    def request(self) -> Path:
        """What `up` asked the node process for: the state to begin with, pickled. The folder is its user's own."""
        return self.path / "request"

    @property
    def log(self) -> Path:
        """What the node process printed."""
        return self.path / "node.log"

    @property
    def kernel_log(self) -> Path:
        """What the driver told the kernel's log: XIDs."""
        return self.path / "kernel.log"

    @property
    def mounts(self) -> Path:
        """Which mount namespace was changed; written before the first mount."""
        return self.path / "mounts.json"

    @property
    def control(self) -> Path:
        """The socket that takes operations."""
        return self.path / "control.sock"

    @property
    def driver_root(self) -> Path:
        """The driver's files: library, tools, socket, and device nodes where they are plain files."""
        return self.path / "driver-root"

    @property
    def host_root(self) -> Path:
        """The rendered sys/, proc/ and dev/ of a node that is not attached to a mount namespace."""
        return self.path / "host-root"


class NodeLock:
    """An flock on a node's lock file; also carries the pid of the process that holds it."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    @classmethod
    def take(cls, folder: NodeFolder) -> NodeLock:
        """Take the lock; NodeExists when another process holds it."""
        folder.lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        while True:
            handle = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(handle)
                raise NodeExists(
                    f"node {folder.name!r} is up, starting or stopping; `claimwright node list` shows it, "
                    f"`claimwright node down {folder.name}` stops it"
                ) from None
            if _is_still_there(folder.lock, handle):
                return cls(handle)
            os.close(handle)  # its last holder removed the file between our open and our lock

    def write_pid(self, pid: int) -> None:
        """Say who holds the lock from now on."""
        os.pwrite(self.handle, f"{pid}\n".ljust(16).encode(), 0)

    def release(self, folder: NodeFolder) -> None:
        """Remove the lock file and let go."""
        folder.lock.unlink(missing_ok=True)
        os.close(self.handle)

    def close(self) -> None:
        """Close this descriptor; whoever inherited it still holds the lock."""
        os.close(self.handle)


def holder(folder: NodeFolder) -> int | None:
    """Return the pid that holds a node's lock, 0 while that is not said yet, None when it is free."""
    try:
        handle = os.open(folder.lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        said = os.pread(handle, 16, 0).strip()
        return int(said) if said.isdigit() else 0
    else:
        return None
    finally:
        os.close(handle)


def _is_still_there(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
