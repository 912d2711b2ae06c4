"""The driver's own passthrough step on a real kernel in QEMU; needs `claimwright kernel-lab prepare`."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from claimwright.e2e.kernel_lab import LabError
from claimwright.e2e.kernel_lab.machine import find_lab, run_program

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    try:
        lab = find_lab()
    except LabError as missing:
        pytest.skip(str(missing))
    program = [sys.executable, "-W", "ignore", "-m", "claimwright.e2e.kernel_lab.passthrough"]
    ended = run_program(lab, program, deadline_seconds=500)
    assert ended.code == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize(("trial", "symbols"), [("alone", ["gpu"]), ("pair", ["pair0", "pair1"])])
def test_a_device_goes_to_vfio_and_comes_back_on_a_real_kernel(
    told: dict[str, Any], trial: str, symbols: list[str]
) -> None:
    seen, devices = told[trial], told["devices"]
    members = {devices[symbol] for symbol in symbols}

    assert set(seen["before"]) == members
    assert seen["away"] == {address: ["vfio-pci", "vfio-pci"] for address in members}
    assert seen["probe"] == "done"
    assert seen["after"] == seen["before"]
    assert {driver for driver, _ in seen["before"].values()} == {devices["gpu_driver"]}


def test_the_nodes_of_both_interfaces_open(told: dict[str, Any]) -> None:
    nodes = told["alone"]["nodes"]

    assert nodes["legacy"][0] == "/dev/vfio/vfio"
    assert nodes["legacy"][1].removeprefix("/dev/vfio/").isdecimal()
    assert nodes["iommufd"][0] == "/dev/iommu"
    assert nodes["iommufd"][1].startswith("/dev/vfio/devices/vfio")


@pytest.mark.parametrize("trial", ["dying alone", "dying in a pair"])
def test_from_wherever_a_killed_driver_left_it_a_device_is_bound_or_freed(
    told: dict[str, Any], trial: str
) -> None:
    assert told[trial]["wrong"] == []
    assert told[trial]["moments"] >= 20


def test_a_machine_that_holds_the_group_is_named_and_keeps_it(told: dict[str, Any]) -> None:
    seen = told["in use"]

    assert f"still in use by process {seen['pid']} (sleep)" in seen["told"]
    assert {driver for driver, _ in seen["held"].values()} == {"vfio-pci"}
    assert seen["after"] == told["alone"]["before"]


def test_a_device_with_virtual_functions_is_left_to_them(told: dict[str, Any]) -> None:
    assert "2 SR-IOV virtual functions" in told["virtual functions"]["told"]
