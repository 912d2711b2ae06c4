"""The host: kernel modules, IOMMU, the driver installation, GPUs and device nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from claimwright.driver.driver_root import DeviceRoot, DriverRoot
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import Inventory
from claimwright.driver.ports import Host
from claimwright.driver.preflight.findings import Finding, fail, ok, warn

_MODULES: Final = PurePosixPath("/sys/module")
_VERSION: Final = PurePosixPath("/proc/driver/nvidia/version")
_DEV: Final = PurePosixPath("/dev")


def check_modules(host: Host, gates: FeatureGates) -> Iterator[Finding]:
    """Look for the modules that must be loaded, and those that the driver would load."""
    if host.kind(_MODULES / "nvidia") is None:
        advice = "Install the NVIDIA driver; `dmesg` says why it does not load (Secure Boot, nouveau, kernel headers)."
        yield fail("module nvidia", "not loaded", advice)
    else:
        yield ok("module nvidia", f"loaded{_kernel_version(host)}")
    if host.kind(_MODULES / "nvidia_uvm") is None:
        advice = "modprobe nvidia_uvm, and at boot; claims for containers are refused until then."
        yield fail("module nvidia_uvm", "not loaded; CUDA needs it", advice)
    if gates["PassthroughSupport"] and host.kind(_MODULES / "vfio_pci") is None:
        yield warn("module vfio_pci", "not loaded", "The driver loads it for a claim; better at boot.")


def check_iommu(host: Host, gates: FeatureGates) -> Iterator[Finding]:
    """Passthrough needs an IOMMU; nothing else does."""
    groups = len(host.entries(PurePosixPath("/sys/kernel/iommu_groups")))
    iommufd = host.kind(_DEV / "iommu") is not None
    if groups:
        yield ok("IOMMU", f"{groups} groups, {'with' if iommufd else 'without'} /dev/iommu")
    elif gates["PassthroughSupport"]:
        advice = "Enable VT-d or AMD-Vi in the firmware and boot with intel_iommu=on iommu=pt, or switch the gate off."
        yield fail("IOMMU", "off, and PassthroughSupport is on", advice)
    else:
        yield ok("IOMMU", "off; only passthrough needs it")


def check_installation(root: DriverRoot) -> Iterator[Finding]:
    """Look for the library and the programs that the driver uses or gives to containers."""
    try:
        library = root.nvml_library()
    except NodeUnusable as error:
        yield fail("driver root", str(error), "See --nvidia-driver-root.")
        return
    yield ok("driver root", f"{root.on_host}, {library.inside}")
    missing = [name for name in ("nvidia-smi",) if root.program(name) is None]
    if missing:
        advice = "Install the driver's programs; time-slicing needs nvidia-smi."
        yield warn("programs", f"{', '.join(missing)} not found", advice)


def check_gpus(inventory: Inventory | NodeUnusable, host: Host, nodes: DeviceRoot) -> Iterator[Finding]:
    """Judge what NVML says, that library and kernel agree, and that device nodes are there."""
    if isinstance(inventory, NodeUnusable):
        yield fail(
            "NVML", str(inventory), "nvidia-smi on the node should fail alike; repair the installation first."
        )
        return
    yield _nvml(inventory, host)
    for gpu in inventory.left_out:
        yield warn(gpu.name, f"not offered: {gpu.reason}", "See dmesg and nvidia-smi -q for this GPU.")
    hidden = [each for each in inventory.functions if inventory.gpu_at(each.address) is None]
    for each in hidden:
        yield warn(
            f"GPU {each.address}",
            f"on the bus, not in NVML; its driver is {each.driver or 'none'}",
            "Offered for passthrough only (gate PassthroughSupport); bind it to nvidia for the rest.",
        )
    if not inventory.gpus and not hidden:
        yield fail(
            "GPUs", "none", "lspci -d 10de: shows what the kernel sees; keep the plugin off this node."
        )
    yield from _nodes(inventory, nodes)


def _nvml(inventory: Inventory, host: Host) -> Finding:
    kernel = _kernel_version(host).strip(" ()")
    found = (
        f"driver {inventory.driver_version}, CUDA {inventory.cuda_driver_version}, {len(inventory.gpus)} GPUs"
    )
    if kernel and kernel != inventory.driver_version:
        advice = "Reload the kernel modules or reboot: library and module are of different installations."
        return fail("NVML", f"{found}; the kernel module is {kernel}", advice)
    return ok("NVML", found)


def _nodes(inventory: Inventory, nodes: DeviceRoot) -> Iterator[Finding]:
    wanted = ["nvidiactl", "nvidia-uvm", *(f"nvidia{gpu.minor}" for gpu in inventory.gpus)]
    missing = [name for name in wanted if nodes.files.kind(_DEV / name) is None]
    if missing:
        advice = (
            "Containers get nodes by the kernel's numbers all the same; for programs of the host, "
            "nvidia-modprobe -u -c 0 makes them, and nvidia-persistenced at boot."
        )
        yield warn("device nodes", f"missing: {', '.join(missing)} in {nodes.host_path(_DEV)}", advice)
    elif inventory.gpus:
        yield ok("device nodes", f"{len(wanted)} in {nodes.host_path(_DEV)}")


def _kernel_version(host: Host) -> str:
    found = re.search(r"Kernel Module\s+(?:for \S+\s+)?(\d+(?:\.\d+)+)", host.read_text(_VERSION) or "")
    return f" ({found[1]})" if found else ""
