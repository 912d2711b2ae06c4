"""What sysfs says about one PCI function (Documentation/ABI/testing/sysfs-bus-pci, pci-sysfs.c)."""

from __future__ import annotations

import struct

from claimwright.emulator.files.tree import Acts, File, Link, Tree, knob, text, up_from
from claimwright.emulator.model import FunctionKind, NodeState, PciFunction
from claimwright.emulator.model.bus import BusFunction
from claimwright.emulator.model.cpus import cpu_list, cpu_mask, parse_cpu_list

_SPEEDS = {
    1: "2.5",
    2: "5.0",
    3: "8.0",
    4: "16.0",
    5: "32.0",
    6: "64.0",
    7: "128.0",
}  # GT/s by PCIe generation
_RESOURCES, _BRIDGE_RESOURCES = (
    13,
    17,
)  # six BARs, ROM, six SR-IOV windows; bridges add their own (resource_show)
_FIRST_WINDOW = 7
_CONFIG_BYTES = 4096
_PCIE_CAPABILITY = 0x40


def function_folder(function: PciFunction) -> str:
    """Return where a function's folder is, from the root."""
    return "/".join(("sys/devices", *function.path))


def function_files(state: NodeState, function: PciFunction) -> Tree:
    """Return the files of one function's folder, by name."""
    present = state.bus.functions[function.address]
    return {
        **_identity_files(function),
        **_placement_files(state, function, present),
        **_link_files(function),
        **_control_files(function, present),
        **_hotplug_files(function),
        **_links(function, present),
        "uevent": _uevent(function, present.driver),
        "config": File(_config(state, function), 0o644),
        "resource": File("".join(_resource_lines(function)).encode()),
        **{f"resource{bar.index}": File(b"", 0o600, size=bar.size_bytes) for bar in function.bars},
    }


def _identity_files(function: PciFunction) -> Tree:
    ids = function.identity
    return {
        "vendor": text(f"0x{ids.vendor:04x}"),
        "device": text(f"0x{ids.device:04x}"),
        "subsystem_vendor": text(f"0x{ids.subsystem_vendor:04x}"),
        "subsystem_device": text(f"0x{ids.subsystem_device:04x}"),
        "class": text(f"0x{ids.class_code:06x}"),
        "revision": text(f"0x{ids.revision:02x}"),
        "modalias": text(ids.modalias),
    }


def _placement_files(state: NodeState, function: PciFunction, present: BusFunction) -> Tree:
    every = {node.id: parse_cpu_list(node.cpus) for node in state.numa}
    cpus = every.get(present.numa_node, tuple(cpu for node in every.values() for cpu in node))
    possible = max((cpu for node in every.values() for cpu in node), default=0) + 1
    return {
        "numa_node": text(present.numa_node, 0o644, Acts("numa_node", str(function.address))),
        "local_cpus": text(cpu_mask(cpus, possible)),
        "local_cpulist": text(cpu_list(cpus)),
        "irq": text(function.irq),
    }


def _link_files(function: PciFunction) -> Tree:
    trained = function.trained_generation or function.link_generation
    return {
        "current_link_speed": text(f"{_SPEEDS[trained]} GT/s PCIe"),
        "max_link_speed": text(f"{_SPEEDS[function.link_generation]} GT/s PCIe"),
        "current_link_width": text(function.trained_width or function.link_width),
        "max_link_width": text(function.link_width),
    }


def _control_files(function: PciFunction, present: BusFunction) -> Tree:
    """Return the files that act; modes as in pci-sysfs.c."""
    name = str(function.address)

    def setting(store: str, value: object) -> File:
        return text(value, 0o644, Acts(store, name))

    files: Tree = {
        "enable": setting("enable", present.enable_count),
        "broken_parity_status": setting("broken_parity_status", int(present.broken_parity)),
        "d3cold_allowed": setting("d3cold_allowed", int(present.d3cold_allowed)),
        "msi_bus": setting("msi_bus", int(present.msi_allowed)),
        "driver_override": setting("driver_override", present.driver_override or "(null)"),
        "dma_mask_bits": text(64),
        "consistent_dma_mask_bits": text(64),
        "power_state": text("D0"),
        "ari_enabled": text(0),
    }
    if function.kind is not FunctionKind.BRIDGE:
        methods = " ".join(present.reset_methods)
        files["reset_method"] = File(
            f"{methods}\n".encode() if methods else b"", 0o644, Acts("reset_method", name)
        )
        files["reset"] = knob("reset", name)
    return files


def _hotplug_files(function: PciFunction) -> Tree:
    """Return what takes a function off the bus; virtual ones go by number only (pci_dev_hp_attrs_are_visible)."""
    if function.physical is not None:
        return {}
    name = str(function.address)
    return {"remove": knob("remove", name, 0o220), "rescan": knob("rescan", name)}


def _links(function: PciFunction, present: BusFunction) -> Tree:
    folder = function_folder(function)
    links: Tree = {"subsystem": Link(up_from(folder, "sys/bus/pci"))}
    if present.driver is not None and present.leaving is None:  # the link goes before remove() is called
        links["driver"] = Link(up_from(folder, f"sys/bus/pci/drivers/{present.driver}"))
    if present.iommu_group is not None:
        links["iommu_group"] = Link(up_from(folder, f"sys/kernel/iommu_groups/{present.iommu_group}"))
    return links


def _uevent(function: PciFunction, driver: str | None) -> File:
    ids = function.identity
    lines = [
        f"PCI_CLASS={ids.class_code:04X}",
        f"PCI_ID={ids.vendor:04X}:{ids.device:04X}",
        f"PCI_SUBSYS_ID={ids.subsystem_vendor:04X}:{ids.subsystem_device:04X}",
        f"PCI_SLOT_NAME={function.address}",
        f"MODALIAS={ids.modalias}",
    ]
    if driver is not None:
        lines.insert(0, f"DRIVER={driver}")
    content = "".join(f"{line}\n" for line in lines).encode()
    return File(content, 0o644, Acts("uevent", str(function.address)))


def _resource_lines(function: PciFunction) -> list[str]:
    ranges = {bar.index: (bar.start, bar.start + bar.size_bytes - 1, bar.flags) for bar in function.bars}
    if function.sriov is not None:
        for bar in function.sriov.bars:
            end = bar.start + bar.size_bytes * function.sriov.total - 1
            ranges[_FIRST_WINDOW + bar.index] = (bar.start, end, bar.flags)
    count = _BRIDGE_RESOURCES if function.secondary_bus is not None else _RESOURCES
    lines = (ranges.get(index, (0, 0, 0)) for index in range(count))
    return [f"0x{start:016x} 0x{end:016x} 0x{flags:016x}\n" for start, end, flags in lines]


def _config(state: NodeState, function: PciFunction) -> bytes:
    """Compose configuration space: the header and a PCI Express capability (PCIe base spec 7.5)."""
    if any(gpu.lost and gpu.pci == function.address for gpu in state.gpus):
        return b"\xff" * _CONFIG_BYTES  # what a read of a device that fell off the bus returns
    ids = function.identity
    space = bytearray(_CONFIG_BYTES)
    bridge = function.secondary_bus is not None
    virtual = (
        function.kind is FunctionKind.VIRTUAL
    )  # SR-IOV 9.3.4.1: a virtual function has no ids of its own
    vendor, device = (0xFFFF, 0xFFFF) if virtual else (ids.vendor, ids.device)
    struct.pack_into("<HHHH", space, 0x00, vendor, device, 0x0406, 0x0010)
    struct.pack_into("<I", space, 0x08, ids.class_code << 8 | ids.revision)
    space[0x0E] = 0x01 if bridge else 0x00
    if function.secondary_bus is not None:
        struct.pack_into(
            "BBB", space, 0x18, function.address.bus, function.secondary_bus, function.secondary_bus
        )
    else:
        struct.pack_into("<HH", space, 0x2C, ids.subsystem_vendor, ids.subsystem_device)
        for bar in function.bars:
            width = "<Q" if bar.flags & 0x00100000 else "<I"
            struct.pack_into(width, space, 0x10 + 4 * bar.index, bar.start | bar.flags & 0xF)
    space[0x34] = _PCIE_CAPABILITY
    port_type = 0x4 if bridge else 0x0
    struct.pack_into("<BBH", space, _PCIE_CAPABILITY, 0x10, 0x00, port_type << 4 | 0x2)
    struct.pack_into(
        "<I", space, _PCIE_CAPABILITY + 0x0C, function.link_width << 4 | function.link_generation
    )
    trained = function.trained_generation or function.link_generation
    lanes = function.trained_width or function.link_width
    struct.pack_into("<H", space, _PCIE_CAPABILITY + 0x12, lanes << 4 | trained)
    return bytes(space)
