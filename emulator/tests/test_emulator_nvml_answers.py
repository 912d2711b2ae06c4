"""Functions that the node answers: seen through the C library by an unmodified pynvml, in processes of their own."""

from __future__ import annotations

import ctypes
import os
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claimwright.emulator.model import Utilization
from claimwright.emulator.model.operations import gpus
from claimwright.emulator.nvml.answers import table
from claimwright.emulator.nvml.answers.wire import inputs, shape_of
from claimwright.emulator.nvml.handles import (
    HANDLES,
    compute_instance_handle,
    gpu_handle,
    gpu_instance_handle,
    handle_of,
    mig_device_handle,
)
from claimwright.emulator.testing import Served

# Put before the code of a test: GPU 0 as `h`, and `say`, which prints errors too.
BEGIN = """
import threading
h = n.nvmlDeviceGetHandleByIndex(0)
def say(name, *arguments):
    try: print(getattr(n, "nvml" + name)(*arguments))
    except n.NVMLError as error: print(type(error).__name__.removeprefix("NVMLError_"))
"""


def lines(node: Served, code: str) -> list[str]:
    """Run Python on the node after BEGIN; return the lines that it prints."""
    return node.python(textwrap.dedent(BEGIN) + textwrap.dedent(code)).splitlines()


@pytest.fixture
def hopper(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "root", "hgx-h100") as served:
        yield served


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "root", "l4") as served:
        yield served


@pytest.fixture
def blackwell(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "root", "hgx-b200") as served:
        yield served


def test_every_handle_number_names_one_thing_and_back() -> None:
    made = [handle_of(number) for number in range(HANDLES)]
    assert len(set(made)) == HANDLES
    assert handle_of(HANDLES) is None
    assert handle_of(gpu_handle(31).number) == gpu_handle(31)
    for number in (mig_device_handle(3, 5, 2), gpu_instance_handle(3, 5), compute_instance_handle(3, 5, 2)):
        assert handle_of(number.number) == number


@pytest.mark.parametrize("name", sorted(table.answers()))
def test_an_answer_takes_what_its_function_gives(name: str) -> None:
    """A wrong signature would be UNKNOWN at the first call only."""
    import inspect

    answer, shape = table.answers()[name], shape_of(name)
    from claimwright.emulator.nvml.answers.wire import Given

    given = [Given(part, 0, b"", part.name) for part in shape.parts]
    inspect.signature(answer).bind(None, *inputs(given))


def test_accounting_remembers_what_ran_while_it_was_on(small: Served) -> None:
    small.model.perform(gpus.start_process, 0, 41, "before", 1 << 20)
    assert lines(small, "say('DeviceGetAccountingStats', h, 41)\nn.nvmlDeviceSetAccountingMode(h, 1)") == [
        "NotSupported"
    ]
    small.model.perform(gpus.start_process, 0, 42, "after", 1 << 30)
    small.model.perform(gpus.stop_process, 0, 42)
    said = lines(
        small,
        """
        print(n.nvmlDeviceGetAccountingPids(h))
        s = n.nvmlDeviceGetAccountingStats(h, 42)
        print(s.maxMemoryUsage, s.isRunning, s.startTime > 0)
        say("DeviceGetAccountingStats", h, 41)
        say("DeviceClearAccountingPids", h)
        """,
    )
    assert said == ["[42]", f"{1 << 30} 0 True", "NotFound", "NoPermission"]
    small.model.perform(gpus.stop_process, 0, 41)
    assert lines(small, "n.nvmlDeviceClearAccountingPids(h); print(n.nvmlDeviceGetAccountingPids(h))") == [
        "[]"
    ]


def test_samples_and_metrics_tell_the_load_that_was(hopper: Served) -> None:
    hopper.model.perform(gpus.set_utilization, 0, Utilization(gpu=60, memory=25))
    said = lines(
        hopper,
        """
        deadline, found = time.monotonic() + 20, []
        while len(found) < 2 and time.monotonic() < deadline:
            try: kind, every = n.nvmlDeviceGetSamples(h, 1, 0)
            except n.NVMLError_NotFound: continue
            found = [s for s in every if s.sampleValue.uiVal]  # those from before the load are of an idle GPU
        print(kind, {s.sampleValue.uiVal for s in found}, found[0].timeStamp < found[1].timeStamp)
        first, second = n.nvmlGpmSampleAlloc(), n.nvmlGpmSampleAlloc()
        n.nvmlGpmSampleGet(h, first); time.sleep(0.01); n.nvmlGpmSampleGet(h, second)
        get = n.c_nvmlGpmMetricsGet_t(version=1, numMetrics=2, sample1=first, sample2=second)
        get.metrics[0].metricId, get.metrics[1].metricId = 1, 10
        n.nvmlGpmMetricsGet(get)
        print([get.metrics[i].value for i in range(2)])
        n.nvmlGpmSampleFree(first)
        say("GpmSampleFree", first)
        say("GpmSampleGet", h, first)
        """,
    )
    assert said == ["1 {60} True", "[60.0, 25.0]", "InvalidArgument", "InvalidArgument"]


def test_performance_metrics_begin_with_hopper(small: Served) -> None:
    said = lines(
        small,
        "print(n.nvmlGpmQueryDeviceSupport(h).isSupportedDevice)\nsay('GpmSampleGet', h, n.nvmlGpmSampleAlloc())",
    )
    assert said == ["0", "NotSupported"]


def test_a_locked_memory_clock_is_read_by_everybody(hopper: Served) -> None:
    library = ctypes.CDLL(str(hopper.library))
    device, clock = ctypes.c_void_p(), ctypes.c_uint()
    assert library.nvmlInit_v2() == 0
    try:
        library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device))
        lines(hopper, "n.nvmlDeviceSetMemoryLockedClocks(h, 1593, 1593)")
        library.nvmlDeviceGetClockInfo(device, 2, ctypes.byref(clock))
        assert clock.value == 1593
        assert lines(hopper, "say('DeviceSetApplicationsClocks', h, 2619, 1981)") == ["InvalidArgument"]
    finally:
        library.nvmlShutdown()


def test_a_drained_gpu_takes_no_clients_and_can_be_removed_and_found_again(hopper: Served) -> None:
    said = lines(
        hopper,
        """
        pci = n.nvmlDeviceGetPciInfo(h)
        n.nvmlDeviceModifyDrainState(pci, 1)
        print(n.nvmlDeviceQueryDrainState(pci))
        """,
    )
    assert said == ["1"]
    with pytest.raises(Exception, match="drained"):
        hopper.model.perform(gpus.start_process, 0, 9, "late", 0)
    said = lines(
        hopper,
        """
        pci = n.nvmlDeviceGetPciInfo(h)
        n.nvmlDeviceRemoveGpu(pci)
        print(n.nvmlDeviceGetCount())
        n.nvmlDeviceDiscoverGpus(pci)
        print(n.nvmlDeviceGetCount())
        """,
    )
    assert said == ["7", "8"]


def test_power_profiles_are_asked_for_and_taken_back_on_blackwell(blackwell: Served) -> None:
    """By reference: pynvml's own wrappers pass these records by value, which no library understands."""
    code = """
        from ctypes import byref
        asked = n.c_nvmlWorkloadPowerProfileRequestedProfiles_v1_t()
        asked.requestedProfilesMask.mask[0] = 0b11
        def enforced():
            now = n.c_nvmlWorkloadPowerProfileCurrentProfiles_v1_t()
            n.nvmlDeviceWorkloadPowerProfileGetCurrentProfiles(h, byref(now))
            return now.requestedProfilesMask.mask[0], now.enforcedProfilesMask.mask[0]
        n.nvmlDeviceWorkloadPowerProfileSetRequestedProfiles(h, byref(asked)); print(enforced())
        n.nvmlDeviceWorkloadPowerProfileClearRequestedProfiles(h, byref(asked)); print(enforced())
        """
    assert lines(blackwell, code) == ["(3, 1)", "(0, 0)"]


def test_threads_of_one_client_are_answered_side_by_side_and_a_late_answer_holds_up_nobody(
    hopper: Served,
) -> None:
    assert hopper.server is not None
    hopper.server.delay_of = lambda name, gpu: (
        1.5 if name == "nvmlDeviceGetViolationStatus" and gpu == 0 else 0.0
    )
    said = lines(
        hopper,
        """
        done = []
        def late():
            n.nvmlDeviceGetViolationStatus(h, 0); done.append("late")
        def soon():
            for turn in range(50): n.nvmlDeviceGetAccountingMode(h)
            done.append("soon")
        threads = [threading.Thread(target=each) for each in (late, soon, soon, soon)]
        [each.start() for each in threads]; [each.join(30) for each in threads]
        print(done)
        """,
    )
    assert said == ["['soon', 'soon', 'soon', 'late']"]


def test_a_child_of_fork_asks_on_a_connection_of_its_own(small: Served) -> None:
    said = lines(
        small,
        """
        n.nvmlDeviceGetAccountingMode(h)
        child = os.fork()
        for turn in range(200): assert n.nvmlDeviceGetAccountingMode(h) == 0
        if not child: os._exit(0)
        print(os.waitpid(child, 0)[1])
        """,
    )
    assert said == ["0"]


def test_an_answer_that_fails_is_unknown_for_its_caller_alone(
    small: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(
        "claimwright.emulator.nvml.answers.answering.answers",
        lambda: {**table.answers(), "nvmlDeviceGetViolationStatus": broken},
    )
    said = lines(small, "say('DeviceGetViolationStatus', h, 0)\nsay('DeviceGetAccountingMode', h)")
    assert said == ["Unknown", "0"]
    assert "nvmlDeviceGetViolationStatus failed" in caplog.text


def test_a_node_that_stops_while_it_owes_an_answer_is_lost_at_once(small: Served) -> None:
    library, device = ctypes.CDLL(str(small.library)), ctypes.c_void_p()
    status = (ctypes.c_ulonglong * 2)()
    assert library.nvmlInit_v2() == 0
    try:
        library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device))
        asked = threading.Event()

        def late(_name: str, _gpu: int) -> float:
            asked.set()
            return 25.0

        assert small.server is not None
        small.server.delay_of = late
        results: list[int] = []
        waiter = threading.Thread(
            target=lambda: results.append(library.nvmlDeviceGetViolationStatus(device, 0, status))
        )
        started = time.monotonic()
        waiter.start()
        assert asked.wait(20)
        small.stop()
        waiter.join(20)
        assert results == [15]
        assert time.monotonic() - started < 15
    finally:
        library.nvmlShutdown()


def test_arrays_never_go_beyond_the_callers_room(small: Served) -> None:
    lines(small, "n.nvmlDeviceSetAccountingMode(h, 1)")
    for pid in (51, 52, 53):
        small.model.perform(gpus.start_process, 0, pid, "one", 1 << 20)
    library, device = ctypes.CDLL(str(small.library)), ctypes.c_void_p()
    assert library.nvmlInit_v2() == 0
    try:
        library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device))
        room, count = (ctypes.c_uint * 4)(*[7] * 4), ctypes.c_uint(2)
        assert library.nvmlDeviceGetAccountingPids(device, ctypes.byref(count), room) == 7
        assert (count.value, list(room)) == (3, [7] * 4)
        assert library.nvmlDeviceGetAccountingPids(device, ctypes.byref(count), room) == 0
        assert (count.value, list(room)) == (3, [51, 52, 53, 7])
    finally:
        library.nvmlShutdown()


@pytest.mark.skipif(os.cpu_count() == 1, reason="needs two CPUs")
def test_cpu_affinity_is_set_for_the_calling_thread(small: Served) -> None:
    said = lines(
        small,
        """
        before = os.sched_getaffinity(0)
        n.nvmlDeviceSetCpuAffinity(h); near = os.sched_getaffinity(0)
        n.nvmlDeviceClearCpuAffinity(h)
        print(near <= before, os.sched_getaffinity(0) == before)
        """,
    )
    assert said == ["True True"]


def test_there_are_no_units_and_no_excluded_devices(small: Served) -> None:
    said = lines(
        small,
        """
        say('UnitGetCount'); say('UnitGetHandleByIndex', 0)
        say('GetExcludedDeviceCount'); say('GetExcludedDeviceInfoByIndex', 0)
        """,
    )
    assert said == ["0", "InvalidArgument", "0", "InvalidArgument"]
