"""A folder that looks to a program like the file system of one container, as far as its devices go.

No chroot and no root are needed: libraries and tools that CDI mounts are hard links, so that a library
which asks the loader for its own path (the emulated NVML does) finds itself inside the sandbox, and `dev/`
beside it holds nothing but the injected nodes. Isolation against a hostile program is no goal; real nodes
show that.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claimwright.dra.cdi import Mount
from claimwright.emulator.kubelet.errors import InjectionFailed, KubeletError
from claimwright.emulator.kubelet.views import ContainerView

_PROGRAMS: Final = ("usr/local/bin", "usr/bin", "bin", "usr/sbin", "sbin")
_LIBRARIES: Final = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "lib64",
    "lib",
)


class ProgramNotRun(KubeletError):
    """A program in a sandbox could not be started or did not end in time."""


@dataclass(frozen=True)
class ProgramResult:
    """How a program ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


class Sandboxes:
    """The sandboxes of one node's containers, made when first asked for.

    Their paths are kept short (`<folder>/<number>`): a unix socket below one has 107 bytes for its path.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._roots: dict[tuple[str, str], Path] = {}
        self._next = 0

    def clear(self) -> None:
        """Remove what an earlier run left."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, view: ContainerView) -> Path:
        """Return the root of the view's sandbox; raises `InjectionFailed` if it cannot be made."""
        key = _identity(view)
        if key not in self._roots:
            root = self._folder / str(self._next)
            self._next += 1
            _furnish(root, view)
            self._roots[key] = root
        return self._roots[key]

    def remove(self, view: ContainerView) -> None:
        """Remove the view's sandbox; one that was never opened is fine."""
        root = self._roots.pop(_identity(view), None)
        if root:
            shutil.rmtree(root, ignore_errors=True)


def _identity(view: ContainerView) -> tuple[str, str]:
    return view.pod.uid, view.container


async def run_program(
    root: Path,
    view: ContainerView,
    argv: Sequence[str],
    *,
    timeout_seconds: float = 30.0,
    environment: Mapping[str, str] | None = None,
) -> ProgramResult:
    """Run a program with the sandbox's tools and libraries before the machine's own.

    `argv[0]` is looked for in the sandbox first. Raises `ProgramNotRun` when it cannot start, or is too slow.
    """
    merged = {**os.environ, **sandbox_environment(root, view), **(environment or {})}
    program = _find_program(root, argv[0], merged["PATH"])
    process = await asyncio.create_subprocess_exec(
        program,
        *argv[1:],
        env=merged,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(), timeout_seconds)
    except TimeoutError:
        raise ProgramNotRun(
            f"{argv[0]} in {view.pod}/{view.container} ran over {timeout_seconds:g} s"
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return ProgramResult(process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


def sandbox_environment(root: Path, view: ContainerView) -> dict[str, str]:
    """Return the variables that make a program see the sandbox, the container's own included."""
    libraries = [str(root / folder) for folder in _LIBRARIES if (root / folder).is_dir()]
    programs = [str(root / folder) for folder in _PROGRAMS if (root / folder).is_dir()]
    paths = {
        "PATH": os.pathsep.join([*programs, os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "CLAIMWRIGHT_SANDBOX": str(root),
    }
    return {**view.environment, **paths}


def _find_program(root: Path, name: str, search: str) -> str:
    inside = root / name.lstrip("/")
    if name.startswith("/") and inside.exists():
        return str(inside)
    found = shutil.which(name, path=search)
    if found is None:
        raise ProgramNotRun(f"program {name} is neither in the sandbox {root} nor on PATH")
    return found


def _furnish(root: Path, view: ContainerView) -> None:
    (root / "dev").mkdir(parents=True)
    try:
        for node in view.device_nodes:
            _place(root, node.path).touch(mode=0o666)
        for mount in view.mounts:
            if mount.type in (None, "bind"):
                _mount(root, mount, view.on_host(mount.host_path))
    except OSError as error:
        shutil.rmtree(root, ignore_errors=True)
        raise InjectionFailed(f"sandbox of {view.pod}/{view.container} at {root}: {error}") from error


def _mount(root: Path, mount: Mount, source: Path) -> None:
    place = _place(root, mount.container_path)
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)  # a later mount on the same path hides what was there
    place.unlink(missing_ok=True)
    real = source.resolve(strict=True)  # as a bind mount follows links of its source
    if stat.S_ISREG(real.stat().st_mode):
        _link_or_copy(real, place)
    else:
        place.symlink_to(real)  # folders, sockets


def _place(root: Path, container_path: str) -> Path:
    """Return where a container path goes, with real folders above it.

    A folder mount is a link to the host's folder; a mount below it must not write there, so such a link is
    replaced by a folder of links first.
    """
    place = _inside(root, container_path)
    folder = root
    for part in place.relative_to(root).parts[:-1]:
        folder /= part
        if folder.is_symlink():
            children = list(folder.resolve().iterdir())
            folder.unlink()
            folder.mkdir()
            for child in children:
                (folder / child.name).symlink_to(child)
        folder.mkdir(exist_ok=True)
    return place


def _link_or_copy(source: Path, place: Path) -> None:
    # A hard link follows writes to the same inode: KEP-5304 metadata is updated so under a bind mount.
    try:
        place.hardlink_to(source)
    except OSError:
        shutil.copy2(source, place)


def _inside(root: Path, container_path: str) -> Path:
    # Container paths come from a driver: one that climbs out of the sandbox is refused, not followed.
    place = Path(os.path.normpath(root / container_path.lstrip("/")))
    if not place.is_relative_to(root) or place == root:
        raise InjectionFailed(f"container path {container_path!r} leads out of the container")
    return place
