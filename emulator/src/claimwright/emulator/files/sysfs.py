"""What /sys says about a node: the subjects that it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from claimwright.emulator.files import mediated, modules, numa, pci_bus
from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.parts import Part, Subject
from claimwright.emulator.files.pci_attributes import function_folder
from claimwright.emulator.files.tree import File, Link, Tree, text, up_from
from claimwright.emulator.files.vpd import vpd
from claimwright.emulator.model import Nic, NodeState


def emulated_devices(majors: Majors) -> tuple[Subject, ...]:
    """Return what a node adds to a machine's /sys: nothing here replaces what the machine has."""
    return (
        partial(pci_bus.functions, majors=majors),
        pci_bus.bus,
        partial(pci_bus.iommu_groups, majors=majors),
        partial(mediated.mediated_devices, majors=majors),
        modules.modules,
        _rdma,
    )


def machine() -> tuple[Subject, ...]:
    """Return the machine around the devices: NUMA nodes, processors, firmware."""
    return (numa.numa, numa.cpus, numa.dmi)


def _rdma(state: NodeState) -> Iterator[Part]:
    for nic in state.nics:
        if state.bus.driver_of(nic.pci) == "mlx5_core" and "mlx5_ib" in state.bus.modules:
            yield Part(("rdma", nic.name), nic, lambda nic=nic: _adapter(state, nic))  # type: ignore[misc]


def _adapter(state: NodeState, nic: Nic) -> Tree:
    device = function_folder(state.function(nic.pci))
    folder = f"{device}/infiniband/{nic.name}"
    product = {f"{device}/vpd": File(vpd(nic.model, "SW_MNG"), 0o600)} if nic.manages_nvlink else {}
    return {
        **product,
        f"{folder}/device": Link(up_from(folder, device)),
        f"{folder}/node_guid": text(nic.guid),
        f"{folder}/node_type": text("1: CA"),
        f"{folder}/ports/1/link_layer": text("InfiniBand" if nic.link_layer == "infiniband" else "Ethernet"),
        f"{folder}/ports/1/state": text("4: ACTIVE"),
        f"{folder}/ports/1/rate": text("400 Gb/sec (4X NDR)"),
        f"sys/class/infiniband/{nic.name}": Link(up_from("sys/class/infiniband", folder)),
    }
