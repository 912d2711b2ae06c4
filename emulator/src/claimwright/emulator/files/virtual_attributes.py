"""SR-IOV and VFIO in sysfs: what a physical function, its virtual ones, and devices on vfio drivers show."""

from __future__ import annotations

from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.pci_attributes import function_folder
from claimwright.emulator.files.tree import Acts, File, Link, Tree, knob, text, up_from
from claimwright.emulator.model import NodeState, PciFunction
from claimwright.emulator.model.bus import BusFunction
from claimwright.emulator.model.bus.values import Leaving
from claimwright.emulator.model.bus.virtual_functions import virtual_functions_of


def physical_files(state: NodeState, function: PciFunction, present: BusFunction) -> Tree:
    """Return the sriov_* files of a physical function and its virtfn links (drivers/pci/iov.c)."""
    sriov = function.sriov
    if sriov is None:
        return {}
    name, folder = str(function.address), function_folder(function)
    files: Tree = {
        "sriov_totalvfs": text(sriov.total),
        "sriov_numvfs": text(present.virtual_functions, 0o644, Acts("sriov_numvfs", name)),
        "sriov_offset": text(sriov.offset),
        "sriov_stride": text(sriov.stride),
        "sriov_vf_device": text(f"{sriov.device:x}"),
        "sriov_drivers_autoprobe": text(
            int(present.virtual_autoprobe), 0o644, Acts("sriov_drivers_autoprobe", name)
        ),
        "sriov_vf_total_msix": text(0),
    }
    for index, address in enumerate(virtual_functions_of(state, function.address)):
        if address in state.bus.functions:
            files[f"virtfn{index}"] = Link(up_from(folder, function_folder(state.function(address))))
    return files


def virtual_files(state: NodeState, function: PciFunction) -> Tree:
    """Return what only a virtual function has."""
    if function.physical is None:
        return {}
    owner = function_folder(state.function(function.physical))
    return {
        "physfn": Link(up_from(function_folder(function), owner)),
        "sriov_vf_msix_count": knob("sriov_vf_msix_count", str(function.address)),
    }


def vfio_device(owner: str, number: int | None, leaving: Leaving | None, majors: Majors) -> Tree:
    """Return the VFIO character device of what has its folder at `owner`, by path from the root.

    Empty off a VFIO driver, and as soon as that is asked to let go (vfio_unregister_group_dev).
    """
    if number is None or leaving is not None:
        return {}
    name = f"vfio{number}"
    folder = f"{owner}/vfio-dev/{name}"
    event = f"MAJOR={majors.vfio_devices}\nMINOR={number}\nDEVNAME=vfio/devices/{name}\n"
    return {
        f"{folder}/dev": text(f"{majors.vfio_devices}:{number}"),
        f"{folder}/device": Link(up_from(folder, owner)),
        f"{folder}/subsystem": Link(up_from(folder, "sys/class/vfio-dev")),
        f"{folder}/uevent": File(event.encode(), 0o644, Acts("uevent", name)),
        f"sys/class/vfio-dev/{name}": Link(up_from("sys/class/vfio-dev", folder)),
    }


def vfio_group(group: int, majors: Majors) -> Tree:
    """Return the class device of a group that user space can open."""
    folder = f"sys/devices/virtual/vfio/{group}"
    event = f"MAJOR={majors.vfio_groups}\nMINOR={group}\nDEVNAME=vfio/{group}\n"
    return {
        f"{folder}/dev": text(f"{majors.vfio_groups}:{group}"),
        f"{folder}/subsystem": Link(up_from(folder, "sys/class/vfio")),
        f"{folder}/uevent": File(event.encode(), 0o644, Acts("uevent", str(group))),
        f"sys/class/vfio/{group}": Link(up_from("sys/class/vfio", folder)),
    }
