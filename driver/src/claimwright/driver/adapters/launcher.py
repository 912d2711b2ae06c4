"""A program of its own: arrange what the next program sees of the file system, then become that program.

`launcher.py SURROUNDINGS COMMAND...`, as JSON: `cgroup`, a folder, and `view` with `root`, `scratch` and `binds` (see
`ports.View`), each or null. Standard library only, so that it starts quickly without the packages of the driver. What
is mounted here vanishes with the program.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_NOSUID, _MS_NODEV = 4096, 16384, 1 << 18, 2, 4  # linux/mount.h
_CLONE_NEWNS = 0x00020000
_CANNOT = 125
_libc = ctypes.CDLL(None, use_errno=True)


def main(surroundings: dict[str, Any], command: list[str]) -> None:
    """Arrange and go on as `command`."""
    if surroundings["cgroup"] is not None:
        _move(surroundings["cgroup"])
    if surroundings["view"] is not None:
        _see(surroundings["view"])
    os.execvp(command[0], command)  # noqa: S606  the whole purpose


def _move(cgroup: str) -> None:
    """Join a cgroup; one that cannot be joined only shortens a life, so it is said and no more."""
    try:
        os.makedirs(cgroup, exist_ok=True)  # noqa: PTH103
        with open(f"{cgroup}/cgroup.procs", "w") as members:  # noqa: PTH123
            members.write(str(os.getpid()))
    except OSError as error:
        print(f"cgroup {cgroup} cannot be joined: {error}", file=sys.stderr)


def _see(view: dict[str, Any]) -> None:
    root = view["root"].rstrip("/")
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    if view["scratch"] is not None:
        _mount("tmpfs", root + view["scratch"], "tmpfs", _MS_NOSUID | _MS_NODEV, b"mode=755")
    for place, folder in view["binds"].items():
        os.makedirs(root + place, mode=0o755, exist_ok=True)  # noqa: PTH103
        _mount(folder, root + place, "", _MS_BIND | _MS_REC)
    if root:
        os.chroot(root)
        os.chdir("/")


def _mount(source: str, target: str, kind: str, flags: int, data: bytes | None = None) -> None:
    done = _libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, data)
    _check(done, f"mount {source} at {target}")


def _check(done: int, what: str) -> None:
    if done:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]), sys.argv[2:])
    except OSError as error:
        print(f"the program's surroundings cannot be arranged: {error}", file=sys.stderr)
        sys.exit(_CANNOT)
