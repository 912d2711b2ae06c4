"""What this node has, as values: whole GPUs from NVML, placed by sysfs.

Names and spellings follow the community driver (`gpu-<minor>`, `0000:65:00.0`), as claims select by them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from claimwright.driver.errors import NodeUnusable
from claimwright.driver.ports import GpuReading, Host, NodeReading, Nvml, UnreadableGpu

BRANDS = {
    0: "Unknown",
    1: "Quadro",
    2: "Tesla",
    3: "NVS",
    4: "Grid",
    5: "GeForce",
    6: "Titan",
    7: "NvidiaVApps",
    8: "NvidiaVPC",
    9: "NvidiaVCS",
    10: "NvidiaVWS",
    11: "NvidiaCloudGaming",
    12: "QuadroRTX",
    13: "NvidiaRTX",
    14: "Nvidia",
    15: "GeForceRTX",
    16: "TitanRTX",
}
ARCHITECTURES = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada Lovelace",
    9: "Hopper",
    10: "Blackwell",
    13: "Rubin",
}
ADDRESSING_MODES = {0: "None", 1: "HMM", 2: "ATS"}
PCI_DEVICES = PurePosixPath("/sys/bus/pci/devices")
# A DGX Station drives its screen with a GPU that takes no compute work.
_DISPLAY_ADAPTERS = ("DGX Display", "NVIDIA DGX Display")
_PCI_BUS_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]")


@dataclass(frozen=True)
class Gpu:
    """One whole GPU; None where the hardware or its driver does not say."""

    minor: int
    uuid: str
    product_name: str
    brand: str
    architecture: str
    cuda_compute_capability: str
    pci_bus_id: str
    memory_bytes: int | None
    pcie_root: str | None
    numa_node: int | None
    addressing_mode: str | None

    @property
    def device_name(self) -> str:
        """The name in the ResourceSlice."""
        return f"gpu-{self.minor}"


@dataclass(frozen=True)
class LeftOut:
    """A GPU that is here but not offered, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Inventory:
    """All GPUs of the node, ordered by minor number, and those that are not offered.

    `driver_version` is as NVML and the file names of the installation say it, `570.86.05`.
    """

    driver_version: str
    cuda_driver_version: str
    gpus: tuple[Gpu, ...]
    left_out: tuple[LeftOut, ...] = ()


def discover(nvml: Nvml, host: Host) -> Inventory:
    """Read the node once; NodeUnusable when NVML is unusable or names an impossible PCI address."""
    reading = nvml.read()
    offered = [gpu for gpu in reading.gpus if isinstance(gpu, GpuReading) and _why_not(gpu) is None]
    return Inventory(
        driver_version=reading.driver_version,
        cuda_driver_version=_cuda_version(reading.cuda_driver_version),
        gpus=tuple(_place(gpu, host) for gpu in sorted(offered, key=lambda gpu: gpu.minor)),
        left_out=_left_out(reading),
    )


def semantic_version(text: str) -> str:
    """Coerce `9.0` or `570.86.05` to the three plain numbers that Kubernetes takes as a version."""
    numbers = re.match(r"\d+(?:\.\d+)*", text)
    if numbers is None:
        raise NodeUnusable(f"{text!r} is no version: expected numbers with dots, for example 580.126.20")
    parts = [str(int(number)) for number in numbers.group().split(".")]
    return ".".join([*parts, "0", "0"][:3])


def pci_address(nvml_bus_id: str) -> str:
    """Turn NVML's `00000000:65:00.0` into sysfs' `0000:65:00.0`."""
    text = nvml_bus_id.lower()
    address = text[4:] if re.match(r"0000[0-9a-f]{4}:", text) else text
    if not _PCI_BUS_ID.fullmatch(address):
        raise NodeUnusable(f"NVML names PCI address {nvml_bus_id!r}; expected one like 00000000:65:00.0")
    return address


def _place(gpu: GpuReading, host: Host) -> Gpu:
    address = pci_address(gpu.pci_bus_id)
    mode = gpu.addressing_mode
    return Gpu(
        minor=gpu.minor,
        uuid=gpu.uuid,
        product_name=gpu.name,
        brand=BRANDS.get(gpu.brand, "Unknown"),
        architecture=ARCHITECTURES.get(gpu.architecture, "Unknown"),
        cuda_compute_capability=semantic_version("{}.{}".format(*gpu.compute_capability)),
        pci_bus_id=address,
        memory_bytes=gpu.memory_bytes,
        pcie_root=_pcie_root(host.read_link(PCI_DEVICES / address)),
        numa_node=_numa_node(host.read_text(PCI_DEVICES / address / "numa_node")),
        addressing_mode=None if mode is None else ADDRESSING_MODES.get(mode),
    )


def _pcie_root(link: str | None) -> str | None:
    """`../../../devices/pci0000:64/0000:64:01.0/0000:65:00.0` names its root after `devices/`."""
    found = re.search(r"(?:^|/)devices/(pci[0-9a-f]{4}:[0-9a-f]{2})(?:/|$)", link or "")
    return found.group(1) if found else None


def _numa_node(text: str | None) -> int | None:
    """-1 is the kernel's word for "no node", and such a device has no attribute."""
    return int(text) if text is not None and text.isdecimal() else None


def _cuda_version(number: int) -> str:
    return semantic_version(f"{number // 1000}.{number % 1000 // 10}")


def _left_out(reading: NodeReading) -> tuple[LeftOut, ...]:
    return tuple(
        LeftOut(f"GPU {gpu.index}", gpu.reason)
        if isinstance(gpu, UnreadableGpu)
        else LeftOut(f"gpu-{gpu.minor} ({gpu.name})", _why_not(gpu) or "")
        for gpu in reading.gpus
        if isinstance(gpu, UnreadableGpu) or _why_not(gpu)
    )


def _why_not(gpu: GpuReading) -> str | None:
    if gpu.name in _DISPLAY_ADAPTERS:
        return "it drives a display"
    if gpu.mig_enabled:
        return "MIG mode is on: a whole GPU cannot be handed out while it is partitioned"
    return None
