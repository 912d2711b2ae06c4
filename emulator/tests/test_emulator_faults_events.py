"""Events to processes that only wait: woken at once, in order, per set; lost GPUs, dead nodes, full queues."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claimwright.emulator import running

pytestmark = pytest.mark.slow

_BEGIN = """
import ctypes, json, os, sys, threading, time
import pynvml as n
n.nvmlInit()

def handle(index):
    return n.nvmlDeviceGetHandleByIndex(index)

def registered(*indices, mask=n.nvmlEventTypeXidCriticalError):
    made = n.nvmlEventSetCreate()
    for index in indices:
        n.nvmlDeviceRegisterEvents(handle(index), mask, made)
    return made

def wait(events, ms=20_000):
    try:
        data = n.nvmlEventSetWait_v2(events, ms)
    except n.NVMLError as error:
        return f"error {error.value}"
    gpu = next(at for at in range(8) if address(known[at]) == address(data.device))
    return [gpu, data.eventType, data.eventData, data.gpuInstanceId, data.computeInstanceId]

def address(device):
    return ctypes.cast(device, ctypes.c_void_p).value

known = [handle(index) for index in range(8)]

def say(value):
    print(json.dumps(value), flush=True)
"""
NOWHERE = 0xFFFFFFFF
XID, SINGLE, DOUBLE = 8, 1, 2
LOST, TIMED_OUT = "error 15", "error 10"


class Waiter:
    """A process of its own that runs Python with pynvml; `next` is the next thing that it says."""

    def __init__(self, node: running.RunningNode, code: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _BEGIN + textwrap.dedent(code)],
            env={**os.environ, **node.environment},
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def next(self) -> object:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the waiter ended"
        return json.loads(line)

    def end(self) -> None:
        self.process.kill()
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[running.RunningNode]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield running.up("hgx-h100", name="events")
    if "events" in running.known_names():
        running.down("events")


@pytest.fixture
def waiter(node: running.RunningNode) -> Iterator[Callable[[str], Waiter]]:
    made: list[Waiter] = []

    def make(code: str) -> Waiter:
        made.append(Waiter(node, code))
        return made[-1]

    yield make
    for each in made:
        each.end()


def inject(node: running.RunningNode, fault: str, **parameters: object) -> None:
    node.call("inject_fault", fault=fault, parameters=parameters)


def test_a_process_that_only_waits_is_woken(
    node: running.RunningNode, waiter: Callable[[str], Waiter]
) -> None:
    waiting = waiter("events = registered(3)\nsay('ready')\nsay(wait(events))\n")
    assert waiting.next == "ready"
    inject(node, "xid", xid=48, gpu=3)
    assert waiting.next == [3, XID, 48, NOWHERE, NOWHERE]


def test_events_come_in_order_and_each_set_has_its_own_copy(
    node: running.RunningNode, waiter: Callable[[str], Waiter]
) -> None:
    waiting = waiter(
        "one, two = registered(0, 1), registered(1)\nsay('ready')\n"
        "say([wait(one) for _ in range(3)])\nsay([wait(two) for _ in range(2)])\nsay(wait(two, 0))\n"
    )
    assert waiting.next == "ready"
    for gpu, code in ((0, 13), (1, 31), (1, 43)):
        node.call("report_xid", gpu=gpu, code=code)
    first, second = [1, XID, 31, NOWHERE, NOWHERE], [1, XID, 43, NOWHERE, NOWHERE]
    assert waiting.next == [[0, XID, 13, NOWHERE, NOWHERE], first, second]
    assert waiting.next == [first, second]
    assert waiting.next == TIMED_OUT


def test_only_what_was_registered_after_registration_is_delivered(
    node: running.RunningNode, waiter: Callable[[str], Waiter]
) -> None:
    node.call("report_xid", gpu=0, code=13)
    waiting = waiter(
        f"events = registered(0, mask={DOUBLE | XID})\nsay('ready')\nsay([wait(events) for _ in range(3)])\n"
    )
    assert waiting.next == "ready"
    inject(node, "ecc-single-bit", gpu=0)
    inject(node, "ecc-double-bit", gpu=0)
    said = waiting.next
    assert isinstance(said, list)
    assert [each[1:3] for each in said] == [[DOUBLE, 1], [XID, 48], [XID, 63]]


def test_an_xid_of_a_mig_instance_names_it(
    node: running.RunningNode, waiter: Callable[[str], Waiter]
) -> None:
    waiting = waiter("events = registered(2)\nsay('ready')\nsay(wait(events))\n")
    assert waiting.next == "ready"
    inject(node, "xid", xid=43, gpu=2, gpu_instance=3, compute_instance=0)
    assert waiting.next == [2, XID, 43, 3, 0]


def test_a_lost_gpu_is_told_after_its_xid_again_and_again_until_it_is_back(
    node: running.RunningNode, waiter: Callable[[str], Waiter]
) -> None:
    waiting = waiter(
        """
        events, others = registered(3), registered(4)
        say("ready")
        say([wait(events) for _ in range(4)])
        say(wait(others, 0))
        while (seen := wait(events, 20)) == "error 15":
            time.sleep(0.001)
        say(seen)
        """
    )
    assert waiting.next == "ready"
    inject(node, "gpu-lost", gpu=3)
    said = waiting.next
    assert isinstance(said, list)
    assert said[0] == [3, XID, 79, NOWHERE, NOWHERE]
    assert said[1:] == [LOST, LOST, LOST]
    assert waiting.next == TIMED_OUT
    node.call("reset_gpu", gpu=3)
    assert waiting.next == TIMED_OUT


def test_a_gpu_that_is_lost_without_any_event_wakes_its_waiters(
    node: running.RunningNode, waiter: Callable[[str], Waiter]
) -> None:
    waiting = waiter("events = registered(3)\nsay('ready')\nsay(wait(events))\n")
    assert waiting.next == "ready"
    node.call("lose", gpu=3)
    assert waiting.next == LOST


def test_asking_a_set_with_a_lost_gpu_in_a_loop_does_not_burn_a_core(
    node: running.RunningNode, waiter: Callable[[str], Waiter]
) -> None:
    waiting = waiter(
        """
        events = registered(3)
        say("ready")
        wait(events)
        before = time.process_time()
        say(all(wait(events) == "error 15" for _ in range(20)))
        say(time.process_time() - before < 0.15)
        """
    )
    assert waiting.next == "ready"
    node.call("lose", gpu=3)
    assert waiting.next is True
    assert waiting.next is True


def test_the_death_of_the_node_wakes_waiters_with_an_error(
    node: running.RunningNode, waiter: Callable[[str], Waiter]
) -> None:
    waiting = waiter("events = registered(0)\nsay('ready')\nsay(wait(events))\nsay(wait(events))\n")
    assert waiting.next == "ready"
    os.kill(node.pid, 9)
    assert waiting.next == LOST
    assert waiting.next == LOST


def test_a_driver_reload_ends_event_sets_and_a_new_set_works(
    node: running.RunningNode, waiter: Callable[[str], Waiter]
) -> None:
    waiting = waiter(
        """
        events = registered(0)
        say("ready")
        say(wait(events))
        while True:
            try:
                events = registered(0)
                break
            except n.NVMLError:
                time.sleep(0.001)
        say("again")
        say(wait(events))
        """
    )
    assert waiting.next == "ready"
    inject(node, "driver-reload")
    assert waiting.next == LOST
    node.call("clear_faults")
    assert waiting.next == "again"
    node.call("report_xid", gpu=0, code=13)
    assert waiting.next == [0, XID, 13, NOWHERE, NOWHERE]


def test_many_waiters_hear_and_one_that_is_killed_disturbs_nobody(
    node: running.RunningNode, waiter: Callable[[str], Waiter]
) -> None:
    code = "events = registered(0)\nsay('ready')\nsay(wait(events))\nsay(wait(events))\n"
    waiting = [waiter(code) for _ in range(8)]
    assert [each.next for each in waiting] == ["ready"] * 8
    node.call("report_xid", gpu=0, code=13)
    assert all(each.next == [0, XID, 13, NOWHERE, NOWHERE] for each in waiting)
    waiting.pop().end()
    node.call("report_xid", gpu=0, code=31)
    assert all(each.next == [0, XID, 31, NOWHERE, NOWHERE] for each in waiting)


def test_a_set_that_nobody_reads_keeps_the_oldest_events_and_holds_nobody_up(
    node: running.RunningNode, waiter: Callable[[str], Waiter]
) -> None:
    waiting = waiter(
        """
        events = registered(0)
        say("ready")
        while not os.path.exists(os.environ["GO"]):
            time.sleep(0.001)
        seen = []
        while (each := wait(events, 0)) != "error 10":
            seen.append(each[2])
        say(seen)
        """
    )
    assert waiting.next == "ready"
    started = time.monotonic()
    for number in range(1, 1501):
        node.call("report_xid", gpu=0, code=number)
    assert time.monotonic() - started < 30
    Path(os.environ["GO"]).touch()
    seen = waiting.next
    assert isinstance(seen, list)
    assert 100 < len(seen) < 1500
    assert seen == list(range(1, len(seen) + 1))


@pytest.fixture(autouse=True)
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GO", str(tmp_path / "go"))


def test_registering_while_events_rain_gives_each_set_an_unbroken_run(
    node: running.RunningNode, waiter: Callable[[str], Waiter]
) -> None:
    waiting = waiter(
        """
        say("ready")
        runs = []
        for _ in range(20):
            events = registered(0)
            runs.append([wait(events)[2] for _ in range(3)])
            n.nvmlEventSetFree(events)
        say(runs)
        """
    )
    assert waiting.next == "ready"
    number = 0
    while waiting.process.poll() is None and number < 9000:
        number += 1
        node.call("report_xid", gpu=0, code=number)
    runs = waiting.next
    assert isinstance(runs, list)
    assert all(run == [run[0], run[0] + 1, run[0] + 2] for run in runs)


def test_freeing_a_set_wakes_who_waits_on_it(
    node: running.RunningNode, waiter: Callable[[str], Waiter]
) -> None:
    waiting = waiter(
        """
        events = registered(0)
        said = []
        thread = threading.Thread(target=lambda: said.append(wait(events)))
        thread.start()
        time.sleep(0.05)
        n.nvmlEventSetFree(events)
        thread.join(20)
        say(said)
        """
    )
    assert waiting.next == ["error 2"]
