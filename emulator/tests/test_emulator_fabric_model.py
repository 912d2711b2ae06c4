"""The fabric in the model: health bits, partitions against an independent oracle, channels, and what faces show."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimwright.emulator import control
from claimwright.emulator.description import describe
from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.files import dev, faces
from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.tree import CharDevice, File
from claimwright.emulator.model import FabricState, NodeModel, build_node, load_node_profile
from claimwright.emulator.model.fabric import (
    FabricHealth,
    FabricMisconfiguration,
    FabricMode,
    HealthSummary,
    ImexService,
    standard_partitions,
)
from claimwright.emulator.model.operations import fabric
from claimwright.emulator.nvml.readings import reading_values
from claimwright.emulator.nvml.relations import link_peers

CLUSTER = "0a1b2c3d-0000-4000-8000-0123456789ab"


@pytest.fixture
def model() -> NodeModel:
    return NodeModel(build_node(load_node_profile("hgx-h100"), "n"))


@pytest.fixture
def sharing(model: NodeModel) -> NodeModel:
    model.perform(fabric.start_fabric_manager, FabricMode.SHARED_NVSWITCH)
    return model


@pytest.mark.parametrize(
    ("health", "mask", "summary"),
    [
        (FabricHealth(), 0, HealthSummary.NOT_SUPPORTED),
        (FabricHealth(degraded_bandwidth=False), 0b10, HealthSummary.HEALTHY),
        (FabricHealth(degraded_bandwidth=True), 0b01, HealthSummary.LIMITED_CAPACITY),
        (FabricHealth(route_recovery=True), 0b01 << 2, HealthSummary.UNHEALTHY),
        (FabricHealth(route_unhealthy=True), 0b01 << 4, HealthSummary.UNHEALTHY),
        (FabricHealth(access_timeout_recovery=True), 0b01 << 6, HealthSummary.UNHEALTHY),
        (FabricHealth(misconfiguration=FabricMisconfiguration.NONE), 1 << 8, HealthSummary.HEALTHY),
        (
            FabricHealth(misconfiguration=FabricMisconfiguration.GPU_STATE_INVALID),
            8 << 8,
            HealthSummary.UNHEALTHY,
        ),
        (FabricHealth(partition_assigned=True), 0b01 << 12, HealthSummary.HEALTHY),
    ],
)
def test_the_health_mask_has_the_bits_of_nvml_h(
    health: FabricHealth, mask: int, summary: HealthSummary
) -> None:
    assert (health.mask, health.summary) == (mask, summary)


def test_fabric_state_status_and_health_reach_the_pages(model: NodeModel) -> None:
    model.perform(fabric.join_fabric, CLUSTER, 7)
    model.perform(fabric.set_fabric, 2, FabricState.COMPLETED, 999)
    gpu = model.perform(fabric.set_fabric_health, 2, FabricHealth(degraded_bandwidth=True))

    page = reading_values(gpu, {})

    assert page["fabric_uuid"] == bytes.fromhex(CLUSTER.replace("-", ""))
    assert (page["fabric_clique"], page["fabric_state"], page["fabric_status"]) == (7, 3, 999)
    assert (page["fabric_health_mask"], page["fabric_health_summary"]) == (1, 3)


def test_a_gpu_is_in_a_clique_only_once_its_fabric_is_complete_without_error(model: NodeModel) -> None:
    assert describe(model.snapshot())["gpus"][0]["fabric"]["clique"] is None  # the zero uuid leaves no node
    model.perform(fabric.join_fabric, CLUSTER, 0)
    assert describe(model.snapshot())["gpus"][0]["fabric"]["clique"] == f"{CLUSTER}.0"
    model.perform(fabric.set_fabric, 0, FabricState.IN_PROGRESS)
    assert describe(model.snapshot())["gpus"][0]["fabric"]["clique"] is None


@pytest.mark.parametrize(
    ("cluster", "clique"), [("no uuid", 0), (CLUSTER.upper(), 0), (CLUSTER, -1), (CLUSTER, 1 << 32)]
)
def test_an_impossible_clique_is_refused_by_value(model: NodeModel, cluster: str, clique: int) -> None:
    with pytest.raises(OperationRefused, match=r"expected") as refused:
        model.perform(fabric.join_fabric, cluster, clique)
    assert refused.value.reason is Refusal.INVALID_ARGUMENT


def test_a_node_without_fabric_refuses_what_needs_one() -> None:
    model = NodeModel(build_node(load_node_profile("l4"), "n"))
    for operation, arguments in (
        (fabric.join_fabric, (CLUSTER, 0)),
        (fabric.set_fabric, (0, FabricState.COMPLETED)),
        (fabric.start_fabric_manager, ()),
    ):
        with pytest.raises(OperationRefused) as refused:
            model.perform(operation, *arguments)
        assert refused.value.reason is Refusal.NOT_SUPPORTED


def test_eight_gpus_have_the_fifteen_partitions_of_a_baseboard() -> None:
    table = standard_partitions(range(1, 9))

    assert [partition.id for partition in table] == list(range(15))
    assert [partition.modules for partition in table[1:7]] == [
        (1, 2, 3, 4), (5, 6, 7, 8), (1, 3), (2, 4), (5, 7), (6, 8),
    ]  # fmt: skip


def test_shared_switches_route_nothing_until_a_partition_is_active(sharing: NodeModel) -> None:
    state = sharing.snapshot()
    assert not any(any(row) for row in describe(state)["nvlink_matrix"])
    assert {gpu.fabric.state for gpu in state.gpus if gpu.fabric} == {FabricState.IN_PROGRESS}

    sharing.perform(fabric.activate_partition, 1)

    state = sharing.snapshot()
    inside = {gpu.index for gpu in state.gpus if gpu.module_id <= 4}
    for here, row in enumerate(describe(state)["nvlink_matrix"]):
        assert [bool(count) for count in row] == [
            here in inside and there in inside and here != there for there in range(8)
        ]
    assert {
        gpu.index for gpu in state.gpus if gpu.fabric and gpu.fabric.state is FabricState.COMPLETED
    } == inside
    assert sum(link_peers(state)) == 4 * 3


def test_partition_calls_are_refused_as_the_fabric_manager_refuses_them(sharing: NodeModel) -> None:
    sharing.perform(fabric.activate_partition, 3)
    cases = [
        (fabric.activate_partition, 3, Refusal.IN_USE),
        (fabric.activate_partition, 0, Refusal.IN_USE),
        (fabric.activate_partition, 15, Refusal.INVALID_ARGUMENT),
        (fabric.deactivate_partition, 4, Refusal.INVALID_STATE),
    ]
    before = sharing.snapshot()
    for operation, number, reason in cases:
        with pytest.raises(OperationRefused) as refused:
            sharing.perform(operation, number)
        assert refused.value.reason is reason
    assert sharing.snapshot() is before
    sharing.perform(fabric.stop_fabric_manager)
    with pytest.raises(OperationRefused) as refused:
        sharing.perform(fabric.deactivate_partition, 3)
    assert refused.value.reason is Refusal.NOT_READY


def test_bare_metal_has_no_partitions_to_activate(model: NodeModel) -> None:
    with pytest.raises(OperationRefused, match="shared_nvswitch"):
        model.perform(fabric.activate_partition, 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 14)), max_size=30))
def test_active_partitions_never_overlap_and_route_exactly_their_gpus(steps: list[tuple[bool, int]]) -> None:
    """The oracle knows sets of module ids and nothing else."""
    model = NodeModel(build_node(load_node_profile("hgx-h100"), "n"))
    model.perform(fabric.start_fabric_manager, FabricMode.SHARED_NVSWITCH)
    groups = {each.id: set(each.modules) for each in standard_partitions(range(1, 9))}
    active: set[int] = set()
    for activate, number in steps:
        allowed = (
            not any(groups[number] & groups[other] for other in active) if activate else number in active
        )
        operation = fabric.activate_partition if activate else fabric.deactivate_partition
        try:
            model.perform(operation, number)
            assert allowed
            active ^= {number}
        except OperationRefused:
            assert not allowed
    modules = [gpu.module_id for gpu in model.snapshot().gpus]
    matrix = describe(model.snapshot())["nvlink_matrix"]
    for here, there in combinations(range(8), 2):
        together = any({modules[here], modules[there]} <= groups[number] for number in active)
        assert matrix[here][there] == matrix[there][here] == (18 if together else 0)


def test_imex_channels_are_devices_and_module_parameters(model: NodeModel) -> None:
    majors = Majors()
    assert not [path for path in dev.nodes(model.snapshot(), majors) if "imex-channels" in path]

    control.apply(model, "create_imex_channel", {"channel": 0})
    control.apply(model, "create_imex_channel", {"channel": 2047})

    tree = dev.nodes(model.snapshot(), majors)
    assert tree["dev/nvidia-caps-imex-channels/channel2047"] == CharDevice(majors.imex_channels, 2047, 0o666)
    parameters = faces.host_root(model.snapshot())["proc/driver/nvidia/params"]
    assert isinstance(parameters, File)
    assert b"ImexChannelCount: 2048\n" in parameters.content
    with pytest.raises(OperationRefused, match=r"0\.\.2047"):
        control.apply(model, "create_imex_channel", {"channel": 2048})


def test_the_capability_of_imex_names_the_device_that_exists(model: NodeModel) -> None:
    entry = faces.host_root(model.snapshot())["proc/driver/nvidia/capabilities/fabric-imex-mgmt"]
    assert isinstance(entry, File)
    minor = int(entry.content.split(b"DeviceFileMinor: ")[1].split(b"\n")[0])

    node = dev.nodes(model.snapshot(), Majors())[f"dev/nvidia-caps/nvidia-cap{minor}"]

    assert node == CharDevice(Majors().caps, minor, 0o400)


@pytest.mark.parametrize(
    "change",
    [
        {"address": "nowhere"},
        {"nodes": []},
        {"nodes": ["two words"]},
        {"server_port": 0},
        {"command_port": 50000},
        {"keepalive_ms": 500, "peer_timeout_ms": 100},
        {"quorum": "SOME"},
    ],
)
def test_an_impossible_imex_configuration_changes_nothing(
    model: NodeModel, change: dict[str, object]
) -> None:
    before = model.snapshot()
    with pytest.raises(OperationRefused):
        control.apply(model, "configure_imex", {"nodes": ["127.0.0.2"], "address": "127.0.0.2", **change})
    assert model.snapshot() is before


def test_imex_starts_and_stops_only_where_it_is_configured(model: NodeModel) -> None:
    with pytest.raises(OperationRefused, match="configure_imex"):
        model.perform(fabric.start_imex)
    model.perform(fabric.configure_imex, ["127.0.0.2"], "127.0.0.2")
    assert model.perform(fabric.start_imex).running
    assert isinstance(model.snapshot().imex, ImexService)
    again = model.snapshot()
    model.perform(fabric.start_imex)
    assert model.snapshot() is again
