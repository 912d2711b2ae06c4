"""Ledger, barriers, processes, CDI rules and the choice of devices."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimwright.conformance.barriers import wait_until, watch_for
from claimwright.conformance.cdi_rules import faults_of, least_version
from claimwright.conformance.declaration import Allocation
from claimwright.conformance.errors import Violation
from claimwright.conformance.ledger import Ledger
from claimwright.conformance.process_records import ProcessRecords, started_ticks
from claimwright.conformance.published import Choice, choose_devices, read_pools

DRIVER = "gpu.example.com"
CHOICE = Choice(DRIVER, Allocation(), "uuid")
SPEC = {
    "cdiVersion": "0.5.0",
    "kind": "example.com/gpu",
    "devices": [{"name": "g0", "containerEdits": {"env": ["A=1"]}}],
}


def _slice(name, devices, *, pool="p", generation=1, count=1, counters=()):
    spec = {"pool": {"name": pool, "generation": generation, "resourceSliceCount": count}, "devices": devices}
    return {"metadata": {"name": name}, "spec": {**spec, "sharedCounters": list(counters)}}


def _device(name, uuid=None, **more):
    return {"name": name, "attributes": {"uuid": {"string": uuid or name}}, **more}


def test_the_ledger_frees_the_youngest_first_and_goes_on_after_an_error():
    ledger, freed = Ledger(), []
    ledger.owe("first", lambda: freed.append("first"))
    ledger.owe("stuck", lambda: 1 / 0)
    struck = ledger.owe("struck", lambda: freed.append("struck"))
    ledger.owe("last", lambda: freed.append("last"))
    ledger.strike(struck)
    assert ledger.settle() == ["stuck: division by zero"]
    assert freed == ["last", "first"]
    assert ledger.settle() == []


def test_a_wait_that_ends_in_vain_is_the_drivers_violation():
    with pytest.raises(Violation, match=r"a miracle within 0\.05 s"):
        wait_until(lambda: None, 0.05, "a miracle")


def test_a_wait_returns_what_came():
    answers = iter([None, None, "there"])
    assert wait_until(lambda: next(answers), 5, "it") == "there"


def test_silence_over_a_window_is_none():
    assert watch_for(lambda: None, 0.03) is None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"cdiVersion": "9.9.9"}, "9.9.9"),
        ({"kind": "no-class"}, "no-class"),
        ({"devices": []}, "empty"),
        ({"devices": SPEC["devices"] * 2}, "twice"),
        ({"devices": [{"name": "g0"}]}, "no containerEdits"),
        ({"devices": [{"name": "-", "containerEdits": {"env": ["A=1"]}}]}, "malformed"),
        ({"extra": 1}, "extra"),
        ({"containerEdits": {"env": ["NOVALUE"]}}, "NOVALUE"),
        ({"containerEdits": {"deviceNodes": [{"path": "dev/x"}]}}, "absolute"),
        ({"containerEdits": {"mounts": [{"hostPath": "/x"}]}}, "containerPath"),
        ({"containerEdits": {"hooks": [{"hookName": "prestart", "path": "x"}]}}, "absolute"),
        ({"containerEdits": {"magic": 1}}, "magic"),
    ],
)
def test_a_broken_spec_is_named(change, fault):
    assert faults_of(SPEC) == []
    assert any(fault in one for one in faults_of({**SPEC, **change}))


@pytest.mark.parametrize(
    ("change", "version"),
    [
        ({}, "0.3.0"),
        (
            {"containerEdits": {"mounts": [{"hostPath": "/a", "containerPath": "/b", "type": "bind"}]}},
            "0.4.0",
        ),
        ({"containerEdits": {"deviceNodes": [{"path": "/dev/a", "hostPath": "/dev/b"}]}}, "0.5.0"),
        ({"annotations": {"a": "b"}}, "0.6.0"),
        ({"containerEdits": {"additionalGids": [5]}}, "0.7.0"),
    ],
)
def test_the_least_version_follows_the_fields(change, version):
    assert least_version({**SPEC, **change}) == version


def test_only_the_newest_generation_counts():
    pools = read_pools([_slice("a", [_device("old")]), _slice("b", [_device("new")], generation=2)])
    assert [device.name for device in pools[0].devices] == ["new"]


def test_devices_of_an_incomplete_pool_are_not_chosen():
    assert choose_devices(read_pools([_slice("a", [_device("d")], count=2)]), CHOICE, 1) == ()


def test_tainted_and_multiple_devices_are_not_chosen():
    devices = [
        _device("tainted", taints=[{"key": "k", "effect": "NoSchedule"}]),
        _device("multiple", allowMultipleAllocations=True),
        _device("free"),
    ]
    chosen = choose_devices(read_pools([_slice("a", devices)]), CHOICE, 3)
    assert [device.name for device in chosen] == ["free"]


def test_one_physical_device_is_not_chosen_twice():
    pools = read_pools([_slice("a", [_device("whole", "G0"), _device("part", "G0"), _device("other", "G1")])])
    assert [device.name for device in choose_devices(pools, CHOICE, 3)] == ["whole", "other"]


def test_the_declared_match_is_kept():
    pools = read_pools([_slice("a", [_device("a", "A"), _device("b", "B")])])
    choice = Choice(DRIVER, Allocation(match={"uuid": "B"}))
    assert [device.name for device in choose_devices(pools, choice, 2)] == ["b"]


@given(st.integers(0, 8), st.lists(st.integers(1, 5), max_size=6), st.integers(1, 6))
def test_a_choice_never_uses_more_counters_than_there_are(limit, amounts, wanted):
    counters = [{"name": "set", "counters": {"memory": {"value": str(limit)}}}]
    devices = [
        _device(
            f"d{i}", consumesCounters=[{"counterSet": "set", "counters": {"memory": {"value": str(amount)}}}]
        )
        for i, amount in enumerate(amounts)
    ]
    chosen = choose_devices(read_pools([_slice("a", devices, counters=counters)]), CHOICE, wanted)
    assert sum(sum(device.consumes.values()) for device in chosen) <= limit
    assert len(chosen) <= wanted


def test_the_sweeper_ends_a_recorded_process_and_its_folder(tmp_path):
    work = tmp_path / "cw-work"
    work.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    ) as process:
        records = ProcessRecords(tmp_path / "run")
        records.enter(process.pid, work)
        assert records.sweep() == [f"process {process.pid}", f"folder {work}"]
        assert process.wait(10) == -signal.SIGKILL
    assert not (tmp_path / "run").exists()


def test_the_sweeper_spares_a_process_that_took_over_the_pid(tmp_path):
    records = ProcessRecords(tmp_path / "run")
    records.enter(os.getpid(), tmp_path)
    path = tmp_path / "run" / f"{os.getpid()}.json"
    path.write_text(path.read_text().replace(str(started_ticks(os.getpid())), "1"))
    assert records.sweep() == []
    assert tmp_path.exists()
