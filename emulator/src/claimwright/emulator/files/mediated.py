"""vGPU in sysfs: mediated devices (drivers/vfio/mdev), and the vendor-specific files of newer drivers."""

from __future__ import annotations

from collections.abc import Iterator

from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.parts import Part
from claimwright.emulator.files.pci_attributes import function_folder
from claimwright.emulator.files.tree import Acts, Dir, File, Link, Tree, knob, text, up_from
from claimwright.emulator.files.virtual_attributes import vfio_device, vfio_group
from claimwright.emulator.model import NodeState, PciAddress
from claimwright.emulator.model.bus import mediating
from claimwright.emulator.model.bus.mediated import MediatedDevice
from claimwright.emulator.model.vgpu import VgpuType

_DRIVER = "nvidia-vgpu-vfio"


def mediated_devices(state: NodeState, majors: Majors) -> Iterator[Part]:
    """Yield the parents of both frameworks, and the mediated devices that exist."""
    if not state.vgpu_manager:
        return
    for parent in mediating.mdev_parents(state):
        free = tuple(
            (kind, mediating.available(state, parent, kind)) for kind in mediating.types_at(state, parent)
        )
        made = tuple(each for each in state.mediated if each.parent == parent)
        facts = (parent, free, made)
        yield Part(("mdev parent", parent), facts, lambda facts=facts: _parent(state, *facts))  # type: ignore[misc]
    for device in state.mediated:
        yield Part(("mdev", device.uuid), device, lambda device=device: _device(state, device, majors))  # type: ignore[misc]
    if any(True for _ in mediating.mdev_parents(state)):
        yield Part("mdev bus", majors, _bus)
    for function in mediating.vendor_functions(state):
        types = mediating.creatable(state, function)
        current = mediating.assigned(state, function)
        shown = (
            types,
            None if current is None else (current.type_id, current.gpu_instance, current.placement),
        )
        yield Part(
            ("vendor vgpu", function),
            shown,
            lambda function=function, shown=shown: _vendor(state, function, *shown),  # type: ignore[misc]
        )


def _bus() -> Tree:
    folder = "sys/bus/mdev"
    return {
        f"{folder}/devices": Dir(),
        f"{folder}/drivers/{_DRIVER}": Dir(),
        **{
            f"{folder}/drivers/{_DRIVER}/{name}": knob(f"mdev_{name}", _DRIVER) for name in ("bind", "unbind")
        },
        "sys/class/mdev_bus": Dir(),
    }


def _parent(
    state: NodeState,
    parent: PciAddress,
    free: tuple[tuple[VgpuType, int], ...],
    made: tuple[MediatedDevice, ...],
) -> Tree:
    device = function_folder(state.function(parent))
    tree: Tree = {f"sys/class/mdev_bus/{parent}": Link(up_from("sys/class/mdev_bus", device))}
    for kind, available in free:
        folder = f"{device}/mdev_supported_types/nvidia-{kind.id}"
        tree |= {
            f"{folder}/name": text(f"GRID {kind.name}"),
            f"{folder}/description": text(kind.description),
            f"{folder}/available_instances": text(available),
            f"{folder}/device_api": text("vfio-pci"),
            f"{folder}/create": knob("mdev_create", f"{parent}/{kind.id}"),
            f"{folder}/devices": Dir(),
        }
        for each in made:
            if each.type_id == kind.id:
                tree[f"{folder}/devices/{each.uuid}"] = Link(f"../../../{each.uuid}")
    return tree


def _device(state: NodeState, device: MediatedDevice, majors: Majors) -> Tree:
    parent = function_folder(state.function(device.parent))
    folder = f"{parent}/{device.uuid}"
    driven = device.bound and device.leaving is None
    tree: Tree = {
        f"{folder}/mdev_type": Link(f"../mdev_supported_types/nvidia-{device.type_id}"),
        f"{folder}/remove": knob("mdev_remove", device.uuid),
        f"{folder}/subsystem": Link(up_from(folder, "sys/bus/mdev")),
        f"{folder}/uevent": File(
            f"DRIVER={_DRIVER}\n".encode() if driven else b"", 0o644, Acts("uevent", device.uuid)
        ),
        f"{folder}/nvidia/vgpu_params": text("", 0o644, Acts("vgpu_params", device.uuid)),
        f"sys/bus/mdev/devices/{device.uuid}": Link(up_from("sys/bus/mdev/devices", folder)),
    }
    if driven:
        driver = f"sys/bus/mdev/drivers/{_DRIVER}"
        tree[f"{folder}/driver"] = Link(up_from(folder, driver))
        tree[f"{driver}/{device.uuid}"] = Link(up_from(driver, folder))
    if device.iommu_group is not None:
        group = f"sys/kernel/iommu_groups/{device.iommu_group}"
        tree |= {
            f"{folder}/iommu_group": Link(up_from(folder, group)),
            f"{group}/devices/{device.uuid}": Link(up_from(f"{group}/devices", folder)),
            f"{group}/type": text("unknown"),
            **vfio_group(device.iommu_group, majors),
        }
    return tree | vfio_device(folder, device.vfio_device, device.leaving, majors)


def _vendor(
    state: NodeState,
    function: PciAddress,
    types: tuple[VgpuType, ...],
    current: tuple[int, int | None, int] | None,
) -> Tree:
    """Return the files of a virtual function (a listing of them is in cubecos#312)."""
    folder, name = f"{function_folder(state.function(function))}/nvidia", str(function)
    listed = "".join(f"{kind.id:<5} : NVIDIA {kind.name}\n" for kind in types)
    type_id, instance, placement = current or (0, None, None)
    return {
        f"{folder}/creatable_vgpu_types": File(f"ID    : vGPU Name\n{listed}".encode()),
        f"{folder}/current_vgpu_type": text(type_id, 0o644, Acts("current_vgpu_type", name)),
        f"{folder}/gpu_instance_id": text(_or_none(instance), 0o644, Acts("vgpu_setting", name)),
        f"{folder}/placement_id": text(_or_none(placement), 0o644, Acts("placement_id", name)),
        f"{folder}/vgpu_params": text("", 0o644, Acts("vgpu_params", name)),
        f"{folder}/warm_update": text(0, 0o644, Acts("vgpu_setting", name)),
    }


def _or_none(value: int | None) -> int:
    """Return a number, or all ones where there is none."""
    return 0xFFFFFFFF if value is None else value
