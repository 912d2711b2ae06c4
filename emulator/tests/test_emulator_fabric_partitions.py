"""The fabric manager's client library and tool against a running node, and against rubbish."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimwright.emulator import running
from claimwright.emulator.fabric_manager import SOCKET, answer
from claimwright.emulator.model import NodeModel, build_node, load_node_profile
from claimwright.emulator.model.fabric import FabricMode
from claimwright.emulator.model.operations import fabric
from claimwright.emulator.nvml import compiling

SUCCESS, BADPARAM, NOT_SUPPORTED, UNINITIALIZED, VERSION, IN_USE, INVALID = 0, -1, -3, -4, -6, -7, -9
_NOT_IN_USE, _NOT_READY = -13, -22


class Connect(ctypes.Structure):
    """fmConnectParams_v2 of nv_fm_types.h."""

    _fields_ = [
        ("version", ctypes.c_uint), ("address", ctypes.c_char * 256), ("timeout_ms", ctypes.c_uint),
        ("is_unix", ctypes.c_uint), ("kind", ctypes.c_int),
    ]  # fmt: skip


class Gpu(ctypes.Structure):
    """fmFabricPartitionGpuInfo_t."""

    _fields_ = [
        ("physical_id", ctypes.c_uint), ("uuid", ctypes.c_char * 80), ("pci", ctypes.c_char * 32),
        ("available", ctypes.c_uint), ("most", ctypes.c_uint), ("rate", ctypes.c_uint),
    ]  # fmt: skip


class Partition(ctypes.Structure):
    """fmFabricPartitionInfo_t."""

    _fields_ = [
        ("id", ctypes.c_uint),
        ("active", ctypes.c_uint),
        ("count", ctypes.c_uint),
        ("gpus", Gpu * 16),
    ]


class Partitions(ctypes.Structure):
    """fmFabricPartitionList_v2."""

    _fields_ = [
        ("version", ctypes.c_uint), ("count", ctypes.c_uint), ("most", ctypes.c_uint),
        ("items", Partition * 64),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    compiling.compile_all()
    return ctypes.CDLL(str(compiling.NVFM.path))


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[running.RunningNode]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    started = running.up("hgx-h100", name="fm")
    started.call("start_fabric_manager", mode="shared_nvswitch")
    yield started
    running.down("fm")


@pytest.fixture
def handle(library: ctypes.CDLL, node: running.RunningNode) -> Iterator[ctypes.c_void_p]:
    assert library.fmLibInit() == SUCCESS
    parameters = Connect(ctypes.sizeof(Connect) | 2 << 24, os.fsencode(node.driver_root / SOCKET), 5000, 1, 2)
    connected = ctypes.c_void_p()
    assert library.fmConnect(ctypes.byref(parameters), ctypes.byref(connected)) == SUCCESS
    yield connected
    library.fmLibShutdown()


def listed(library: ctypes.CDLL, handle: ctypes.c_void_p) -> Partitions:
    found = Partitions(ctypes.sizeof(Partitions) | 1 << 24)
    assert library.fmGetSupportedFabricPartitions(handle, ctypes.byref(found)) == SUCCESS
    return found


@pytest.mark.slow
@pytest.mark.capability("004-06")
def test_partitions_are_listed_activated_and_deactivated_as_a_driver_does(
    library: ctypes.CDLL, node: running.RunningNode, handle: ctypes.c_void_p
) -> None:
    before = listed(library, handle)
    assert (before.count, before.most) == (15, 15)
    assert [before.items[3].gpus[at].physical_id for at in range(before.items[3].count)] == [1, 3]
    assert before.items[0].gpus[0].rate == 26562
    assert before.items[14].gpus[0].most == 0

    assert library.fmActivateFabricPartition(handle, 1) == SUCCESS
    assert library.fmActivateFabricPartition(handle, 3) == IN_USE
    assert library.fmActivateFabricPartition(handle, 99) == BADPARAM
    assert library.fmDeactivateFabricPartition(handle, 2) == _NOT_IN_USE

    after = listed(library, handle)
    assert [each.id for each in after.items[: after.count] if each.active] == [1]
    told = node.call("snapshot")
    inside = {gpu["index"] for gpu in told["gpus"] if gpu["module_id"] <= 4}
    assert [index for index, row in enumerate(told["nvlink_matrix"]) if any(row)] == sorted(inside)
    assert library.fmDeactivateFabricPartition(handle, 1) == SUCCESS
    assert not any(any(row) for row in node.call("snapshot")["nvlink_matrix"])


@pytest.mark.slow
def test_a_stopped_fabric_manager_answers_nobody_and_a_started_one_does_again(
    library: ctypes.CDLL, node: running.RunningNode, handle: ctypes.c_void_p
) -> None:
    node.call("stop_fabric_manager")
    assert library.fmActivateFabricPartition(handle, 0) in {INVALID, _NOT_READY}
    again = ctypes.c_void_p()
    parameters = Connect(ctypes.sizeof(Connect) | 2 << 24, os.fsencode(node.driver_root / SOCKET), 500, 1, 2)
    assert library.fmConnect(ctypes.byref(parameters), ctypes.byref(again)) == INVALID


@pytest.mark.slow
def test_fmpm_speaks_json_and_fails_with_the_return_code(node: running.RunningNode) -> None:
    environment = {**os.environ, **node.environment}

    def fmpm(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["fmpm", *arguments], env=environment, capture_output=True, timeout=20, check=False
        )

    assert fmpm("-a", "5").returncode == 0
    refused = fmpm("-a", "0")
    said = json.loads(fmpm("-l").stdout)

    assert said["version"] == 16909068  # as captured tools print it
    assert [each["partitionId"] for each in said["partitionInfo"] if each["isActive"]] == [5]
    assert refused.returncode == 1
    assert b"-7" in refused.stderr


def test_wrong_versions_handles_and_order_are_refused(library: ctypes.CDLL) -> None:
    library.fmLibShutdown()
    found, connected = Partitions(1), ctypes.c_void_p()
    assert library.fmGetSupportedFabricPartitions(connected, ctypes.byref(found)) == UNINITIALIZED
    assert library.fmLibInit() == SUCCESS
    assert library.fmGetSupportedFabricPartitions(connected, ctypes.byref(found)) == VERSION
    assert library.fmGetSupportedFabricPartitions(connected, None) == BADPARAM
    assert library.fmConnect(ctypes.byref(Connect(7)), ctypes.byref(connected)) == VERSION
    nowhere = Connect(ctypes.sizeof(Connect) | 2 << 24, b"/nonexistent/socket", 100, 1, 2)
    assert library.fmConnect(ctypes.byref(nowhere), ctypes.byref(connected)) == INVALID
    assert library.fmActivateFabricPartition(connected, 0) == BADPARAM
    assert library.fmDisconnect(ctypes.c_void_p(12345)) == BADPARAM
    library.fmLibShutdown()


def test_bare_metal_lists_no_partitions() -> None:
    model = NodeModel(build_node(load_node_profile("hgx-h100"), "n"))
    assert answer(model, "list") == f"{NOT_SUPPORTED}\n\n"


def test_links_that_should_be_trained_and_are_not_are_reported() -> None:
    model = NodeModel(build_node(load_node_profile("hgx-h100"), "n"))
    from claimwright.emulator.model.operations import gpus

    model.perform(gpus.set_nvlink, 2, 5, active=False)
    gpu = model.snapshot().gpus[2]
    assert answer(model, "failed") == f"0\ngpu {gpu.uuid} {gpu.pci.nvml} 1 5\n\n"
    model.perform(fabric.start_fabric_manager, FabricMode.SHARED_NVSWITCH)
    assert answer(model, "failed") == "0\n\n"


def test_a_new_fabric_manager_is_told_what_is_active_and_refuses_overlaps() -> None:
    model = NodeModel(build_node(load_node_profile("hgx-h100"), "n"))
    model.perform(fabric.start_fabric_manager, FabricMode.SHARED_NVSWITCH)
    assert answer(model, "activated 1 5") == "0\n\n"
    assert answer(model, "activated 0 5") == f"{IN_USE}\n\n"
    manager = model.snapshot().fabric_manager
    assert manager is not None
    assert manager.active == {1, 5}


@given(st.text(max_size=60))
def test_rubbish_is_a_bad_parameter_and_changes_nothing(text: str) -> None:
    model = NodeModel(_SHARING)
    said = answer(model, text)
    assert said.endswith("\n\n")
    if text.split()[:1] not in (["activate"], ["deactivate"], ["activated"], ["list"], ["failed"]):
        assert said == f"{BADPARAM}\n\n"
        assert model.snapshot() is _SHARING


_SHARING = fabric.start_fabric_manager(
    build_node(load_node_profile("hgx-h100"), "n"), FabricMode.SHARED_NVSWITCH
).state
