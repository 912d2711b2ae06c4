"""vGPU: the types of a board, what fits beside what, and the life of a vGPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.model import (
    NodeModel,
    NodeState,
    OperationRefused,
    Refusal,
    build_node,
    load_board,
    load_node_profile,
)
from claimwright.emulator.model.bus import groups, mediating, vfio
from claimwright.emulator.model.operations import bus, gpus, vgpu
from claimwright.emulator.model.pci import PciAddress
from claimwright.emulator.model.vgpu import VgpuSpec, types_of
from claimwright.emulator.model.vgpu.capacity import Placed, creatable_types, placement_size, slots_of

SPEC = VgpuSpec.model_validate(
    {
        "prefix": "L4",
        "framework": "vendor-specific",
        "virtual_functions": 24,
        "first_id": 900,
        "ids": {"L4-24Q": 919},
        "time_sliced": {
            "Q": {24: (1, 1), 12: (2, 2), 8: (3, 2), 6: (4, 4), 4: (6, 4)},
            "C": {24: (1, 1), 12: (2, 2)},
        },
    }
)
VMS = ("c7d9c3a5-0000-4000-8000-000000000001", "c7d9c3a5-0000-4000-8000-000000000002")


def host(spec: VgpuSpec = SPEC) -> NodeState:
    state = build_node(load_node_profile("l4"), "node-a")
    board = state.gpus[0].board.model_copy(update={"vgpu": spec})
    state = replace(state, vgpu_manager=True, gpus=(replace(state.gpus[0], board=board),))
    return bus.set_virtual_functions(state, "0000:41:00.0", 24).state


VFS = vgpu.virtual_functions(host(), host().gpus[0])


@pytest.fixture
def model() -> NodeModel:
    return NodeModel(host())


def named(name: str) -> int:
    return next(kind.id for kind in types_of(SPEC).values() if kind.name == name)


def creatable(state: NodeState) -> list[str]:
    gpu = state.gpus[0]
    kinds = creatable_types(
        types_of(gpu.board.vgpu), vgpu.placed_on(state, gpu), (), mixed=gpu.vgpu.mixed_sizes, mig=False
    )
    return [kind.name for kind in kinds]


def test_ids_seen_on_machines_are_kept_and_the_others_are_distinct() -> None:
    types = types_of(SPEC)
    assert types[919].name == "L4-24Q"
    assert len(types) == 7
    assert types[919].description == (
        "num_heads=4, frl_config=60, framebuffer=24576M, max_resolution=7680x4320, max_instance=1"
    )


def test_with_equal_sizes_the_first_vgpu_decides_the_size_of_all(model: NodeModel) -> None:
    model.perform(vgpu.create_vgpu, 0, named("L4-12Q"), VFS[0])
    assert creatable(model.snapshot()) == ["L4-12C", "L4-12Q"]
    model.perform(vgpu.create_vgpu, 0, named("L4-12C"), VFS[1])
    assert creatable(model.snapshot()) == []
    with pytest.raises(OperationRefused) as refused:
        model.perform(vgpu.create_vgpu, 0, named("L4-12Q"), VFS[2])
    assert refused.value.reason is Refusal.INSUFFICIENT_RESOURCES
    model.perform(vgpu.remove_vgpu, VFS[0])
    assert creatable(model.snapshot()) == ["L4-12C", "L4-12Q"]


def test_mixed_sizes_share_the_row_of_slots(model: NodeModel) -> None:
    model.perform(vgpu.set_mixed_sizes, 0, enabled=True)
    model.perform(vgpu.create_vgpu, 0, named("L4-6Q"), VFS[0], placement=1)
    assert set(creatable(model.snapshot())) == {"L4-12C", "L4-4Q", "L4-6Q", "L4-8Q", "L4-12Q"}
    made = model.perform(vgpu.create_vgpu, 0, named("L4-12Q"), VFS[1])
    assert made.placement == 2
    with pytest.raises(OperationRefused, match="INSUFFICIENT_RESOURCES"):
        model.perform(vgpu.create_vgpu, 0, named("L4-12C"), VFS[2])


def test_a_vgpu_moves_to_a_free_place_until_a_machine_runs_on_it(model: NodeModel) -> None:
    model.perform(vgpu.set_mixed_sizes, 0, enabled=True)
    model.perform(vgpu.create_vgpu, 0, named("L4-6Q"), VFS[0])
    model.perform(vgpu.create_vgpu, 0, named("L4-6Q"), VFS[1])
    assert model.perform(vgpu.place_vgpu, VFS[1], 3).placement == 3
    with pytest.raises(OperationRefused, match="INVALID_ARGUMENT"):
        model.perform(vgpu.place_vgpu, VFS[1], 0)
    model.perform(vgpu.start_vm, VFS[1], VMS[0], 4711)
    with pytest.raises(OperationRefused, match="IN_USE"):
        model.perform(vgpu.place_vgpu, VFS[1], 2)


def test_virtual_functions_of_a_vgpu_host_are_vfio_devices_on_the_nvidia_driver(model: NodeModel) -> None:
    state = model.snapshot()
    functions = [present for address, present in state.bus.functions.items() if str(address) in VFS]
    numbers = [present.vfio_device for present in functions]
    assert {present.driver for present in functions} == {"nvidia"}
    assert sorted(number for number in numbers if number is not None) == list(range(24))
    assert all(groups.is_viable(state.bus, present.iommu_group or 0) for present in functions)


def test_a_type_stays_while_its_function_is_open(model: NodeModel) -> None:
    model.perform(vgpu.create_vgpu, 0, named("L4-6Q"), VFS[0])
    state, address = model.snapshot(), PciAddress.parse(VFS[0])
    number = state.bus.functions[address].vfio_device
    assert number is not None
    opened = vfio.device_opened(state, number, 4711)
    with pytest.raises(KernelRefused, match="4711"):
        mediating.type_assigned(opened, address, 0)
    assert mediating.type_assigned(state, address, 0).vgpus == ()


def test_how_vgpus_share_a_gpu_cannot_change_while_there_are_any(model: NodeModel) -> None:
    model.perform(vgpu.create_vgpu, 0, named("L4-6Q"), VFS[0])
    with pytest.raises(OperationRefused, match="IN_USE"):
        model.perform(vgpu.set_mixed_sizes, 0, enabled=True)


def test_a_running_machine_holds_its_vgpu_and_its_frame_buffer(model: NodeModel) -> None:
    model.perform(vgpu.create_vgpu, 0, named("L4-12Q"), VFS[0])
    model.perform(vgpu.start_vm, VFS[0], VMS[0], 4711)
    assert model.snapshot().gpus[0].memory_used_bytes == 12 << 30
    for refused in (
        lambda: model.perform(vgpu.remove_vgpu, VFS[0]),
        lambda: model.perform(vgpu.start_vm, VFS[0], VMS[1], 4712),
        lambda: model.perform(vgpu.set_vgpu_scheduler, 0, 2),
    ):
        with pytest.raises(OperationRefused, match="IN_USE"):
            refused()
    model.perform(vgpu.stop_vm, VFS[0])
    model.perform(vgpu.remove_vgpu, VFS[0])
    assert model.snapshot().gpus[0].memory_used_bytes == 0
    assert model.snapshot().vgpus == ()


def test_a_guests_finished_processes_are_kept_only_with_accounting(model: NodeModel) -> None:
    model.perform(vgpu.create_vgpu, 0, named("L4-12Q"), VFS[0])
    model.perform(vgpu.start_vm, VFS[0], VMS[0], 4711)
    for enabled, kept in ((False, 0), (True, 1)):
        model.perform(vgpu.set_guest_accounting, VFS[0], enabled=enabled)
        model.perform(vgpu.run_in_guest, VFS[0], 10, "cad", gpu_percent=40)
        after = model.perform(vgpu.end_in_guest, VFS[0], 10)
        assert after.vm is not None
        assert len(after.vm.finished) == kept


REFUSALS: list[tuple[str, Callable[[NodeModel], object], str]] = [
    (
        "a type of another board",
        lambda model: model.perform(vgpu.create_vgpu, 0, 1, VFS[0]),
        "INVALID_ARGUMENT",
    ),
    (
        "no virtual function",
        lambda model: model.perform(vgpu.create_vgpu, 0, 919, "0000:41:00.0"),
        "NOT_FOUND",
    ),
    ("no such GPU", lambda model: model.perform(vgpu.create_vgpu, 7, 919, VFS[0]), "NOT_FOUND"),
    ("a carrier that carries nothing", lambda model: model.perform(vgpu.remove_vgpu, "x"), "NOT_FOUND"),
    ("a machine on nothing", lambda model: model.perform(vgpu.start_vm, "x", VMS[0], 1), "NOT_FOUND"),
    ("policy 0", lambda model: model.perform(vgpu.set_vgpu_scheduler, 0, 0), "INVALID_ARGUMENT"),
    (
        "a slice of a nanosecond",
        lambda model: model.perform(vgpu.set_vgpu_scheduler, 0, 3, time_slice_nanoseconds=1),
        "INVALID_ARGUMENT",
    ),
]


@pytest.mark.parametrize(("act", "reason"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_refusals_name_the_reason_and_change_nothing(
    model: NodeModel, act: Callable[[NodeModel], object], reason: str
) -> None:
    before = model.snapshot()
    with pytest.raises(OperationRefused, match=reason):
        act(model)
    assert model.snapshot() is before


def test_without_the_vgpu_manager_there_are_no_vgpus() -> None:
    model = NodeModel(replace(host(), vgpu_manager=False))
    with pytest.raises(OperationRefused, match=r"NOT_SUPPORTED.*manager"):
        model.perform(vgpu.create_vgpu, 0, 919, VFS[0])


def fits_by_search(mixed: bool, placed: list[Placed], asked: int) -> bool:
    """Say the rule again, by drawing the row of slots."""
    types = types_of(SPEC)
    kind = types[asked]
    if not mixed:
        alike = all(each.type.framebuffer_mib == kind.framebuffer_mib for each in placed)
        return alike and len(placed) < kind.per_gpu
    row = [False] * slots_of(types.values())
    for each in placed:
        for slot in range(placement_size(each.type, types.values(), mixed=True)):
            row[each.placement + slot] = True
    size = placement_size(kind, types.values(), mixed=True)
    return any(not any(row[at : at + size]) for at in range(0, len(row), size))


STEPS = st.lists(
    st.tuples(st.sampled_from([*types_of(SPEC)]), st.integers(0, 11), st.booleans()), min_size=1, max_size=40
)


@settings(deadline=None)
@given(st.booleans(), STEPS)
def test_what_is_creatable_agrees_with_a_drawing_of_the_gpu(
    mixed: bool, steps: list[tuple[int, int, bool]]
) -> None:
    model = NodeModel(host())
    model.perform(vgpu.set_mixed_sizes, 0, enabled=mixed)
    for asked, carrier, create in steps:
        state = model.snapshot()
        placed = list(vgpu.placed_on(state, state.gpus[0]))
        free = VFS[carrier] not in {each.carrier for each in state.vgpus}
        expected = fits_by_search(mixed, placed, asked) and free
        try:
            if create:
                model.perform(vgpu.create_vgpu, 0, asked, VFS[carrier])
            else:
                model.perform(vgpu.remove_vgpu, VFS[carrier])
            done = True
        except OperationRefused:
            done = False
        assert done == (expected if create else not free)
    slots: set[int] = set()
    for each in vgpu.placed_on(model.snapshot(), model.snapshot().gpus[0]):
        size = placement_size(each.type, types_of(SPEC).values(), mixed=mixed)
        mine = set(range(each.placement, each.placement + size))
        assert not slots & mine
        slots |= mine


WRONG = [
    ({"virtual_functions": 0}, "virtual functions"),
    ({"time_sliced": {"Q": {24: (2, 2)}}, "ids": {}}, "do not fit into 24 GiB"),
    ({"time_sliced": {"Q": {8: (2, 3)}}, "ids": {}}, "exceed 2 of equal size"),
    ({"ids": {"L4-5Q": 3}}, "no type of this board"),
    ({"ids": {"L4-24Q": 3, "L4-12Q": 3}}, "given twice"),
    ({"mig_backed": ({"slices": 1, "gib": 99, "profile": 19},)}, "exceed the board"),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_a_section_that_contradicts_itself_is_refused(change: dict[str, object], sentence: str) -> None:
    wrong = VgpuSpec.model_validate({**SPEC.model_dump(), **change})
    assert any(sentence in said for _, said in wrong.faults(24))


def test_every_mixed_count_divides_the_row() -> None:
    types = types_of(SPEC)
    for kind, other in product(types.values(), repeat=2):
        assert slots_of(types.values()) % kind.mixed == 0
        assert placement_size(kind, types.values(), mixed=True) * kind.mixed == slots_of(
            [kind, other, *types.values()]
        )


@pytest.mark.parametrize(
    ("board", "type_id", "name", "equal", "mixed"),
    [
        ("l40s", 1155, "L40S-24Q", 2, 2),
        ("l40s", 1147, "L40S-1Q", 32, 32),
        ("h200-sxm", 1428, "H200X-141C", 1, 1),
        ("h200-sxm", 1414, "H200X-1-18C", 1, 1),
    ],
)
def test_boards_know_the_types_that_were_seen_on_machines(
    board: str, type_id: int, name: str, equal: int, mixed: int
) -> None:
    kind = types_of(load_board(board).vgpu)[type_id]
    assert (kind.name, kind.per_gpu, kind.mixed) == (name, equal, mixed)


@pytest.mark.parametrize(
    "end",
    [
        lambda model: model.perform(gpus.lose, 0),
        lambda model: model.perform(bus.set_virtual_functions, "0000:41:00.0", 0),
    ],
    ids=["the GPU is lost", "its virtual functions go"],
)
def test_a_vgpu_and_its_machine_end_with_what_carries_them(
    model: NodeModel, end: Callable[[NodeModel], object]
) -> None:
    model.perform(vgpu.create_vgpu, 0, named("L4-12Q"), VFS[0])
    model.perform(vgpu.start_vm, VFS[0], VMS[0], 4711)
    end(model)
    assert model.snapshot().vgpus == ()
    assert model.snapshot().gpus[0].processes == ()
