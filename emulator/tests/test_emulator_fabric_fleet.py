"""A fleet: a hundred nodes in one process, each its own, within two megabytes."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import tracemalloc
from pathlib import Path

import pytest

from claimwright.emulator.errors import NodeExists, NodeNotFound, OperationRefused
from claimwright.emulator.files import faces
from claimwright.emulator.fleet import Fleet
from claimwright.emulator.model import build_node, load_node_profile
from claimwright.emulator.rack import plan

_MOST_BYTES = 2 << 20


@pytest.mark.slow
def test_a_node_with_all_its_files_fits_into_two_megabytes() -> None:
    faces.host_root(build_node(load_node_profile("hgx-h100"), "warm"))
    gc.collect()
    tracemalloc.start()
    try:
        fleet = Fleet("hgx-h100", nodes=12)
        for node in fleet.values():
            node.files()
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / len(fleet) < _MOST_BYTES


@pytest.mark.slow
def test_a_hundred_nodes_are_a_hundred_machines() -> None:
    fleet = Fleet("hgx-h100", nodes=100)
    assert len({gpu.uuid for node in fleet.values() for gpu in node.state.gpus}) == 800
    assert len({node.state.boot_id for node in fleet.values()}) == 100


def test_nodes_share_what_is_equal_and_nothing_else() -> None:
    fleet = Fleet("hgx-h100", nodes=2)
    one, two = fleet["node-0"], fleet["node-1"]

    one.call("lose", gpu=3)

    assert one.state.functions is two.state.functions
    assert one.state.gpus[3].lost
    assert not two.state.gpus[3].lost
    assert not {gpu.uuid for gpu in one.state.gpus} & {gpu.uuid for gpu in two.state.gpus}
    assert two.state == build_node(load_node_profile("hgx-h100"), "node-1")


def test_the_files_of_a_node_follow_its_state_and_equal_those_of_a_node_alone(tmp_path: Path) -> None:
    node = Fleet("l4", nodes=1)["node-0"]
    assert node.files() == faces.host_root(build_node(load_node_profile("l4"), "node-0"))
    plain = node.render(tmp_path / "root")
    address = str(node.state.gpus[0].pci)
    information = tmp_path / f"root/proc/driver/nvidia/gpus/{address}/information"
    assert node.state.gpus[0].uuid in information.read_text()

    node.call("create_imex_channel", channel=0)
    plain.show(node.files())

    assert (tmp_path / "root/dev/nvidia-caps-imex-channels/channel0").exists()


def test_a_fleet_refuses_a_name_twice_and_a_stranger() -> None:
    fleet = Fleet("l4", nodes=1)
    with pytest.raises(NodeExists):
        fleet.add("l4", name="node-0")
    with pytest.raises(NodeNotFound):
        fleet["node-9"]
    with pytest.raises(NodeNotFound):
        fleet.remove("node-9")
    with pytest.raises(OperationRefused):
        fleet["node-0"].call("no_such_thing")
    fleet.remove("node-0")
    assert list(fleet) == []


def test_the_stand_in_gets_folders_and_clique_labels(tmp_path: Path) -> None:
    rack = plan("gb200-nvl72", name="r", trays=2)
    fleet = Fleet("l4", nodes=1)
    fleet.add_rack(rack)

    nodes = fleet.standing_in(tmp_path)

    assert [node.name for node in nodes] == ["node-0", *(seat.node for seat in rack.trays)]
    assert [dict(node.labels) for node in nodes] == [{}, *[{"nvidia.com/gpu.clique": rack.clique}] * 2]
    assert len({node.folder for node in nodes}) == 3


@pytest.mark.slow
def test_a_program_sees_a_fleet_node_through_nvml(tmp_path: Path) -> None:
    node = Fleet("hgx-h100", nodes=3)["node-2"]

    async def ask() -> bytes:
        async with node.serving(tmp_path) as library:
            environment = {**os.environ, "LD_LIBRARY_PATH": str(library)}
            command = [str(tmp_path / "driver-root/usr/bin/nvidia-smi"), "-L"]
            process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=subprocess.PIPE)
            said, _ = await asyncio.wait_for(process.communicate(), 30)
            return said

    said = asyncio.run(ask()).decode()

    assert all(gpu.uuid in said for gpu in node.state.gpus)
