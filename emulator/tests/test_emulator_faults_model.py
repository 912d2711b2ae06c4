"""Fault classes as pure operations: what each does to the model, how it ends, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model import NodeModel, NodeState, build_node, load_node_profile, node_names
from claimwright.emulator.model.change import EventKind, GpuEvent
from claimwright.emulator.model.faults import FAULTS, XIDS, Cure, parameters_of, usage
from claimwright.emulator.model.health import ClockReason, RecoveryAction
from claimwright.emulator.model.operations import bus, fabric, faults, gpus, mig

# One way to inject each class on an HGX H100; those that it cannot have are tried on other boards below.
INJECTED: dict[str, dict[str, Any]] = {
    "xid": {"xid": 48, "gpu": 1},
    "reset-required": {"gpu": 1},
    "ecc-single-bit": {"gpu": 1, "count": 3},
    "ecc-storm": {"gpu": 1},
    "ecc-double-bit": {"gpu": 1},
    "ecc-contained": {"gpu": 1},
    "ecc-uncontained": {"gpu": 1},
    "row-remap": {"gpu": 1, "uncorrected": 2},
    "row-remap-failure": {"gpu": 1},
    "memory-exhausted": {"gpu": 1},
    "gpu-lost": {"gpu": 1},
    "pcie-degraded": {"gpu": 1, "generation": 1, "width": 4},
    "pcie-replays": {"gpu": 1, "count": 7},
    "unbind-blocked": {"gpu": 1},
    "hot-remove": {"gpu": 1},
    "nvlink-down": {"gpu": 1, "link": 4},
    "nvlink-errors": {"gpu": 1, "link": 4, "crc_flit": 5},
    "nvswitch-fatal": {"switch": 0},
    "fabric-degraded": {"gpu": 1},
    "fabric-incomplete": {"gpu": 1},
    "fabric-manager-gone": {},
    "thermal-slowdown": {"gpu": 1},
    "thermal-shutdown": {"gpu": 1},
    "power-brake": {"gpu": 1},
    "power-cap": {"gpu": 1},
    "clocks-stuck": {"gpu": 1},
    "nvml-slow": {"function": "nvmlDeviceGetName", "seconds": 1},
    "nvml-fails": {"function": "nvmlDeviceGetName", "code": "UNKNOWN"},
    "slow-handles": {},
    "slow-mig-destroy": {},
    "driver-reload": {},
    "driver-mismatch": {},
    "persistence-daemon-gone": {},
    "inforom-corrupt": {"gpu": 1},
}
ON_T4 = {"retired-pages": {"gpu": 0, "pages": 2}}
ELSEWHERE = {"fan-failure", "imex-peer-loss", "mig-half-made"}  # boards with fans; nodes with IMEX; MIG mode


def node(profile: str = "hgx-h100") -> NodeModel:
    return NodeModel(build_node(load_node_profile(profile), "node"))


def inject(model: NodeModel, name: str, **parameters: Any) -> int:
    number = model.perform(faults.inject_fault, name, parameters).number
    assert number is not None
    return number


def events_of(model: NodeModel) -> list[GpuEvent]:
    heard: list[GpuEvent] = []
    model.listen(heard.append)
    return heard


def same(first: NodeState, second: NodeState) -> bool:
    """Compare what a fault may change; the count of faults is not part of it."""
    return (first.gpus, first.bus, first.driver_condition, first.faults) == (
        second.gpus,
        second.bus,
        second.driver_condition,
        second.faults,
    )


def test_there_are_at_least_twenty_classes_and_each_is_tried_here() -> None:
    assert len(FAULTS) >= 20
    assert set(INJECTED) | set(ON_T4) | ELSEWHERE == set(FAULTS)


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_each_class_says_what_it_does_where_it_shows_and_what_it_takes(name: str) -> None:
    kind = FAULTS[name]
    assert kind.summary
    assert kind.faces
    assert name in usage(name)
    assert all(parameter.description for parameter in parameters_of(kind))


@pytest.mark.parametrize("name", sorted(INJECTED))
def test_a_fault_changes_the_node_and_clearing_it_leaves_no_condition_behind(name: str) -> None:
    model = node()
    before = model.snapshot()
    record = model.perform(faults.inject_fault, name, INJECTED[name])
    during = model.snapshot()
    assert not same(before, during) or record.number is not None
    assert record.name == name
    model.perform(faults.clear_faults)
    after = model.snapshot()
    assert not after.faults
    for gpu in after.gpus:
        assert not gpu.lost
        assert gpu.nvml_visible
        assert gpu.health.recovery is RecoveryAction.NONE
        assert gpu.health.clock_reasons is ClockReason.NONE
        assert all(link.active for link in gpu.nvlinks)
        assert not gpu.health.rows.pending
        assert not gpu.processes
        assert gpu.fabric == before.gpus[gpu.index].fabric
    assert after.bus == before.bus


def _lasts(name: str) -> bool:
    return FAULTS[name].model_validate(INJECTED[name]).lasts


@pytest.mark.parametrize("name", sorted(filter(_lasts, INJECTED)))
def test_injecting_a_lasting_fault_twice_is_refused_and_changes_nothing(name: str) -> None:
    model = node()
    assert model.perform(faults.inject_fault, name, INJECTED[name]).number is not None
    during = model.snapshot()
    with pytest.raises(OperationRefused):
        model.perform(faults.inject_fault, name, INJECTED[name])
    assert model.snapshot() is during


@pytest.mark.parametrize("name", sorted(set(INJECTED) - set(filter(_lasts, INJECTED))))
def test_what_leaves_nothing_behind_may_happen_again_and_counts_again(name: str) -> None:
    model = node()
    first = model.perform(faults.inject_fault, name, INJECTED[name])
    once = model.snapshot()
    second = model.perform(faults.inject_fault, name, INJECTED[name])
    assert (first.number, second.number) == (None, None)
    assert not model.snapshot().faults
    assert not same(once, model.snapshot())


@pytest.mark.parametrize("name", sorted(INJECTED))
def test_a_reboot_ends_every_fault_that_repair_is_not_needed_for(name: str) -> None:
    model = node()
    model.perform(faults.inject_fault, name, INJECTED[name])
    model.perform(faults.reboot, "b2f6d3b0-0000-4000-8000-000000000000")
    after = model.snapshot()
    assert bool(after.faults) == (_lasts(name) and not FAULTS[name].cured_by)
    assert after.boot_id == "b2f6d3b0-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    "name", sorted(name for name, kind in FAULTS.items() if Cure.RESET in kind.cured_by and name in INJECTED)
)
def test_a_reset_cures_what_says_so(name: str) -> None:
    model = node()
    model.perform(faults.inject_fault, name, INJECTED[name])
    model.perform(faults.reset_gpu, 1)
    assert not model.snapshot().faults
    assert not model.snapshot().gpus[1].lost


def test_a_reset_is_refused_while_a_process_uses_the_gpu() -> None:
    model = node()
    model.perform(gpus.start_process, 1, 4242, "train", 1 << 30)
    with pytest.raises(OperationRefused, match="4242") as refused:
        model.perform(faults.reset_gpu, 1)
    assert refused.value.reason is Refusal.IN_USE


def test_xid_79_takes_the_gpu_away_and_a_reset_brings_it_back() -> None:
    model = node()
    heard = events_of(model)
    inject(model, "xid", xid=79, gpu=3)
    assert heard == [GpuEvent(3, EventKind.XID, 79)]
    assert model.snapshot().gpus[3].lost
    model.perform(faults.reset_gpu, 3)
    assert not model.snapshot().gpus[3].lost


def test_an_application_xid_is_reported_and_leaves_nothing_behind() -> None:
    model = node()
    heard = events_of(model)
    record = model.perform(
        faults.inject_fault, "xid", {"xid": 13, "gpu": 0, "gpu_instance": 3, "compute_instance": 0}
    )
    assert record.number is None
    assert heard == [GpuEvent(0, EventKind.XID, 13, 3, 0)]
    assert not model.snapshot().faults


@pytest.mark.parametrize("code", sorted(XIDS))
def test_every_known_xid_can_be_reported_and_cleared(code: int) -> None:
    model = node()
    heard = events_of(model)
    model.perform(faults.inject_fault, "xid", {"xid": code, "gpu": 0})
    assert [event.data for event in heard] == [code]
    model.perform(faults.clear_faults)
    assert model.snapshot().gpus[0].health.recovery is RecoveryAction.NONE


def test_a_double_bit_error_waits_for_a_reset_which_puts_the_spare_row_in_force() -> None:
    model = node()
    heard = events_of(model)
    inject(model, "ecc-double-bit", gpu=2)
    gpu = model.snapshot().gpus[2]
    assert [(event.kind, event.data) for event in heard] == [
        (EventKind.DOUBLE_BIT_ECC, 1),
        (EventKind.XID, 48),
        (EventKind.XID, 63),
    ]
    assert gpu.health.rows.pending
    assert gpu.health.recovery is RecoveryAction.GPU_RESET
    model.perform(faults.reset_gpu, 2)
    gpu = model.snapshot().gpus[2]
    assert (gpu.health.rows.pending, gpu.health.rows.uncorrected) == (False, 1)
    assert gpu.ecc is not None
    assert (gpu.ecc.volatile.uncorrected, gpu.ecc.aggregate.uncorrected) == (0, 1)


def test_two_faults_that_hold_the_same_end_apart() -> None:
    model = node()
    cap = inject(model, "power-cap", gpu=0, percent=50)
    brake = inject(model, "power-brake", gpu=0)
    top = model.snapshot().gpus[0].board.max_clocks.graphics
    assert model.snapshot().gpus[0].health.clock_ceiling == top // 4
    model.perform(faults.clear_fault, brake)
    health = model.snapshot().gpus[0].health
    assert health.clock_ceiling == top * 50 // 100
    assert health.clock_reasons is ClockReason.SOFTWARE_POWER_CAP
    model.perform(faults.clear_fault, cap)
    assert model.snapshot().gpus[0].health.clock_ceiling is None


def test_what_needs_more_is_asked_for_until_it_is_over() -> None:
    model = node()
    inject(model, "row-remap", gpu=0)
    worse = inject(model, "ecc-uncontained", gpu=0)
    assert model.snapshot().gpus[0].health.recovery is RecoveryAction.DRAIN_AND_RESET
    model.perform(faults.clear_fault, worse)
    assert model.snapshot().gpus[0].health.recovery is RecoveryAction.GPU_RESET


def test_a_lost_gpu_that_is_pulled_and_plugged_again_works() -> None:
    model = node()
    inject(model, "gpu-lost", gpu=1)
    pulled = inject(model, "hot-remove", gpu=1)
    assert not model.snapshot().gpus[1].nvml_visible
    model.perform(faults.clear_fault, pulled)
    gpu = model.snapshot().gpus[1]
    assert (gpu.lost, gpu.nvml_visible) == (False, True)
    assert not model.snapshot().faults


def test_a_driver_reload_kills_processes_keeps_minors_and_retires_pages() -> None:
    model = node(
        next((name for name in node_names() if "t4" in name), "") or pytest.skip("no node with T4 yet")
    )
    inject(model, "retired-pages", gpu=0, pages=2)
    assert model.snapshot().gpus[0].health.retired.pending
    reload = inject(model, "driver-reload")
    model.perform(faults.clear_fault, reload)
    retired = model.snapshot().gpus[0].health.retired
    assert (len(retired.double_bit), retired.pending) == (2, False)
    assert len(set(retired.double_bit)) == 2
    assert not model.snapshot().faults


def test_an_open_file_holds_an_unbind_back_until_it_is_closed() -> None:
    model = node()
    address = str(model.snapshot().gpus[1].pci)
    held = inject(model, "unbind-blocked", gpu=1)
    model.perform(bus.unbind, address)
    assert model.snapshot().gpus[1].nvml_visible
    model.perform(faults.clear_fault, held)
    assert not model.snapshot().gpus[1].nvml_visible


def test_a_gpu_that_needs_a_reset_takes_no_new_process() -> None:
    model = node()
    inject(model, "reset-required", gpu=0)
    with pytest.raises(OperationRefused) as refused:
        model.perform(gpus.start_process, 0, 4242, "train", 1 << 20)
    assert refused.value.reason is Refusal.RESET_REQUIRED
    model.perform(faults.reset_gpu, 0)
    model.perform(gpus.start_process, 0, 4242, "train", 1 << 20)


def test_a_node_whose_imex_stops_is_started_again_by_the_end_of_the_fault() -> None:
    model = node()
    with pytest.raises(OperationRefused, match="does not run"):
        inject(model, "imex-peer-loss")
    model.perform(fabric.configure_imex, ["10.0.0.1", "10.0.0.2"], "10.0.0.1")
    model.perform(fabric.start_imex)
    lost = inject(model, "imex-peer-loss")
    imex = model.snapshot().imex
    assert imex is not None
    assert not imex.running
    model.perform(faults.clear_fault, lost)
    imex = model.snapshot().imex
    assert imex is not None
    assert imex.running


def test_fans_that_stop_warm_the_gpu_and_start_again() -> None:
    state = build_node(load_node_profile("l4"), "node")
    gpu = state.gpus[0]
    with_fans = replace(gpu, board=gpu.board.model_copy(update={"fans": 2}))
    model = NodeModel(replace(state, gpus=(with_fans,)))
    number = inject(model, "fan-failure", gpu=0, fans=2)
    hot = model.snapshot().gpus[0]
    assert hot.health.failed_fans == 2
    assert hot.temperature.gpu > gpu.temperature.gpu
    model.perform(faults.clear_fault, number)
    mended = model.snapshot().gpus[0]
    assert (mended.health.failed_fans, mended.temperature.gpu) == (0, gpu.temperature.gpu)


def half_made(**parameters: int) -> tuple[NodeModel, int]:
    model = node()
    model.perform(mig.set_mig_mode, 1, enabled=True)
    return model, inject(model, "mig-half-made", **{"gpu": 1, "profile": 19, "start": 2, **parameters})


def instances(model: NodeModel) -> list[tuple[int, int, int]]:
    there = model.snapshot().gpus[1].mig
    assert there is not None
    return [(each.profile, each.placement.start, len(each.compute_instances)) for each in there.gpu_instances]


def test_a_half_made_instance_takes_room_until_the_fault_is_cleared() -> None:
    model, number = half_made()
    assert instances(model) == [(19, 2, 0)]
    with pytest.raises(OperationRefused, match="no room"):
        model.perform(mig.create_gpu_instance, 1, 0)
    model.perform(faults.clear_fault, number)
    assert instances(model) == []
    model.perform(mig.create_gpu_instance, 1, 0)


def test_a_half_made_instance_that_somebody_finished_or_destroyed_is_left_alone() -> None:
    model, number = half_made()
    there = model.snapshot().gpus[1].mig
    assert there is not None
    made = there.gpu_instances[0].id
    model.perform(mig.create_compute_instance, 1, made)
    model.perform(faults.clear_fault, number)
    assert instances(model) == [(19, 2, 1)]
    model, number = half_made()
    model.perform(mig.destroy_gpu_instance, 1, made)
    model.perform(faults.clear_fault, number)
    assert instances(model) == []


def test_a_half_made_instance_is_refused_where_there_is_no_room_or_no_mig() -> None:
    model, _ = half_made()
    for parameters, said in (
        ({"gpu": 0, "profile": 19, "start": 0}, "not in MIG mode"),
        ({"gpu": 1, "profile": 19, "start": 2}, "active already"),
        ({"gpu": 1, "profile": 9, "start": 0}, "free for this profile: 4"),
        ({"gpu": 1, "profile": 4711, "start": 0}, "free for this profile: none"),
    ):
        with pytest.raises(OperationRefused, match=said):
            inject(model, "mig-half-made", **parameters)


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("xidd", {}, "no fault 'xidd'; known: "),
        ("xid", {"gpu": 0}, "xid: Field required"),
        ("xid", {"gpu": 0, "xid": 0}, "xid: "),
        ("xid", {"gpu": 0, "xid": "lots"}, "'lots'"),
        ("xid", {"gpu": 8, "xid": 79}, "no GPU 8; this node has 0..7"),
        ("xid", {"gpu": 0, "xid": 79, "colour": "red"}, "colour: no such parameter"),
        ("xid", {"gpu": 0, "xid": 13, "compute_instance": 0}, "name the GPU instance"),
        ("nvlink-down", {"gpu": 0, "link": 18}, "has no NVLink 18; expected 0..17"),
        ("nvlink-errors", {"gpu": 0, "link": 1}, "give at least one of replay"),
        ("nvswitch-fatal", {"switch": 9}, "no NVSwitch 9; expected 0..3"),
        ("pcie-degraded", {"gpu": 0}, "give generation=, width= or both"),
        ("pcie-degraded", {"gpu": 0, "generation": 5}, "no degradation"),
        ("pcie-degraded", {"gpu": 0, "width": 3}, "expected 1, 2, 4, 8 or 16"),
        ("retired-pages", {"gpu": 0}, "use row-remap"),
        ("fan-failure", {"gpu": 0}, "no fans of its own"),
        ("clocks-stuck", {"gpu": 0, "mhz": 9000}, "expected at most"),
        (
            "nvml-slow",
            {"function": "nvmlDeviceGetNames", "seconds": 1},
            "NVML has no function 'nvmlDeviceGetNames'",
        ),
        ("nvml-slow", {"function": "nvmlDeviceGetName", "seconds": 0}, "seconds: "),
        ("nvml-fails", {"function": "nvmlDeviceGetName", "code": "BROKEN"}, "'BROKEN' is no return code"),
        ("memory-exhausted", {"gpu": 0, "leave_mib": 1 << 20}, "MiB that are free"),
    ],
)
def test_what_cannot_be_injected_is_refused(name: str, parameters: dict[str, Any], said: str) -> None:
    model = node()
    before = model.snapshot()
    with pytest.raises(OperationRefused) as refused:
        model.perform(faults.inject_fault, name, parameters)
    assert said in str(refused.value)
    assert model.snapshot() is before


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_any_mix_of_faults_cleared_in_any_order_leaves_the_node_as_sound_as_before(
    data: st.DataObject,
) -> None:
    model = node()
    before = model.snapshot()
    names = data.draw(st.lists(st.sampled_from(sorted(INJECTED)), max_size=8))
    numbers = []
    for name in names:
        try:
            record = model.perform(faults.inject_fault, name, {**INJECTED[name]})
        except OperationRefused:
            continue
        numbers.append(record.number)
    for number in data.draw(st.permutations([each for each in numbers if each is not None])):
        if any(each.number == number for each in model.snapshot().faults):
            model.perform(faults.clear_fault, number)
    after = model.snapshot()
    assert not after.faults
    assert after.bus.functions.keys() == before.bus.functions.keys()
    assert [(gpu.lost, gpu.nvml_visible, gpu.minor, gpu.health.recovery) for gpu in after.gpus] == [
        (False, True, gpu.minor, RecoveryAction.NONE) for gpu in before.gpus
    ]
    assert all(link.active for gpu in after.gpus for link in gpu.nvlinks)
