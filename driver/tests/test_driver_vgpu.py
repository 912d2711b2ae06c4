"""vGPUs: what is offered of a GPU, which virtual function a claim gets, and what is of others stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.dra.claims import ClaimReference, ClaimUid, DeviceResult
from claimwright.dra.slices import plan_slices
from claimwright.driver.configs import VgpuDeviceConfig, decode
from claimwright.driver.configs.decoding import SomeConfig
from claimwright.driver.edits.vgpu_node import VgpuNode, vgpu_node
from claimwright.driver.entries import Entry, HeldDevice
from claimwright.driver.errors import ClaimRefused, StepFailed, StepRefused
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.free_functions import FreeFunctions
from claimwright.driver.holdings import Holdings
from claimwright.driver.inventory import Gpu, discover, keep_known
from claimwright.driver.inventory.vgpus import MDEV_DEVICES, virtual_functions
from claimwright.driver.ports import (
    ComputeInstance,
    MigReading,
    Partition,
    Placement,
    RunningVgpu,
    VgpuReading,
)
from claimwright.driver.proposals import propose
from claimwright.driver.publishing import pool_of
from claimwright.driver.recipes.recipe import Preparation, Wanted
from claimwright.driver.repertoire import recipes
from claimwright.driver.steps import Probe, Step
from claimwright.driver.stock import Stock
from claimwright.driver.testing import (
    HandClock,
    MemoryHost,
    MemoryNvml,
    MemoryUsage,
    MemoryVgpus,
    gpu_reading,
    h100_profiles,
    hgx_h100_host,
    vgpu_types,
)
from claimwright.driver.tools.device_users import DeviceUsers
from claimwright.driver.tools.mdev import MdevTool, mdev, mdev_uuid
from claimwright.driver.tools.sriov_functions import SriovFunctionsTool, sriov_functions
from claimwright.driver.tools.vgpu_type import VgpuTypeTool, vgpu_type
from claimwright.driver.tools.vgpu_users import VgpuUsers

ADDRESS = "0000:1b:00.0"
UUID = gpu_reading(0).uuid
GATE = "VGPUSupport=true"
FIRST = "0000:1b:00.4"
MACHINE = "c7d9c3a5-0000-4000-8000-000000000001"


class Board:
    """One GPU that hosts vGPUs, as driver and administrator see it."""

    def __init__(self, reading: VgpuReading, **gpu: Any) -> None:
        self.host = hgx_h100_host()
        self.nvml = MemoryNvml([gpu_reading(0, vgpus=reading, **gpu)])
        self.vgpus = MemoryVgpus(self.host)
        (self.vgpus.host_functions if reading.on_functions else self.vgpus.host_mdevs)(ADDRESS, reading)
        self.clock = HandClock()
        self.holdings = Holdings()
        self.functions = FreeFunctions(self.host, self.clock, self.holdings)
        self.users = VgpuUsers(self.vgpus, DeviceUsers(self.host, MemoryUsage()))

    def stock(self, gates: str = GATE, own: tuple[str, ...] = ()) -> Stock:
        inventory = discover(self.nvml, self.host, is_own_vgpu=lambda carrier: carrier in own)
        return Stock(recipes(FeatureGates.parse(gates), functions=self.functions), inventory)

    def gpu(self) -> Gpu:
        return self.stock().inventory.gpus[0]

    def write(self, path: str, text: str) -> None:
        self.host.write_text(PurePosixPath(f"/sys/bus/pci/devices/{path}"), text)

    def prepare(self, device: str, config: VgpuDeviceConfig | None = None) -> Preparation:
        offer = self.stock().offers[device]
        wanted = Wanted(DeviceResult("r", "gpu.nvidia.com", "n", device), offer, f"uid-{device}")
        return offer.recipe.prepare(ClaimUid("uid"), [wanted], config)


MIXED, EQUAL = vgpu_types(mixed=True), vgpu_types()
MEDIATED = replace(EQUAL, on_functions=False)


def names(stock: Stock) -> list[str]:
    return [name for name in stock.offers if "vgpu" in name]


@pytest.mark.parametrize(
    ("reading", "gates", "gpu", "offered"),
    [
        (EQUAL, "", {}, 0),
        (EQUAL, GATE, {}, 4),
        (MEDIATED, GATE, {}, 4),
        (MIXED, GATE, {}, 2 * (4 + 2)),
        (EQUAL, GATE, {"mig": MigReading(True, True, h100_profiles())}, 0),
        (replace(EQUAL, types=()), GATE, {}, 0),
    ],
    ids=["gate off", "one size on functions", "one size on mdevs", "mixed", "MIG mode on", "no types"],
)
def test_what_a_gpu_offers_follows_from_gate_and_mode(
    reading: VgpuReading, gates: str, gpu: dict[str, Any], offered: int
) -> None:
    assert len(names(Board(reading, **gpu).stock(gates))) == offered


def test_shares_of_a_type_take_one_vgpu_with_its_memory_each() -> None:
    (device,) = (
        offer.device for name, offer in Board(EQUAL).stock().offers.items() if name == "gpu-0-vgpu-x1-4q"
    )

    written = device.to_object()

    assert written["allowMultipleAllocations"] is True
    assert written["capacity"] == {
        "vgpus": {"value": "4", "requestPolicy": {"default": "1", "validValues": ["1"]}},
        "memory": {"value": "16Gi", "requestPolicy": {"default": "4Gi", "validValues": ["4Gi"]}},
    }
    assert {"vgpuType", "vgpuTypeID", "framebufferMiB", "maxInstances", "displayHeads", "licenseClass"} < set(
        written["attributes"]
    )
    assert written["attributes"]["licenseClass"] == {"string": "NVIDIA-vComputeServer"}
    assert "uuid" not in written["attributes"]


@pytest.mark.parametrize("reading", [EQUAL, MEDIATED, MIXED], ids=["equal", "mdev", "mixed"])
def test_the_pool_fits_into_slices_of_the_api(reading: VgpuReading) -> None:
    board = Board(reading, mig=MigReading(False, False, h100_profiles()))

    plan_slices(
        "gpu.nvidia.com", pool_of("node-a", board.stock(f"{GATE},DynamicMIG=true,PassthroughSupport=true")), 1
    )


@settings(deadline=None)  # a board is built each time
@given(st.lists(st.integers(0, 100), unique=True, max_size=12), st.booleans())
def test_what_the_counters_allow_together_the_board_can_hold(chosen: list[int], mixed: bool) -> None:
    stock = Board(MIXED if mixed else EQUAL).stock()
    (counter_set,) = stock.counter_sets()
    left = {name: amount.value for name, amount in counter_set.counters.items()}
    offers = list(stock.offers.values())
    taken = []
    for number in chosen:
        offer = offers[number % len(offers)]
        needs = {name: amount.value for name, amount in offer.device.consumes_counters[0].counters.items()}
        if all(left[name] >= amount for name, amount in needs.items()):
            left = {name: amount - needs.get(name, 0) for name, amount in left.items()}
            taken.append(offer)

    slots = [slot for offer in taken for slot in offer.parts]
    assert len(slots) == len(set(slots))
    assert len(taken) <= 1 or all(offer.recipe.type == "vgpu" and mixed for offer in taken)


def test_one_type_or_one_whole_gpu_is_held_at_a_time_and_shares_whatever_their_configs() -> None:
    def held(
        device: str, kind: str, share: str | None = None, parts: str = "vgpus-of-one-size"
    ) -> HeldDevice:
        return HeldDevice("r", "n", device, ADDRESS, (), kind, False, share, frozenset({parts}))

    one = held("gpu-0-vgpu-a", "vgpu", "s1")

    assert not one.excludes(held("gpu-0-vgpu-a", "vgpu", "s2"))
    assert one.excludes(held("gpu-0-vgpu-b", "vgpu", "s2"))
    assert one.excludes(held("gpu-0", "gpu"))
    assert one.excludes(held("gpu-0-mig", "mig", parts="memory-slice-0"))
    assert not held("a", "vgpu", parts="vgpu-slot-0").excludes(held("b", "vgpu", parts="vgpu-slot-1"))
    assert VgpuDeviceConfig.model_validate({"iommu": {"enableAPIDevice": True}}).spelled() == ""


def test_vgpus_of_somebody_else_leave_their_size_and_neither_gpu_nor_partitions() -> None:
    board = Board(MEDIATED, mig=MigReading(False, False, h100_profiles()))
    board.write(f"{ADDRESS}/mdev_supported_types/nvidia-300/create", "00000000-0000-4000-8000-00000000aaaa")

    stock = board.stock(f"{GATE},DynamicMIG=true,PassthroughSupport=true")
    offers = {name: offer.device.capacity["vgpus"].value for name, offer in stock.offers.items()}  # type: ignore[union-attr]

    assert {name: str(value) for name, value in offers.items()} == {
        "gpu-0-vgpu-x1-4c": "3",
        "gpu-0-vgpu-x1-4q": "3",
    }


def test_types_stay_published_while_the_gpu_is_cut_for_claims_of_this_driver() -> None:
    whole = Board(EQUAL, mig=MigReading(False, False, h100_profiles())).stock()
    ours = MigReading(True, True, h100_profiles())
    theirs = replace(ours, partitions=(Partition(7, 9, Placement(4, 4), (ComputeInstance(0, "MIG-1"),)),))

    kept = [
        keep_known(Board(EQUAL, mig=mig).stock().inventory, whole.inventory, hgx_h100_host()).gpus[0].vgpus
        for mig in (ours, theirs)
    ]

    assert [host and len(host.types) for host in kept] == [4, None]


def test_a_vgpu_of_somebody_else_takes_its_place_among_mixed_sizes() -> None:
    board = Board(MIXED)
    board.write(f"{ADDRESS}/sriov_numvfs", "8")
    board.write(f"{FIRST}/nvidia/current_vgpu_type", "301")  # 8 GiB, placed at 0

    assert {name[-4:] for name in names(board.stock())} == {"at-2", "at-3"}


def test_virtual_functions_follow_from_the_routing_id_before_they_exist() -> None:
    board = Board(EQUAL)

    before = virtual_functions(board.host, ADDRESS)
    board.write(f"{ADDRESS}/sriov_numvfs", "8")

    assert before == virtual_functions(board.host, ADDRESS)
    assert before[:5] == (FIRST, "0000:1b:00.5", "0000:1b:00.6", "0000:1b:00.7", "0000:1b:01.0")


def test_claims_that_are_planned_side_by_side_get_functions_of_their_own() -> None:
    board = Board(EQUAL)
    gpu = board.gpu()

    one, two = (
        board.functions.choose("a", [("x", gpu), ("y", gpu)]),
        board.functions.choose("b", [("z", gpu)]),
    )
    again = board.functions.choose("a", [("x", gpu)])
    board.clock.advance(60)
    late = board.functions.choose("c", [("z", gpu)])

    assert len({*one, *two}) == 3
    assert again == one[:1]
    assert late == one[:1]  # neither claim has ever come to hold it


def test_a_function_that_a_claim_holds_is_no_other_claims() -> None:
    board = Board(EQUAL)
    gpu = board.gpu()
    entry = Entry(ClaimReference("ns", "a", ClaimUid("a")), (), (vgpu_type(UUID, FIRST, 300),))
    board.holdings.entries = lambda: (entry,)
    board.clock.advance(3600)

    assert board.functions.choose("b", [("x", gpu)]) == ["0000:1b:00.5"]
    assert board.functions.choose("a", [("x", gpu)]) == [FIRST]


def test_a_function_that_a_claim_has_released_is_free_at_once() -> None:
    board = Board(EQUAL)
    gpu = board.gpu()
    chosen = []
    for number in range(20):
        (function,) = board.functions.choose(f"c{number}", [("x", gpu)])
        entry = Entry(
            ClaimReference("ns", "a", ClaimUid(f"c{number}")), (), (vgpu_type(UUID, function, 300),)
        )
        board.holdings.entries = lambda entry=entry: (entry,)
        board.holdings.changed((entry,))
        board.holdings.entries = tuple
        board.holdings.changed(())
        chosen.append(function)

    assert chosen == [FIRST] * 20


def test_a_claim_whose_journal_is_lost_keeps_the_function_that_its_cdi_file_names() -> None:
    board = Board(EQUAL)
    board.write(f"{ADDRESS}/sriov_numvfs", "8")
    board.write("0000:1b:00.6/nvidia/current_vgpu_type", "300")
    group = board.host.links[PurePosixPath("/sys/bus/pci/devices/0000:1b:00.6/iommu_group")].rpartition("/")[
        2
    ]
    functions = FreeFunctions(
        board.host, board.clock, board.holdings, lambda _claim, _name: frozenset({f"/dev/vfio/{group}"})
    )

    assert functions.choose("a", [("x", board.gpu())]) == ["0000:1b:00.6"]


def test_a_gpu_without_a_free_function_says_so() -> None:
    board = Board(EQUAL)
    gpu = board.gpu()

    with pytest.raises(StepFailed, match="no free virtual function"):
        board.functions.choose("a", [(str(number), gpu) for number in range(9)])


@pytest.mark.parametrize("reading", [EQUAL, MEDIATED], ids=["function", "mdev"])
def test_the_consumer_reads_of_a_uuid_or_of_an_address_never_of_both(reading: VgpuReading) -> None:
    (given_,) = Board(reading).prepare("gpu-0-vgpu-x1-4c").given

    expected = "resource.kubernetes.io/pciBusID" if reading.on_functions else "mdevUUID"
    assert set(given_.metadata) == {expected}


@pytest.mark.parametrize("reading", [EQUAL, MEDIATED], ids=["function", "mdev"])
def test_every_type_of_a_host_is_proposed_with_the_gate_that_it_needs(reading: VgpuReading) -> None:
    proposed = propose(Board(reading).stock().inventory, recipes)

    found = {each.name: each for each in proposed if each.type == "vgpu"}
    assert len(found) == 4
    for each in found.values():
        assert each.gate == "VGPUSupport"
        decode(each.parameters or {}).check(FeatureGates())


def test_a_gpu_that_leaves_mig_mode_at_once_does_so_first() -> None:
    board = Board(MEDIATED, mig=MigReading(False, False, h100_profiles()))

    assert [step.tool for step in board.prepare("gpu-0-vgpu-x1-4c").steps] == ["mig-mode", "mdev"]


def test_a_size_policy_that_the_gpu_does_not_follow_is_refused() -> None:
    policy: SomeConfig = VgpuDeviceConfig.model_validate({"sizePolicy": "MixedSize"})

    Board(MIXED).prepare("gpu-0-vgpu-x1-4c-at-0", policy)
    with pytest.raises(ClaimRefused, match='sizePolicy is "MixedSize", but gpu-0 is in EqualSize mode'):
        Board(EQUAL).prepare("gpu-0-vgpu-x1-4c", policy)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sizePolicy": "Big"}, "sizePolicy: unknown size policy"),
        ({"iommu": {"backendPolicy": "None"}}, "iommu.backendPolicy: unknown IOMMU backend policy"),
        ({"iommu": {"enableAPIDevice": "yes"}}, "iommu.enableAPIDevice is 'yes'"),
        ({"sizepolicy": "Any"}, 'unknown field "sizepolicy"'),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ClaimRefused) as refused:
        decode({"apiVersion": "gpu.claimwright.dev/v1alpha1", "kind": "VgpuDeviceConfig", **fields}).check(
            FeatureGates()
        )

    assert message in str(refused.value)


def test_the_kind_is_not_one_of_the_community_drivers_group() -> None:
    with pytest.raises(ClaimRefused, match="VgpuDeviceConfig"):
        decode({"apiVersion": "resource.nvidia.com/v1beta1", "kind": "VgpuDeviceConfig"})


def held(*steps: Step) -> Holdings:
    """Claims that hold these steps, one each."""
    entries = [
        Entry(ClaimReference("ns", f"c{number}", ClaimUid(f"c{number}")), (), (step,))
        for number, step in enumerate(steps)
    ]
    return Holdings(lambda: entries)


def test_own_functions_go_with_the_last_vgpu_on_them() -> None:
    board = Board(EQUAL)
    first = acting(SriovFunctionsTool(board.host, Holdings()), sriov_functions(ADDRESS))
    tool = SriovFunctionsTool(board.host, held(first))
    tool.do(first)
    second = acting(tool, sriov_functions(ADDRESS))
    board.write(f"{FIRST}/nvidia/current_vgpu_type", "300")

    tool.undo(first)
    kept = tool.probe(first)
    board.write(f"{FIRST}/nvidia/current_vgpu_type", "0")
    tool.undo(second)

    assert str(first) == str(second)
    assert (kept, tool.probe(second)) == (Probe.DONE, Probe.NOT_DONE)


def test_an_administrators_functions_stay_and_are_not_made_again_in_his_place() -> None:
    board = Board(EQUAL)
    board.write(f"{ADDRESS}/sriov_numvfs", "2")
    tool = SriovFunctionsTool(board.host, Holdings())
    step = acting(tool, sriov_functions(ADDRESS))

    tool.do(step)
    tool.undo(step)
    left = virtual_functions(board.host, ADDRESS)
    board.write(f"{ADDRESS}/sriov_numvfs", "0")

    assert len(left) == 2
    with pytest.raises(StepFailed, match="which this driver did not make, are gone"):
        tool.do(step)


def test_functions_are_own_while_a_claim_holds_them_as_own() -> None:
    board = Board(EQUAL)
    first = acting(SriovFunctionsTool(board.host, Holdings()), sriov_functions(ADDRESS))
    SriovFunctionsTool(board.host, Holdings()).do(first)
    foreign = replace(first, arguments={**first.arguments, "own": False})

    found = [
        SriovFunctionsTool(board.host, each).found(sriov_functions(ADDRESS))["own"]
        for each in (held(first), held(foreign), held(foreign, first), Holdings())
    ]

    assert found == [True, False, True, False]


def test_a_type_is_set_seen_and_cleared() -> None:
    board = Board(MIXED)
    board.write(f"{ADDRESS}/sriov_numvfs", "8")
    tool = VgpuTypeTool(board.host, board.users)
    step = acting(tool, vgpu_type(UUID, FIRST, 301, 2))

    seen = [tool.probe(step)]
    tool.do(step)
    seen.append(tool.probe(step))
    board.write(f"{FIRST}/nvidia/placement_id", "0")
    seen.append(tool.probe(step))
    tool.do(step)
    seen.append(tool.probe(step))
    tool.undo(step)
    tool.undo(step)

    assert seen == [Probe.NOT_DONE, Probe.DONE, Probe.PARTLY, Probe.DONE]
    assert board.vgpus.carried() == {}


def test_somebody_elses_type_on_the_function_is_neither_taken_nor_cleared() -> None:
    board = Board(EQUAL)
    board.write(f"{ADDRESS}/sriov_numvfs", "8")
    board.write(f"{FIRST}/nvidia/current_vgpu_type", "300")
    tool = VgpuTypeTool(board.host, board.users)
    step = acting(tool, vgpu_type(UUID, FIRST, 300))

    with pytest.raises(StepRefused, match="which this driver did not make"):
        tool.do(step)
    tool.undo(step)
    tool.undo(acting(tool, vgpu_type(UUID, FIRST, 302)))

    assert board.vgpus.carried() == {FIRST: 300}


def test_a_type_that_the_board_has_no_room_for_is_refused_with_what_it_has_room_for() -> None:
    board = Board(EQUAL)
    board.write(f"{ADDRESS}/sriov_numvfs", "8")
    board.write(f"{FIRST}/nvidia/current_vgpu_type", "300")
    tool = VgpuTypeTool(board.host, board.users)
    step = acting(tool, vgpu_type(UUID, "0000:1b:00.5", 301))

    with pytest.raises(StepFailed, match="no room for it beside those that it carries"):
        tool.do(step)


def test_a_function_without_vgpu_files_says_what_it_needs() -> None:
    board = Board(EQUAL)
    tool = VgpuTypeTool(board.host, board.users)

    with pytest.raises(StepFailed, match="is it on the nvidia driver"):
        tool.do(acting(tool, vgpu_type(UUID, FIRST, 300)))


def test_a_mediated_device_is_made_found_and_removed() -> None:
    board = Board(MEDIATED)
    tool, step = MdevTool(board.host, board.users), mdev(UUID, ADDRESS, 300, mdev_uuid("uid-gpu-0"))

    seen = [tool.probe(step)]
    tool.do(step)
    tool.do(step)
    seen.append(tool.probe(step))
    tool.undo(step)
    tool.undo(step)

    assert seen == [Probe.NOT_DONE, Probe.DONE]
    assert board.vgpus.carried() == {}
    assert mdev_uuid("uid-gpu-0") != mdev_uuid("uid-gpu-1")


def test_a_mediated_device_without_a_driver_is_half_made() -> None:
    board = Board(MEDIATED)
    tool, step = MdevTool(board.host, board.users), mdev(UUID, ADDRESS, 300, mdev_uuid("uid-gpu-0"))
    tool.do(step)
    group = board.host.links.pop(MDEV_DEVICES / mdev_uuid("uid-gpu-0") / "iommu_group")

    half = tool.probe(step)
    board.host.links[MDEV_DEVICES / mdev_uuid("uid-gpu-0") / "iommu_group"] = group

    assert half is Probe.PARTLY
    assert tool.probe(step) is Probe.DONE


def test_a_mediated_device_of_another_type_is_not_taken_for_the_claims() -> None:
    board = Board(MEDIATED)
    tool, name = MdevTool(board.host, board.users), mdev_uuid("uid-gpu-0")
    board.write(f"{ADDRESS}/mdev_supported_types/nvidia-301/create", name)

    with pytest.raises(StepRefused, match="another type or parent"):
        tool.do(mdev(UUID, ADDRESS, 300, name))
    tool.undo(mdev(UUID, ADDRESS, 300, name))

    assert board.vgpus.carried() == {name: 301}


def test_a_full_board_names_what_it_carries() -> None:
    board = Board(MEDIATED)
    other = "00000000-0000-4000-8000-00000000aaaa"
    board.write(f"{ADDRESS}/mdev_supported_types/nvidia-301/create", other)
    tool = MdevTool(board.host, board.users)

    with pytest.raises(StepFailed, match=rf"carries: {other} \(type 301\)"):
        tool.do(mdev(UUID, ADDRESS, 300, mdev_uuid("x")))


def test_the_machine_that_keeps_a_vgpu_is_named() -> None:
    mediated, virtual = Board(MEDIATED), Board(EQUAL)
    name = mdev_uuid("x")
    one, other = MdevTool(mediated.host, mediated.users), VgpuTypeTool(virtual.host, virtual.users)
    virtual.write(f"{ADDRESS}/sriov_numvfs", "8")
    steps = mdev(UUID, ADDRESS, 300, name), acting(other, vgpu_type(UUID, FIRST, 300))
    one.do(steps[0])
    other.do(steps[1])
    mediated.vgpus.machines[name] = RunningVgpu(300, MACHINE, name)
    virtual.vgpus.machines[FIRST] = RunningVgpu(300, MACHINE)

    for tool, step in zip((one, other), steps, strict=True):
        with pytest.raises(StepFailed, match=f"in use by virtual machine {MACHINE}"):
            tool.undo(step)


def test_a_process_that_has_a_vgpus_node_open_is_named() -> None:
    board = Board(MEDIATED)
    tool, step = MdevTool(board.host, board.users), mdev(UUID, ADDRESS, 300, mdev_uuid("x"))
    tool.do(step)
    board.host.links[PurePosixPath("/proc/4711/fd/9")] = "/dev/vfio/100"
    board.host.devices[PurePosixPath("/proc/4711/fd/9")] = (241, 100)
    board.host.files[PurePosixPath("/proc/4711/comm")] = "qemu-kvm\n"

    with pytest.raises(StepFailed, match=r"in use by process 4711 \(qemu-kvm\)"):
        tool.undo(step)


def test_a_node_that_is_missing_is_named() -> None:
    host = MemoryHost(links={f"{MDEV_DEVICES}/x/iommu_group": "../../kernel/iommu_groups/7"})

    with pytest.raises(StepFailed, match="device node /dev/vfio/7 of vGPU x does not exist"):
        VgpuNode(host)(vgpu_node(MDEV_DEVICES / "x", prefer_iommufd=False, api_device=False))


def acting(tool: SriovFunctionsTool | VgpuTypeTool, step: Step) -> Step:
    """Return the step as the journal has it once it acts: with what was found before."""
    return replace(step, arguments={**step.arguments, **tool.found(step)})
