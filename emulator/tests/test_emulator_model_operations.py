"""Operations: what they change, what they refuse, and that a refusal changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.emulator.model import (
    ComputeMode,
    NodeModel,
    NodeState,
    OperationRefused,
    ProcessKind,
    Refusal,
    TimeSlice,
    Utilization,
    build_node,
    load_node_profile,
)
from claimwright.emulator.model.change import Change, EventKind, GpuEvent
from claimwright.emulator.model.operations import bus, gpus

GIB = 1 << 30


@pytest.fixture
def model() -> NodeModel:
    return NodeModel(build_node(load_node_profile("hgx-h100"), "node-a"))


@pytest.fixture
def l4() -> NodeModel:
    return NodeModel(build_node(load_node_profile("l4"), "node-a"))


def test_a_process_takes_memory_and_raises_the_clocks(model: NodeModel) -> None:
    gpu = model.perform(gpus.start_process, 0, 100, "python", 2 * GIB)

    assert gpu.memory_used_bytes == 2 * GIB
    assert gpu.clocks.graphics == gpu.board.max_clocks.graphics
    assert model.perform(gpus.stop_process, 0, 100).clocks.graphics == gpu.board.idle_clocks.graphics
    assert model.snapshot().gpus[0].memory_used_bytes == 0


def test_load_raises_the_power_up_to_the_limit(model: NodeModel) -> None:
    model.perform(gpus.set_power_limit, 0, 300_000)

    gpu = model.perform(gpus.set_utilization, 0, Utilization(gpu=100))

    assert gpu.power.usage_milliwatts == 300_000


def test_a_busy_l4_leaves_its_idle_performance_state(l4: NodeModel) -> None:
    assert l4.snapshot().gpus[0].performance_state == 8
    assert l4.perform(gpus.start_process, 0, 1, "x", 0).performance_state == 0


def test_locked_clocks_hold_the_graphics_clock(model: NodeModel) -> None:
    model.perform(gpus.start_process, 0, 1, "x", 0)

    assert model.perform(gpus.lock_clocks, 0, 600, 900).clocks.graphics == 900
    assert model.perform(gpus.unlock_clocks, 0).clocks.graphics == 1980
    assert model.perform(gpus.lock_clocks, 0, 0, 9999).clock_lock is not None


def test_ecc_counts_grow_and_clear_by_lifetime(model: NodeModel) -> None:
    model.perform(gpus.count_ecc_errors, 0, corrected=2, uncorrected=1)

    gpu = model.perform(gpus.clear_ecc_errors, 0, aggregate=False)

    assert gpu.ecc is not None
    assert (gpu.ecc.volatile.corrected, gpu.ecc.aggregate.corrected, gpu.ecc.aggregate.uncorrected) == (
        0,
        2,
        1,
    )


def test_a_pending_ecc_mode_comes_with_the_reset(model: NodeModel) -> None:
    pending = model.perform(gpus.set_ecc_mode, 0, enabled=False)
    model.perform(gpus.lose, 0)
    after = model.perform(gpus.recover, 0)

    assert pending.ecc is not None
    assert after.ecc is not None
    assert (pending.ecc.current, after.ecc.current) == (True, False)


def test_a_lost_gpu_has_no_processes_and_refuses_commands(model: NodeModel) -> None:
    model.perform(gpus.start_process, 3, 7, "x", GIB)

    assert model.perform(gpus.lose, 3).processes == ()
    with pytest.raises(OperationRefused) as refused:
        model.perform(gpus.set_persistence_mode, 3, enabled=True)
    assert refused.value.reason is Refusal.GPU_IS_LOST
    assert not model.perform(gpus.recover, 3).lost


def test_an_exclusive_gpu_takes_one_compute_process_and_any_graphics(model: NodeModel) -> None:
    model.perform(gpus.set_compute_mode, 0, ComputeMode.EXCLUSIVE_PROCESS)
    model.perform(gpus.start_process, 0, 1, "first", 0)

    model.perform(gpus.start_process, 0, 2, "display", 0, kind=ProcessKind.GRAPHICS)
    with pytest.raises(OperationRefused, match="exclusive to process 1"):
        model.perform(gpus.start_process, 0, 3, "second", 0)


REFUSALS: list[tuple[str, Callable[[NodeModel], object], Refusal]] = [
    ("no such GPU", lambda model: model.perform(gpus.lose, 8), Refusal.NOT_FOUND),
    ("negative GPU", lambda model: model.perform(gpus.lose, -1), Refusal.NOT_FOUND),
    (
        "power below the range",
        lambda model: model.perform(gpus.set_power_limit, 0, 199_999),
        Refusal.INVALID_ARGUMENT,
    ),
    (
        "power above the range",
        lambda model: model.perform(gpus.set_power_limit, 0, 700_001),
        Refusal.INVALID_ARGUMENT,
    ),
    (
        "compute mode that is gone",
        lambda model: model.perform(gpus.set_compute_mode, 0, 1),
        Refusal.NOT_SUPPORTED,
    ),
    ("compute mode 9", lambda model: model.perform(gpus.set_compute_mode, 0, 9), Refusal.INVALID_ARGUMENT),
    ("time slice 4", lambda model: model.perform(gpus.set_time_slice, 0, 4), Refusal.INVALID_ARGUMENT),
    (
        "clocks upside down",
        lambda model: model.perform(gpus.lock_clocks, 0, 900, 600),
        Refusal.INVALID_ARGUMENT,
    ),
    ("too much memory", lambda model: model.perform(gpus.start_process, 0, 1, "x", 81 * GIB), Refusal.MEMORY),
    ("pid 0", lambda model: model.perform(gpus.start_process, 0, 0, "x", 0), Refusal.INVALID_ARGUMENT),
    (
        "negative memory",
        lambda model: model.perform(gpus.start_process, 0, 1, "x", -1),
        Refusal.INVALID_ARGUMENT,
    ),
    ("stop of a stranger", lambda model: model.perform(gpus.stop_process, 0, 12), Refusal.NOT_FOUND),
    (
        "101 %",
        lambda model: model.perform(gpus.set_utilization, 0, Utilization(memory=101)),
        Refusal.INVALID_ARGUMENT,
    ),
    ("500 degrees", lambda model: model.perform(gpus.set_temperature, 0, 500), Refusal.INVALID_ARGUMENT),
    ("link 18", lambda model: model.perform(gpus.set_nvlink, 0, 18, active=False), Refusal.INVALID_ARGUMENT),
    (
        "shrinking errors",
        lambda model: model.perform(gpus.count_ecc_errors, 0, corrected=-1),
        Refusal.INVALID_ARGUMENT,
    ),
]


@pytest.mark.parametrize(
    ("act", "reason"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
def test_a_refused_operation_changes_nothing_and_tells_nobody(
    model: NodeModel, act: Callable[[NodeModel], object], reason: Refusal
) -> None:
    heard: list[NodeState] = []
    model.subscribe(heard.append)
    before = model.snapshot()

    with pytest.raises(OperationRefused) as refused:
        act(model)

    assert refused.value.reason is reason
    assert model.snapshot() is before
    assert heard == [before]


def test_boards_refuse_what_they_do_not_have(l4: NodeModel) -> None:
    for act in (
        lambda: l4.perform(gpus.set_temperature, 0, 40, 50),
        lambda: l4.perform(gpus.set_nvlink, 0, 0, active=False),
    ):
        with pytest.raises(OperationRefused):
            act()


def test_a_prohibited_gpu_takes_no_compute_process(l4: NodeModel) -> None:
    l4.perform(gpus.set_compute_mode, 0, ComputeMode.PROHIBITED)

    with pytest.raises(OperationRefused, match="prohibits"):
        l4.perform(gpus.start_process, 0, 1, "x", 0)


def test_a_gpu_of_another_driver_runs_no_process(model: NodeModel) -> None:
    model.perform(bus.move_to_driver, str(model.snapshot().gpus[0].pci), "vfio-pci")

    assert len(model.snapshot().nvml_gpus) == 7
    with pytest.raises(OperationRefused, match="not on the NVIDIA driver"):
        model.perform(gpus.start_process, 0, 1, "x", 0)


def test_a_subscriber_hears_the_present_and_each_change_until_it_leaves(model: NodeModel) -> None:
    heard: list[int] = []
    leave = model.subscribe(lambda state: heard.append(state.revision))

    model.perform(gpus.set_time_slice, 0, TimeSlice.LONG)
    model.perform(gpus.set_time_slice, 0, TimeSlice.LONG)  # no change, no news
    leave()
    leave()
    model.perform(gpus.set_time_slice, 0, TimeSlice.SHORT)

    assert heard == [0, 1]


def test_a_failing_subscriber_keeps_nobody_else_from_hearing(model: NodeModel) -> None:
    heard: list[int] = []

    def broken(state: NodeState) -> None:
        if state.revision:
            raise RuntimeError("full disk")

    model.subscribe(broken)
    model.subscribe(lambda state: heard.append(state.revision))

    with pytest.raises(ExceptionGroup, match="could not follow"):
        model.perform(gpus.set_persistence_mode, 0, enabled=True)
    assert heard == [0, 1]


def test_changes_from_many_threads_are_all_kept_and_heard_in_order(model: NodeModel) -> None:
    heard: list[int] = []
    model.subscribe(lambda state: heard.append(state.revision))

    def work(gpu: int) -> None:
        for pid in range(1, 26):
            model.perform(gpus.start_process, gpu, pid, "x", 1)

    threads = [threading.Thread(target=work, args=(gpu,)) for gpu in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert heard == list(range(201))
    assert all(len(gpu.processes) == 25 for gpu in model.snapshot().gpus)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("start_process"), st.integers(1, 5), st.just("x"), st.integers(-1, 40 * GIB)),
        st.tuples(st.just("stop_process"), st.integers(1, 5)),
        st.tuples(st.just("set_compute_mode"), st.integers(-1, 4)),
        st.tuples(st.just("set_power_limit"), st.integers(100_000, 800_000)),
        st.tuples(st.just("lock_clocks"), st.integers(-5, 3000), st.integers(-5, 3000)),
        st.tuples(st.just("set_utilization"), st.builds(Utilization, gpu=st.integers(-1, 101))),
        st.tuples(st.just("lose")),
        st.tuples(st.just("recover")),
    ),
    max_size=30,
)
IDLE = build_node(load_node_profile("l4x4"), "node-a")


@settings(deadline=None)
@given(steps)
def test_whatever_is_done_a_gpu_stays_physically_possible(done: list[tuple[object, ...]]) -> None:
    model = NodeModel(IDLE)
    for operation, *arguments in done:
        try:
            model.perform(getattr(gpus, str(operation)), 1, *arguments)
        except OperationRefused:
            continue

    gpu = model.snapshot().gpus[1]
    board = gpu.board
    assert 0 <= gpu.memory_used_bytes <= board.memory.usable_bytes
    assert gpu.memory_free_bytes >= 0
    assert board.power.min_watts * 1000 <= gpu.power.limit_milliwatts <= board.power.max_watts * 1000
    assert 0 < gpu.power.usage_milliwatts <= gpu.power.limit_milliwatts
    assert 0 < gpu.clocks.graphics <= board.max_clocks.graphics
    assert len({process.pid for process in gpu.processes}) == len(gpu.processes)
    assert not (gpu.lost and gpu.processes) or gpu.processes
    assert model.snapshot().gpus[0] == IDLE.gpus[0]


def test_events_come_after_the_state_that_they_belong_to(model: NodeModel) -> None:
    heard: list[tuple[GpuEvent, bool]] = []
    leave = model.listen(lambda event: heard.append((event, model.snapshot().gpus[2].lost)))
    event = GpuEvent(2, EventKind.XID, 79)

    def fall(state: NodeState) -> Change[None]:
        return Change(gpus.lose(state, 2).state, None, (event,))

    model.perform(fall)
    leave()
    model.perform(fall)
    assert heard == [(event, True)]
