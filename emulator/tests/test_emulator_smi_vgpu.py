"""nvidia-smi vgpu on a host whose driver makes vGPUs, and on one whose driver does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from claimwright.emulator.model import build_node, load_node_profile
from claimwright.emulator.model.operations import bus, vgpu
from claimwright.emulator.testing import Served

VM = "c7d9c3a5-0000-4000-8000-000000000001"
L4_4C = 900


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Served]:
    state = replace(build_node(load_node_profile("l4"), "node"), vgpu_manager=True)
    with Served(tmp_path / "root", state) as node:
        yield node


def leaf(said: str, label: str) -> str:
    found = re.search(rf"^ +{re.escape(label)} +: (.*)$", said, re.MULTILINE)
    assert found, label
    return found[1]


def test_types_are_listed_and_explained(host: Served) -> None:
    code, said = host.smi("vgpu", "-s")
    names = [line.strip() for line in said.splitlines() if line.startswith("    ")]
    assert (code, "NVIDIA L4-24Q" in names, len(names)) == (0, True, len(set(names)))
    code, said = host.smi("vgpu", "-s", "-v")
    assert re.findall(r"^        Name +: (.*)$", said, re.MULTILINE) == names
    (block,) = (each for each in said.split("    vGPU Type ID ") if "NVIDIA L4-4C\n" in each)
    assert block.splitlines()[0].endswith(f": {L4_4C:#x}")
    assert leaf(block, "Class") == "Compute"
    assert leaf(block, "Max Instances") == "6"
    assert leaf(block, "Max Instances Per VM") == "16"
    assert leaf(block, "GPU Instance Profile ID") == "N/A"
    assert leaf(block, "FB Memory") == "4096 MiB"


def test_what_is_creatable_shrinks_with_what_exists(host: Served) -> None:
    (carrier,) = host.model.perform(bus.set_virtual_functions, "0000:41:00.0", 1)
    _, before = host.smi("vgpu", "-c")
    host.model.perform(vgpu.create_vgpu, 0, L4_4C, carrier)
    _, after = host.smi("vgpu", "-c")
    assert set(after.splitlines()) < set(before.splitlines())
    assert "    NVIDIA L4-4C" in after.splitlines()


def test_a_vgpu_is_told_of_once_a_machine_runs_on_it(host: Served) -> None:
    (carrier,) = host.model.perform(bus.set_virtual_functions, "0000:41:00.0", 1)
    made = host.model.perform(vgpu.create_vgpu, 0, L4_4C, carrier)
    _, said = host.smi("vgpu", "-q")
    assert leaf(said, "Active vGPUs") == "0"
    host.model.perform(vgpu.start_vm, carrier, VM, 4711)
    _, said = host.smi("vgpu", "-q")
    assert (leaf(said, "Guest Driver Version"), leaf(said, "License Status")) == ("N/A", "N/A (Expiry: N/A)")
    host.model.perform(vgpu.stop_vm, carrier)
    host.model.perform(vgpu.start_vm, carrier, VM, 4711, driver_version="580.126.20", licensed=True)
    host.model.perform(vgpu.run_in_guest, carrier, 99, "render", memory_bytes=1 << 30, gpu_percent=40)
    code, said = host.smi("vgpu", "-q")
    assert code == 0
    expected = {
        "Active vGPUs": "1",
        "vGPU ID": str(made.id),
        "VM UUID": VM,
        "vGPU Name": "NVIDIA L4-4C",
        "vGPU Type": str(L4_4C),
        "vGPU UUID": made.uuid,
        "MDEV UUID": "N/A",
        "Guest Driver Version": "580.126.20",
        "License Status": "Licensed (Expiry: Permanent)",
        "GPU Instance ID": "N/A",
        "Accounting Mode": "Disabled",
        "Total": "4096 MiB",
        "Used": "1024 MiB",
        "Free": "3072 MiB",
        "Gpu": "40 %",
    }
    assert {label: leaf(said, label) for label in expected} == expected
    assert {line.index(":") for line in said.splitlines()[1:] if " : " in line} == {42}
    _, table = host.smi("vgpu")
    assert {len(line) for line in table.splitlines()[1:]} == {79}
    assert re.search(rf"\| +{made.id} +NVIDIA L4-4C +\| c7d9\.\.\. +N/A +\| +40% +\|", table)


@pytest.mark.parametrize("arguments", [(), ("-s",), ("-c", "-v"), ("-q",)], ids=str)
def test_a_driver_that_makes_no_vgpus_says_so(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with Served(tmp_path / "root", "l4") as node:
        assert node.smi("vgpu", *arguments) == (3, "No supported devices in vGPU mode\n")


@pytest.mark.parametrize("arguments", [("-s", "-c"), ("-q", "-v"), ("-v",), ("-x",)], ids=str)
def test_rubbish_is_refused(host: Served, arguments: tuple[str, ...]) -> None:
    code, said = host.smi("vgpu", *arguments)
    assert (code, "nvidia-smi vgpu -h" in said) == (2, True)
