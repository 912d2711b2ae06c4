"""/sys/bus/pci, IOMMU groups and every function, in parts that change together."""

from __future__ import annotations

from collections.abc import Iterator

from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.parts import Part
from claimwright.emulator.files.pci_attributes import function_files, function_folder
from claimwright.emulator.files.tree import Acts, Dir, File, Link, Tree, knob, text, up_from
from claimwright.emulator.files.virtual_attributes import (
    physical_files,
    vfio_device,
    vfio_group,
    virtual_files,
)
from claimwright.emulator.model import NodeState, PciFunction
from claimwright.emulator.model.bus import DRIVERS, BusFunction, DriverSpec
from claimwright.emulator.model.bus.binding import is_loaded
from claimwright.emulator.model.bus.vfio import group_devices

_DEVICES = "sys/bus/pci/devices"


def functions(state: NodeState, majors: Majors) -> Iterator[Part]:
    """Yield one part per present function: its folder, and the links to it."""
    lost = {gpu.pci for gpu in state.gpus if gpu.lost}
    for function in state.present_functions:
        present = state.bus.functions[function.address]
        facts = (function, present, function.address in lost, majors)
        yield Part(
            ("function", function.address),
            facts,
            lambda function=function, present=present: _function(state, function, present, majors),  # type: ignore[misc]
        )


def bus(state: NodeState) -> Iterator[Part]:
    """Yield the bus's own files, its roots, and one part per registered driver."""
    roots = tuple(sorted({function.root for function in state.functions}))
    yield Part("bus", (roots, state.bus.autoprobe), lambda: _bus_files(roots, autoprobe=state.bus.autoprobe))
    if "vfio" in state.bus.modules:
        yield Part("vfio classes", None, _vfio_classes)
    for spec in DRIVERS.values():
        if is_loaded(state, spec):
            yield Part(("driver", spec.name), spec, lambda spec=spec: _driver_files(spec))  # type: ignore[misc]


def iommu_groups(state: NodeState, majors: Majors) -> Iterator[Part]:
    """Yield one part per IOMMU group."""
    folders = {function.address: function_folder(function) for function in state.present_functions}
    numbers = {present.iommu_group for present in state.bus.functions.values()} - {None}
    for number in sorted(each for each in numbers if each is not None):
        members = tuple(folders[address] for address in state.bus.group_members(number))
        facts = (number, members, bool(group_devices(state, number)), majors)
        yield Part(("group", number), facts, lambda facts=facts: _group(*facts))  # type: ignore[misc]


def _function(state: NodeState, function: PciFunction, present: BusFunction, majors: Majors) -> Tree:
    folder = function_folder(function)
    files = {
        **function_files(state, function),
        **physical_files(state, function, present),
        **virtual_files(state, function),
    }
    tree: Tree = {f"{folder}/{name}": entry for name, entry in files.items()}
    tree[f"{_DEVICES}/{function.address}"] = Link(up_from(_DEVICES, folder))
    if present.driver is not None and present.leaving is None:
        driver = f"sys/bus/pci/drivers/{present.driver}"
        tree[f"{driver}/{function.address}"] = Link(up_from(driver, folder))
    return tree | vfio_device(folder, present.vfio_device, present.leaving, majors)


def _bus_files(roots: tuple[str, ...], *, autoprobe: bool) -> Tree:
    return {
        **{f"sys/devices/{root}/uevent": File(b"", 0o644, Acts("uevent", root)) for root in roots},
        _DEVICES: Dir(),
        "sys/bus/pci/slots": Dir(),
        "sys/bus/pci/drivers_probe": knob("drivers_probe"),
        "sys/bus/pci/drivers_autoprobe": text(int(autoprobe), 0o644, Acts("drivers_autoprobe")),
        "sys/bus/pci/rescan": knob("bus_rescan"),
        "sys/bus/pci/uevent": knob("uevent", "pci"),
    }


def _vfio_classes() -> Tree:
    """Return the folders that the VFIO modules make before there is any device."""
    return {name: Dir() for name in ("sys/class/vfio", "sys/class/vfio-dev", "sys/devices/virtual/vfio")}


def _driver_files(spec: DriverSpec) -> Tree:
    folder = f"sys/bus/pci/drivers/{spec.name}"
    files: Tree = {
        f"{folder}/{name}": knob(name, spec.name)
        for name in ("bind", "unbind", "new_id", "remove_id", "uevent")
    }
    if spec.module:
        module = f"sys/module/{spec.module}"
        files[f"{folder}/module"] = Link(up_from(folder, module))
        files[f"{module}/drivers/pci:{spec.name}"] = Link(up_from(f"{module}/drivers", folder))
    return files


def _group(number: int, members: tuple[str, ...], on_vfio: bool, majors: Majors) -> Tree:
    group = f"sys/kernel/iommu_groups/{number}"
    tree: Tree = {
        f"{group}/type": text("DMA-FQ", 0o644, Acts("iommu_type", str(number))),
        f"{group}/reserved_regions": text("0x00000000fee00000 0x00000000feefffff msi"),
    }
    for member in members:
        name = member.rpartition("/")[2]
        tree[f"{group}/devices/{name}"] = Link(up_from(f"{group}/devices", member))
    return {**tree, **(vfio_group(number, majors) if on_vfio else {})}
