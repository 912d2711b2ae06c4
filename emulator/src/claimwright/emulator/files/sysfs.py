"""What /sys says about a node: PCI devices and drivers, IOMMU groups, modules, RDMA, NUMA and CPUs."""

from __future__ import annotations

from collections.abc import Iterator

from claimwright.emulator.files.pci_attributes import function_files, function_folder
from claimwright.emulator.files.tree import Dir, File, Link, Tree, text, up_from
from claimwright.emulator.files.vpd import vpd
from claimwright.emulator.model import NodeState
from claimwright.emulator.model.cpus import cpu_list, cpu_mask, parse_cpu_list

_MODULES = {"nvidia": 54, "nvidia_uvm": 2, "nvidia_modeset": 1}  # and their reference counts
_DRIVER_MODULE = {"nvidia": "nvidia", "nvidia-nvswitch": "nvidia", "mlx5_core": "mlx5_core"}
_WRITE_ONLY = 0o200


def emulated_devices(state: NodeState) -> Tree:
    """Return what a node adds to a machine's /sys: nothing here replaces what the machine has."""
    return {
        **_functions(state),
        **_drivers(state),
        **_iommu_groups(state),
        **_modules(state),
        **_rdma(state),
    }


def whole(state: NodeState) -> Tree:
    """Return a /sys that stands alone: the emulated devices and the machine around them."""
    return {**emulated_devices(state), **_numa(state), **_cpus(state), **_dmi(state)}


def _functions(state: NodeState) -> Tree:
    tree: Tree = {}
    for function in state.present_functions:
        folder = function_folder(function)
        for name, entry in function_files(state, function).items():
            tree[f"{folder}/{name}"] = entry
        root = f"sys/devices/{function.root}"
        tree[f"{root}/uevent"] = File(b"", 0o644)
        tree[f"sys/bus/pci/devices/{function.address}"] = Link(up_from("sys/bus/pci/devices", folder))
    return tree


def _drivers(state: NodeState) -> Tree:
    tree: Tree = {}
    for function in state.present_functions:
        driver = state.bus.driver_of(function.address)
        if driver is not None:
            folder = f"sys/bus/pci/drivers/{driver}"
            tree.update(_driver_files(driver, folder))
            tree[f"{folder}/{function.address}"] = Link(up_from(folder, function_folder(function)))
    tree.update(_driver_files("nvidia", "sys/bus/pci/drivers/nvidia"))
    return tree


def _driver_files(driver: str, folder: str) -> Tree:
    files: Tree = {
        f"{folder}/{name}": File(b"", _WRITE_ONLY)
        for name in ("bind", "unbind", "new_id", "remove_id", "uevent")
    }
    if module := _DRIVER_MODULE.get(driver):
        files[f"{folder}/module"] = Link(up_from(folder, f"sys/module/{module}"))
    return files


def _iommu_groups(state: NodeState) -> Tree:
    tree: Tree = {}
    for function in state.present_functions:
        number = state.bus.functions[function.address].iommu_group
        if number is None:
            continue
        group = f"sys/kernel/iommu_groups/{number}"
        devices = f"{group}/devices"
        tree[f"{devices}/{function.address}"] = Link(up_from(devices, function_folder(function)))
        tree[f"{group}/type"] = text("DMA-FQ", 0o644)
        tree[f"{group}/reserved_regions"] = text("0x00000000fee00000 0x00000000feefffff msi")
    return tree


def _modules(state: NodeState) -> Tree:
    tree: Tree = {}
    for module, references in _MODULES.items():
        folder = f"sys/module/{module}"
        tree[f"{folder}/version"] = text(state.driver_version)
        tree[f"{folder}/refcnt"] = text(references)
        tree[f"{folder}/initstate"] = text("live")
        tree[f"{folder}/parameters"] = Dir()
    drivers = "sys/module/nvidia/drivers"
    for driver in {"nvidia", *(present.driver for present in state.bus.functions.values())} - {None}:
        if driver is not None and _DRIVER_MODULE.get(driver) == "nvidia":
            tree[f"{drivers}/pci:{driver}"] = Link(up_from(drivers, f"sys/bus/pci/drivers/{driver}"))
    if state.nics:
        tree["sys/module/mlx5_core/refcnt"] = text(1)
        tree["sys/module/mlx5_core/initstate"] = text("live")
    return tree


def _rdma(state: NodeState) -> Tree:
    tree: Tree = {}
    for nic in state.nics:
        device = function_folder(state.function(nic.pci))
        folder = f"{device}/infiniband/{nic.name}"
        layer = "InfiniBand" if nic.link_layer == "infiniband" else "Ethernet"
        tree[f"{folder}/device"] = Link(up_from(folder, device))
        if nic.manages_nvlink:
            tree[f"{device}/vpd"] = File(vpd(nic.model, "SW_MNG"), 0o600)
        tree[f"{folder}/node_guid"] = text(nic.guid)
        tree[f"{folder}/node_type"] = text("1: CA")
        tree[f"{folder}/ports/1/link_layer"] = text(layer)
        tree[f"{folder}/ports/1/state"] = text("4: ACTIVE")
        tree[f"{folder}/ports/1/rate"] = text("400 Gb/sec (4X NDR)")
        tree[f"sys/class/infiniband/{nic.name}"] = Link(up_from("sys/class/infiniband", folder))
    return tree


def _numa(state: NodeState) -> Tree:
    every = cpu_list(node.id for node in state.numa)
    tree: Tree = {
        f"sys/devices/system/node/{name}": text(every)
        for name in ("online", "possible", "has_memory", "has_normal_memory")
    }
    tree["sys/devices/system/node/has_cpu"] = text(cpu_list(node.id for node in state.numa if node.cpus))
    for node in state.numa:
        folder = f"sys/devices/system/node/node{node.id}"
        cpus = parse_cpu_list(node.cpus)
        kilobytes = node.memory_mib * 1024
        tree[f"{folder}/cpulist"] = text(cpu_list(cpus))
        tree[f"{folder}/cpumap"] = text(cpu_mask(cpus, _cpu_count(state)))
        tree[f"{folder}/distance"] = text(" ".join(str(distance) for distance in node.distances))
        lines = (f"Node {node.id} {label}: {kilobytes:14d} kB\n" for label in ("MemTotal", "MemFree"))
        tree[f"{folder}/meminfo"] = File("".join(lines).encode())
        for size in (2048, 1048576):
            for name in ("nr_hugepages", "free_hugepages", "surplus_hugepages"):
                tree[f"{folder}/hugepages/hugepages-{size}kB/{name}"] = text(0, 0o644)
    return tree


def _cpus(state: NodeState) -> Tree:
    every = cpu_list(cpu for node in state.numa for cpu in parse_cpu_list(node.cpus))
    tree: Tree = {f"sys/devices/system/cpu/{name}": text(every) for name in ("online", "possible", "present")}
    for node in state.numa:
        for cpu, siblings in _siblings(parse_cpu_list(node.cpus)):
            folder = f"sys/devices/system/cpu/cpu{cpu}/topology"
            tree[f"{folder}/physical_package_id"] = text(node.socket)
            tree[f"{folder}/core_id"] = text(siblings[0])
            tree[f"{folder}/thread_siblings_list"] = text(cpu_list(siblings))
    return tree


def _siblings(cpus: tuple[int, ...]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Pair the first half of a node's CPUs with the second half: how firmware numbers hardware threads."""
    half = len(cpus) // 2
    for position, cpu in enumerate(cpus):
        if half and len(cpus) % 2 == 0:
            yield cpu, (cpus[position % half], cpus[position % half + half])
        else:
            yield cpu, (cpu,)


def _cpu_count(state: NodeState) -> int:
    return max((cpu for node in state.numa for cpu in parse_cpu_list(node.cpus)), default=0) + 1


def _dmi(state: NodeState) -> Tree:
    folder = "sys/devices/virtual/dmi/id"
    return {
        f"{folder}/product_name": text(state.machine.product),
        f"{folder}/sys_vendor": text(state.machine.vendor),
        "sys/class/dmi/id": Link(up_from("sys/class/dmi", folder)),
    }
