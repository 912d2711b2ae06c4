"""What every container with a GPU gets: control nodes, libraries, programs, sockets, hooks.

The list is the community driver's (nvidia-container-toolkit's "common" edits), so images built for it work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from claimwright.dra.cdi import ContainerEdits, DeviceNode, Hook, Mount
from claimwright.driver.edits.book import EditCall, call
from claimwright.driver.edits.gpu_node import MODULES
from claimwright.driver.edits.installation import Installation
from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import Clock, Located

NAME: Final = "driver-files"
# Installed files change only when an administrator replaces the driver under a running node.
_LIVES_SECONDS: Final = 300.0
# Without these no program can use a GPU: their minor numbers, and how /proc/devices calls them.
NEEDED_NODES = {
    PurePosixPath("/dev/nvidiactl"): (255, MODULES),
    PurePosixPath("/dev/nvidia-uvm"): (0, ("nvidia-uvm",)),
}
OTHER_NODES = tuple(PurePosixPath("/dev") / name for name in ("nvidia-uvm-tools", "nvidia-modeset"))
PROGRAMS = (
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
    "nvidia-imex",
    "nvidia-imex-ctl",
)
SOCKETS = tuple(
    PurePosixPath(path)
    for path in ("/run/nvidia-persistenced/socket", "/run/nvidia-fabricmanager/socket", "/tmp/nvidia-mps")  # noqa: S108
)
GRAPHICS_FILES = tuple(
    PurePosixPath(path)
    for path in (
        "/etc/OpenCL/vendors/nvidia.icd",
        "/etc/vulkan/icd.d/nvidia_icd.json",
        "/etc/vulkan/implicit_layer.d/nvidia_layers.json",
        "/usr/share/egl/egl_external_platform.d/10_nvidia_wayland.json",
        "/usr/share/egl/egl_external_platform.d/15_nvidia_gbm.json",
        "/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
        "/usr/share/vulkan/icd.d/nvidia_icd.json",
        "/usr/share/vulkan/implicit_layer.d/nvidia_layers.json",
    )
)
_READ_ONLY = ("ro", "nosuid", "nodev", "rbind", "rprivate")
_SOCKET = ("nosuid", "nodev", "rbind", "rprivate", "noexec")


def driver_files() -> EditCall:
    """Name the edits of this module."""
    return call(NAME)


class DriverFiles:
    """Makes them; keeps for five minutes what depends on the installed files only."""

    def __init__(self, installation: Installation, clock: Clock) -> None:
        self._installation = installation
        self._clock = clock
        self._lock = threading.Lock()
        self._made = float("-inf")
        self._static = self._nodes = self._whole = ContainerEdits()

    def __call__(self, call: EditCall) -> ContainerEdits:  # noqa: ARG002  the shape of a maker
        """Return the installed files and the control nodes of now; the same object while unchanged."""
        now = self._clock.now()
        nodes = control_nodes(self._installation)
        with self._lock:  # claims ask from several threads
            fresh = 0 <= now - self._made < _LIVES_SECONDS
            if not fresh:
                self._static, self._made = static_edits(self._installation), now
            if not fresh or nodes != self._nodes:
                self._nodes, self._whole = nodes, self._static + nodes
            return self._whole


def static_edits(installation: Installation) -> ContainerEdits:
    """Return the edits that depend on the installed files only."""
    libraries = tuple(installation.root.libraries(installation.driver_version))
    cuda = [library.inside.parent for library in libraries if library.inside.name.startswith("libcuda.so.")]
    environment = (
        "NVIDIA_VISIBLE_DEVICES=void",
        *(f"NVIDIA_CTK_LIBCUDA_DIR={folder}" for folder in cuda[:1]),
    )
    return ContainerEdits(
        env=environment,
        mounts=(
            *_library_mounts(installation, libraries),
            *_file_mounts(installation),
            *_sockets(installation),
        ),
        hooks=tuple(_hooks(installation, libraries)),
    )


def control_nodes(installation: Installation) -> ContainerEdits:
    """Return the control nodes; StepFailed when the kernel has not what no program can do without.

    The kernel modules' tools make nodes on first use only; those that nobody needs are given when they exist.
    """
    others = (installation.node(path) for path in OTHER_NODES)
    return ContainerEdits(
        device_nodes=(*_needed_nodes(installation), *(node for node in others if node is not None))
    )


def _needed_nodes(installation: Installation) -> Iterator[DeviceNode]:
    for path, (minor, modules) in NEEDED_NODES.items():
        node = installation.device(path, minor, *modules)
        if node is None:
            raise StepFailed(
                f"device node {installation.devices.host_path(path)} does not exist, and /proc/devices has no line for "
                f"{modules[0]}: no program in a container could use the GPU. Load the kernel module, for example "
                "with `nvidia-modprobe -u -c 0`; the kubelet tries again."
            )
        yield node


def _library_mounts(installation: Installation, libraries: tuple[Located, ...]) -> Iterator[Mount]:
    for library in libraries:
        names = installation.root.short_names(library, installation.driver_version)
        for name in dict.fromkeys((library.inside, *names)):
            yield _mount(installation, library.inside, at=name)


def _file_mounts(installation: Installation) -> Iterator[Mount]:
    root = installation.root
    programs = [found.inside for name in PROGRAMS if (found := root.program(name)) is not None]
    firmware_folder = PurePosixPath("/lib/firmware/nvidia") / installation.driver_version
    firmware = [firmware_folder / path.name for path in sorted(root.path(firmware_folder).glob("gsp*.bin"))]
    graphics = [path for path in GRAPHICS_FILES if root.path(path).is_file()]
    for inside in (*programs, *firmware, *graphics):
        yield _mount(installation, inside, at=inside)


def _sockets(installation: Installation) -> Iterator[Mount]:
    for path in SOCKETS:
        if installation.root.path(path).exists():
            yield Mount(str(installation.root.host_path(path)), str(path), _SOCKET)


def _mount(installation: Installation, inside: PurePosixPath, *, at: PurePosixPath) -> Mount:
    return Mount(str(installation.root.host_path(inside)), str(at), _READ_ONLY)


def _hooks(installation: Installation, libraries: tuple[Located, ...]) -> Iterator[Hook]:
    if installation.hook is None:
        return
    folders = sorted({str(library.inside.parent) for library in libraries})
    yield _hook(
        installation.hook, "enable-cuda-compat", f"--host-driver-version={installation.driver_version}"
    )
    if folders:
        yield _hook(
            installation.hook, "update-ldcache", *(part for name in folders for part in ("--folder", name))
        )
    yield _hook(installation.hook, "disable-device-node-modification")


def _hook(path: PurePosixPath, *arguments: str) -> Hook:
    return Hook("createContainer", str(path), ("nvidia-cdi-hook", *arguments))
