"""The lab's machine: an emulated IOMMU, two NUMA nodes, and the PCI devices that the table's symbols stand for.

`edu` is QEMU's teaching device (1234:11e8): a plain endpoint that no driver of the kernel claims by itself. Behind a
root port of its own it is alone in its IOMMU group; two functions of one device share a group, having no ACS. SR-IOV
comes with `nvme` (1b36:0010, its virtual functions as well), for which the lab's kernel has no driver of its own.
"""

from __future__ import annotations

EDU = ("0x1234", "0x11e8")
PHYSICAL = ("0x1b36", "0x0010")
TOTAL_VFS = 4
NUMA_NODE = 1
MEMORY_MIB = 1024


def machine() -> list[str]:
    """Return QEMU's arguments for processor, memory and devices."""
    return [*_board(), *_plain(), *_pair(), *_physical_function(), *_far_device()]


def _board() -> list[str]:
    half = MEMORY_MIB // 2
    return [
        "-machine", "q35,accel=tcg,kernel-irqchip=split", "-cpu", "max", "-smp", "2", "-m", str(MEMORY_MIB),
        "-object", f"memory-backend-ram,id=near,size={half}M", "-numa", "node,nodeid=0,cpus=0,memdev=near",
        "-object", f"memory-backend-ram,id=far,size={half}M", "-numa", f"node,nodeid={NUMA_NODE},cpus=1,memdev=far",
        "-numa", f"dist,src=0,dst={NUMA_NODE},val=21",
        # Before every other device: QEMU gives later ones their place behind it.
        "-device", "intel-iommu,intremap=on,caching-mode=on",
    ]  # fmt: skip


def _plain() -> list[str]:
    return [*_port("plain", "pcie.0", 1), "-device", "edu,bus=plain"]


def _pair() -> list[str]:
    # Both headers say that there are several functions, as those of real GPUs and their sound functions do: the kernel
    # looks there for the group of one that it finds anew.
    return [
        *_port("pair", "pcie.0", 2),
        *(part for number in (0, 1) for part in ("-device", f"edu,bus=pair,addr=00.{number},multifunction=on")),
    ]  # fmt: skip


def _physical_function() -> list[str]:
    # SR-IOV in QEMU's nvme wants a subsystem and flexible resources for its secondary controllers.
    numbers = f"sriov_max_vfs={TOTAL_VFS},sriov_vq_flexible={2 * TOTAL_VFS},sriov_vi_flexible={2 * TOTAL_VFS}"
    return [
        *_port("physical", "pcie.0", 3),
        "-device", "nvme-subsys,id=subsystem",
        "-device", f"nvme,serial=lab,subsys=subsystem,bus=physical,{numbers},max_ioqpairs=10,msix_qsize=10",
    ]  # fmt: skip


def _far_device() -> list[str]:
    # A second host bridge, on the second NUMA node.
    return [
        "-device", f"pxb-pcie,id=far-bridge,bus_nr=32,numa_node={NUMA_NODE},bus=pcie.0",
        *_port("distant", "far-bridge", 4),
        "-device", "edu,bus=distant",
    ]  # fmt: skip


def _port(name: str, bus: str, number: int) -> list[str]:
    return ["-device", f"pcie-root-port,id={name},bus={bus},chassis={number},slot={number}"]
