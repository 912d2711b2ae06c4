"""Passthrough: what is offered of a GPU, what excludes what, and what a virtual machine's container gets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from claimwright.dra.claims import Claim
from claimwright.dra.slices import Device, plan_slices
from claimwright.driver.edits.vfio_node import VfioNode, vfio_node
from claimwright.driver.entries import Entry
from claimwright.driver.errors import ClaimRefused, StepFailed
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import Inventory, discover, keep_known, read_function
from claimwright.driver.planning import Planner
from claimwright.driver.ports import ComputeInstance, MigReading, Partition, Placement
from claimwright.driver.publishing import pool_of
from claimwright.driver.repertoire import recipes
from claimwright.driver.stock import Stock
from claimwright.driver.testing import MemoryNvml, MemoryPciBus, allocated_gpus, gpu_reading, h100_profiles

GATES = "PassthroughSupport=true,DynamicMIG=true"
FIRST, SECOND = "0000:1b:00.0", "0000:43:00.0"
FOREIGN = Partition(7, 9, Placement(4, 4), (ComputeInstance(0, "MIG-0001"),))
GOLDEN = {
    "name": "gpu-vfio-0",
    "attributes": {
        "type": {"string": "vfio"},
        "uuid": {"string": "90d1ede6-4660-56ab-bea3-b9875fe7e5eb"},
        "productName": {"string": "GH100 [H100 SXM5 80GB]"},
        "deviceID": {"string": "0x2330"},
        "vendorID": {"string": "0x10de"},
        "iommuFDEnabled": {"bool": True},
        "resource.kubernetes.io/pciBusID": {"string": FIRST},
        "resource.kubernetes.io/pcieRoot": {"string": "pci0000:64"},
        "resource.kubernetes.io/numaNode": {"int": 0},
    },
    "capacity": {"addressableMemory": {"value": "256Gi"}},
}


def bus(**changes: Any) -> MemoryPciBus:
    made = MemoryPciBus()
    made.add(FIRST, **{"group": 7, **changes})
    made.add(SECOND, group=8)
    return made


def seen(host: MemoryPciBus, **reading: Any) -> Inventory:
    """Read a node whose NVML sees what NVIDIA's driver holds."""
    mig = MigReading(enabled=False, pending=False, profiles=h100_profiles())
    gpus = [
        gpu_reading(minor, **{"mig": mig, **reading})
        for minor, address in enumerate((FIRST, SECOND))
        if host.driver(address) == "nvidia"
    ]
    return discover(MemoryNvml(gpus), host)


def stock(inventory: Inventory, gates: str = GATES) -> Stock:
    return Stock(recipes(FeatureGates.parse(gates)), inventory)


def offered(host: MemoryPciBus, gates: str = GATES, **reading: Any) -> dict[str, Device]:
    return {name: offer.device for name, offer in stock(seen(host, **reading), gates).offers.items()}


def _remove(host: MemoryPciBus, name: str) -> None:
    for path in [path for path in host.links if name in str(path)]:
        del host.links[path]


def _without_module(host: MemoryPciBus) -> None:
    host.files[PurePosixPath("/proc/sys/kernel/osrelease")] = "6.12.0"
    host.files[PurePosixPath("/lib/modules/6.12.0/modules.dep")] = "kernel/drivers/net/mlx5.ko:\n"
    for name in ("bind", "unbind"):
        del host.files[PurePosixPath("/sys/bus/pci/drivers/vfio-pci") / name]


@pytest.mark.capability("000-04")
def test_a_gpu_is_published_with_the_attributes_of_the_community_driver() -> None:
    device = offered(bus())["gpu-vfio-0"].to_object()

    consumed = device.pop("consumesCounters")
    assert device == GOLDEN
    assert [item["counterSet"] for item in consumed] == ["gpu-0-counter-set"]


def test_without_the_gate_nothing_is_passed_through() -> None:
    assert not [name for name in offered(bus(), "DynamicMIG=true") if "vfio" in name]


@pytest.mark.parametrize("gates", [GATES, "PassthroughSupport=true"])
@pytest.mark.parametrize("capable", [True, False], ids=["a GPU that can be cut", "a GPU that cannot"])
def test_the_scheduler_can_give_one_form_of_a_gpu_only(gates: str, capable: bool) -> None:
    found = stock(seen(bus(), **({} if capable else {"mig": None})), gates)
    (counters,) = (each.counters for each in found.counter_sets() if each.name == "gpu-0-counter-set")

    for name in ("gpu-0", "gpu-vfio-0"):
        (taken,) = found.offers[name].device.consumes_counters
        assert taken.counters == counters, "all of it, so that nothing else fits"


def test_the_pool_with_every_form_of_every_gpu_fits_into_slices() -> None:
    slices = plan_slices("gpu.nvidia.com", pool_of("n", stock(seen(bus()))), 1)

    published = [device["name"] for each in slices for device in each["spec"].get("devices", ())]
    assert {"gpu-0", "gpu-1", "gpu-vfio-0", "gpu-vfio-1", "gpu-0-mig-1g10gb-19-0"} <= set(published)


def test_a_gpu_that_nvml_does_not_see_is_still_offered_to_virtual_machines() -> None:
    host = bus(driver="vfio-pci")

    devices = offered(host)

    assert "gpu-0" not in devices
    assert devices["gpu-vfio-0"].attributes["resource.kubernetes.io/pciBusID"] == FIRST
    assert devices["gpu-vfio-0"].consumes_counters == ()


def test_a_gpu_with_somebody_elses_partitions_is_not_taken_from_them() -> None:
    cut = MigReading(enabled=True, pending=True, profiles=h100_profiles(), partitions=(FOREIGN,))
    found = stock(seen(bus(), mig=cut))

    assert not [name for name in found.offers if "vfio" in name]
    assert "partitions that this driver did not make" in found.withheld()[0].reason


@pytest.mark.capability("001-08")
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda host: _remove(host, "iommu_group"), "IOMMU is not enabled in the kernel"),
        (
            lambda host: host.links.pop(PurePosixPath(f"/sys/bus/pci/devices/{FIRST}/iommu_group")),
            "in no IOMMU group",
        ),
        (
            lambda host: host.add("0000:44:00.0", driver="nvme", class_code=0x010802),
            r"0000:44:00.0 (driver nvme)",
        ),
        (_without_module, "has no module vfio_pci"),
    ],
    ids=["no IOMMU", "no group", "a stranger in the group", "no module"],
)
def test_what_a_node_cannot_pass_through_is_withheld_with_its_reason(spoil: Any, reason: str) -> None:
    host = bus()
    spoil(host)
    found = stock(seen(host))

    told = {each.name: each.reason for each in found.withheld()}

    assert "gpu-vfio-0" not in found.offers
    assert "gpu-0" in found.offers, "other forms of it are served"
    assert reason in told[f"gpu-vfio-0 ({FIRST})"]


def test_virtual_functions_and_other_devices_are_no_gpus_of_their_own() -> None:
    host = bus()
    host.add("0000:43:00.4", group=9)
    host.links[PurePosixPath("/sys/bus/pci/devices/0000:43:00.4/physfn")] = f"../{SECOND}"
    host.add("0000:43:00.1", group=8, class_code=0x040300, driver="snd_hda_intel")
    host.add("0000:50:00.0", group=10, vendor=0x15B3, class_code=0x020700)

    assert [name for name in offered(host) if "vfio" in name] == ["gpu-vfio-0", "gpu-vfio-1"]


PCI_IDS = """\
# a comment
10dd  Enertech
\t2684  Something else
10de  NVIDIA Corporation
\t2684  AD102 [GeForce RTX 4090]
\t\t1462 5103  RTX 4090 SUPRIM
10df  Emulex
\t2bff  Not a GPU
"""


@pytest.mark.parametrize(
    ("device", "name"),
    [(0x2331, "GH100 [H100 PCIe]"), (0x2684, "AD102 [GeForce RTX 4090]"), (0x2BFF, "UNKNOWN_DEVICE")],
)
def test_a_product_is_called_as_the_pci_bus_calls_it_whether_nvml_sees_it_or_not(
    device: int, name: str
) -> None:
    for driver in ("nvidia", "vfio-pci"):
        host = bus(device=device, driver=driver)
        host.files[PurePosixPath("/usr/share/misc/pci.ids")] = PCI_IDS

        assert offered(host)["gpu-vfio-0"].attributes["productName"] == name


def test_only_memory_with_64_bit_addresses_counts_as_addressable() -> None:
    host = bus(bars=(3 << 30,))
    resource = PurePosixPath(f"/sys/bus/pci/devices/{FIRST}/resource")
    host.files[resource] += "0x00000000fb000000 0x00000000fbffffff 0x0000000000040200\nrubbish\n"

    assert offered(host)["gpu-vfio-0"].capacity["addressableMemory"].value == 4 << 30


def test_rubbish_in_sysfs_makes_no_device_and_no_failure() -> None:
    host = bus()
    host.files[PurePosixPath(f"/sys/bus/pci/devices/{FIRST}/vendor")] = "0xZZ\n"

    assert [name for name in offered(host) if "vfio" in name] == ["gpu-vfio-0"]
    assert read_function(host, "0000:99:00.0") is None


def test_a_gpu_that_a_claim_took_stays_in_stock_and_one_that_is_given_away_does_not() -> None:
    host = bus()
    before = seen(host)
    _bind(host, FIRST)
    _bind(host, SECOND)
    now = seen(host)

    kept = keep_known(now, before, host, {FIRST})

    assert [gpu.pci_bus_id for gpu in kept.gpus] == [FIRST]
    assert not kept.gpus[0].lost


def test_a_gpu_that_comes_back_while_nvml_is_read_does_not_flicker() -> None:
    host = bus()
    before = seen(host)
    now = replace(before, gpus=before.gpus[1:])

    assert keep_known(now, before, host, {FIRST}).gpus == before.gpus


def test_a_gpu_that_the_driver_has_and_nvml_does_not_list_stays_and_says_so() -> None:
    host = bus()
    before = seen(host)
    now = replace(before, gpus=before.gpus[1:])

    kept = keep_known(now, before, host).gpus

    assert [gpu.pci_bus_id for gpu in kept] == [gpu.pci_bus_id for gpu in before.gpus]
    assert "NVML does not list it" in kept[0].unreadable
    assert kept[1:] == before.gpus[1:]


def _bind(host: MemoryPciBus, address: str) -> None:
    for path, text in (
        ("/sys/bus/pci/drivers/nvidia/unbind", address),
        (f"/sys/bus/pci/devices/{address}/driver_override", "vfio-pci"),
        ("/sys/bus/pci/drivers/vfio-pci/bind", address),
    ):
        host.write_text(PurePosixPath(path), text)


def planned(
    host: MemoryPciBus, devices: Sequence[str], config: Sequence[Mapping[str, Any]] = (), **result: object
) -> Entry:
    gates = FeatureGates.parse(GATES)
    item = allocated_gpus("vm", devices, pool="n", config=config, **result)
    item["metadata"]["uid"] = "uid-1"
    return Planner("gpu.nvidia.com", "n", stock(seen(host)), gates).plan(Claim.from_object(item))


def vfio_config(*requests: str, **iommu: Any) -> dict[str, Any]:
    parameters = {"apiVersion": "resource.nvidia.com/v1beta1", "kind": "VfioDeviceConfig", "iommu": iommu}
    opaque = {"driver": "gpu.nvidia.com", "parameters": parameters}
    return {"source": "FromClaim", "requests": list(requests), "opaque": opaque}


@pytest.mark.capability("001-11")
@pytest.mark.capability("001-12")
@pytest.mark.parametrize(
    ("iommu", "iommufd", "nodes"),
    [
        ({}, True, ["/dev/vfio/7"]),
        ({"backendPolicy": "LegacyOnly", "enableAPIDevice": True}, True, ["/dev/vfio/vfio", "/dev/vfio/7"]),
        ({"backendPolicy": "PreferIommuFD"}, True, ["/dev/vfio/devices/vfio0"]),
        (
            {"backendPolicy": "PreferIommuFD", "enableAPIDevice": True},
            True,
            ["/dev/iommu", "/dev/vfio/devices/vfio0"],
        ),
        (
            {"backendPolicy": "PreferIommuFD", "enableAPIDevice": True},
            False,
            ["/dev/vfio/vfio", "/dev/vfio/7"],
        ),
    ],
)
def test_a_virtual_machine_gets_the_nodes_of_the_interface_it_asked_for(
    iommu: dict[str, Any], iommufd: bool, nodes: list[str]
) -> None:
    host = bus()
    if not iommufd:
        del host.devices[PurePosixPath("/dev/iommu")]
    plan = planned(host, ["gpu-vfio-0"], [vfio_config(**iommu)] if iommu else [])
    _bind(host, FIRST)
    ((_, calls),) = plan.steps[-1].arguments["devices"]

    (edits,) = (VfioNode(host)(call) for call in json.loads(json.dumps(calls)))

    assert [node.path for node in edits.device_nodes] == nodes
    assert all(node.type == "c" and node.major and node.minor is not None for node in edits.device_nodes)
    assert edits.env == ("NVIDIA_VISIBLE_DEVICES=void",)
    assert plan.steps[-1].arguments["edits"] == []


def test_two_configs_in_one_claim_give_each_request_its_own() -> None:
    host = bus()
    plan = planned(
        host,
        ["gpu-vfio-0", "gpu-vfio-1"],
        [vfio_config("gpu-0"), vfio_config("gpu-1", backendPolicy="PreferIommuFD", enableAPIDevice=True)],
    )
    for address in (FIRST, SECOND):
        _bind(host, address)
    made = [
        [node.path for call in calls for node in VfioNode(host)(call).device_nodes]
        for _, calls in plan.steps[-1].arguments["devices"]
    ]

    assert made == [["/dev/vfio/7"], ["/dev/iommu", "/dev/vfio/devices/vfio1"]]
    assert [step.arguments.get("gpu") for step in plan.steps[:-1]] == [FIRST, FIRST, SECOND, SECOND]


def test_the_metadata_says_where_the_gpu_is_and_nothing_of_mediated_devices() -> None:
    (held,) = planned(bus(), ["gpu-vfio-0"]).devices

    assert held.metadata == {
        "resource.kubernetes.io/pciBusID": FIRST,
        "resource.kubernetes.io/pcieRoot": "pci0000:64",
        "resource.kubernetes.io/numaNode": 0,
    }
    assert (held.kind, held.hardware, held.parts) == ("vfio", FIRST, frozenset())


def test_who_only_looks_on_does_not_take_the_gpu_from_its_owner() -> None:
    with pytest.raises(ClaimRefused, match="request gpu-0: admin access to gpu-vfio-0 would take the GPU"):
        planned(bus(), ["gpu-vfio-0"], adminAccess=True)


@pytest.mark.parametrize(
    ("others", "excluded"),
    [(["gpu-0"], True), (["gpu-0-mig-1g10gb-19-0"], True), (["gpu-1"], False), (["gpu-vfio-1"], False)],
)
def test_a_gpu_in_a_virtual_machine_is_in_nothing_else(others: list[str], excluded: bool) -> None:
    host = bus()
    plan, other = planned(host, ["gpu-vfio-0"]), planned(host, others)

    assert (plan.conflict(other) is not None) is excluded


def test_a_node_that_is_missing_fails_the_claim_and_not_the_virtual_machine() -> None:
    with pytest.raises(StepFailed, match=r"/dev/vfio/7 of GPU 0000:1b:00.0 does not exist"):
        VfioNode(bus())(vfio_node(FIRST, prefer_iommufd=False, api_device=False))
