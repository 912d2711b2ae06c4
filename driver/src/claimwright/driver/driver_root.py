"""The driver installation on this node: where its libraries, programs and device nodes are.

Search orders are those of the community driver, so that the same installations work: the host's own
files, an operator's `/run/nvidia/driver`, managed images that install below `/home` or `/opt`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from claimwright.driver.errors import NodeUnusable
from claimwright.driver.ports import Host, Located

LIBRARY_FOLDERS = tuple(
    PurePosixPath(folder)
    for folder in (
        "/usr/lib64",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/lib64",
        "/lib/x86_64-linux-gnu",
        "/lib/aarch64-linux-gnu",
        "/",
    )
)
PROGRAM_FOLDERS = tuple(
    PurePosixPath(folder) for folder in ("/opt/bin", "/usr/bin", "/usr/sbin", "/bin", "/sbin", "/")
)
NVML_SONAME = "libnvidia-ml.so.1"


@dataclass(frozen=True)
class DriverRoot:
    """One installation, seen twice: `readable` by this process, `on_host` by the container runtime.

    They differ when the driver runs in a pod that has the installation mounted at another place.
    """

    readable: Path
    on_host: PurePosixPath

    @classmethod
    def choose(cls, on_host: PurePosixPath, mounted: Path) -> DriverRoot:
        """Take the mounted view when it exists, otherwise read the installation where it is."""
        return cls(readable=mounted if mounted.is_dir() else Path(on_host), on_host=on_host)

    def nvml_library(self) -> Located:
        """Find libnvidia-ml.so.1; NodeUnusable names the root and every folder that was searched."""
        found = self.library(NVML_SONAME)
        if found is None:
            raise NodeUnusable(
                f"{NVML_SONAME} not found under driver root {str(self.readable)!r} "
                f"({str(self.on_host)!r} on the host); searched {_listing(LIBRARY_FOLDERS)}. "
                "Install the NVIDIA driver there or name its root with --nvidia-driver-root."
            )
        return found

    def library(self, name: str) -> Located | None:
        """Find a library of the installation, None when it is not there."""
        return self._find(name, LIBRARY_FOLDERS)

    def program(self, name: str) -> Located | None:
        """Find a program of the installation, None when it is not there."""
        return self._find(name, PROGRAM_FOLDERS)

    def libraries(self, driver_version: str) -> Iterator[Located]:
        """Yield every `*.so.<driver version>` beside NVML and in its `vdpau` folder, sorted by name."""
        folder = self.nvml_library().inside.parent
        for inside in (folder, folder / "vdpau"):
            for path in sorted(self.path(inside).glob(f"*.so.{driver_version}")):
                if path.is_file():
                    yield Located(path, inside / path.name)

    def short_names(self, library: Located, driver_version: str) -> tuple[PurePosixPath, ...]:
        """Return the names like `libcuda.so.1` under which programs ask for `library`."""
        stem = library.inside.name.removesuffix(f".{driver_version}")
        pattern = re.compile(rf"{re.escape(stem)}\.\d+")
        names = (entry.name for entry in library.readable.parent.iterdir())
        return tuple(library.inside.parent / name for name in sorted(names) if pattern.fullmatch(name))

    def path(self, inside: PurePosixPath) -> Path:
        """Return where this process reads the path that is called `inside` within the root."""
        return self.readable / inside.relative_to("/")

    def host_path(self, inside: PurePosixPath) -> PurePosixPath:
        """Return what the host calls the path that is called `inside` within the root."""
        return self.on_host / inside.relative_to("/")

    def _find(self, name: str, folders: tuple[PurePosixPath, ...]) -> Located | None:
        for folder in folders:
            path = self.path(folder / name)
            if path.is_file():
                return Located(path, folder / name)
        return None


@dataclass(frozen=True)
class DeviceRoot:
    """Where `/dev/nvidia*` really is: below the driver root when it has nodes, else the host's `/dev`."""

    files: Host
    on_host: PurePosixPath

    def host_path(self, node: PurePosixPath) -> PurePosixPath:
        """Return what the host calls the device that a container calls `node`."""
        return _below(self.on_host, node)


@functools.lru_cache(maxsize=256)
def _below(root: PurePosixPath, node: PurePosixPath) -> PurePosixPath:
    # Kept: asked for the same few nodes on the way of each claim, and joining paths is slow.
    return root / node.relative_to("/")


def choose_device_root(driver_root: DriverRoot, *, inside: Host, host: Host) -> DeviceRoot:
    """Prefer the driver root's own nodes: an installation in a container creates them there."""
    if any(name.startswith("nvidia") for name in inside.entries(PurePosixPath("/dev"))):
        return DeviceRoot(inside, driver_root.on_host)
    return DeviceRoot(host, PurePosixPath("/"))


def _listing(folders: tuple[PurePosixPath, ...]) -> str:
    return ", ".join(str(folder) for folder in folders)
