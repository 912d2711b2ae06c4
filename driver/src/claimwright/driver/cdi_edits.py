"""What a container gets with a GPU, as CDI edits: device nodes, libraries, programs, sockets, hooks.

The list is the community driver's (nvidia-container-toolkit's "full GPU" and "common" edits), so images
built for it work. Nodes are looked at before each spec is written: a spec that names a missing node lets the
pod start without its GPU, or not at all with an error far from its cause.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from claimwright.dra.cdi import ContainerEdits, DeviceNode, Hook, Mount
from claimwright.driver.driver_root import DeviceRoot, DriverRoot
from claimwright.driver.errors import StepFailed
from claimwright.driver.inventory import PCI_DEVICES, Gpu
from claimwright.driver.ports import Host, Located

CONTROL_NODES = tuple(
    PurePosixPath("/dev") / name for name in ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
)
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


@dataclass(frozen=True)
class Installation:
    """What the edits are made from. `driver_version` as in file names, `hook` as the host calls it."""

    root: DriverRoot
    devices: DeviceRoot
    host: Host
    driver_version: str
    hook: PurePosixPath | None = None


def static_edits(installation: Installation) -> ContainerEdits:
    """Return the edits that depend on the installed files only; make them once and keep them."""
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
    """Return the control nodes that exist now; the kernel modules make some of them on first use only."""
    found = (_node(installation, path) for path in CONTROL_NODES)
    return ContainerEdits(device_nodes=tuple(node for node in found if node is not None))


def gpu_nodes(installation: Installation, gpu: Gpu) -> ContainerEdits:
    """Return the nodes of one GPU; StepFailed when its own node does not exist."""
    path = PurePosixPath(f"/dev/nvidia{gpu.minor}")
    node = _node(installation, path)
    if node is None:
        raise StepFailed(
            f"device node {installation.devices.host_path(path)} of {gpu.device_name} ({gpu.uuid}) "
            "does not exist: no container could open the GPU. Load the kernel module and create the node, "
            f"for example with `nvidia-modprobe -c {gpu.minor}`; the kubelet tries again."
        )
    return ContainerEdits(device_nodes=(node, *_display_nodes(installation, gpu)))


def _display_nodes(installation: Installation, gpu: Gpu) -> Iterator[DeviceNode]:
    for name in installation.host.entries(PCI_DEVICES / gpu.pci_bus_id / "drm"):
        node = _node(installation, PurePosixPath("/dev/dri") / name)
        if node is not None and name.startswith(("card", "renderD")):
            yield node


def _node(installation: Installation, path: PurePosixPath) -> DeviceNode | None:
    kind = installation.devices.files.kind(path)
    if kind is None:
        return None
    host_path = installation.devices.host_path(path)
    outside = None if host_path == path else str(host_path)
    if not kind.is_character_device:
        return DeviceNode(str(path), host_path=outside)
    return DeviceNode(str(path), host_path=outside, type="c", major=kind.major, minor=kind.minor)


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
