"""`node inspect` of a fabric: the matrix, cliques, partitions, channels and the IMEX domain, in words that differ."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from claimwright.emulator.description import describe
from claimwright.emulator.fabric_picture import fabric as draw
from claimwright.emulator.model import FabricState, NodeModel, build_node, load_node_profile
from claimwright.emulator.model.fabric import FabricHealth, FabricMode
from claimwright.emulator.model.operations import fabric

CLUSTER = "0a1b2c3d-0000-4000-8000-0123456789ab"


def shown(model: NodeModel, domain: dict[str, Any] | None = None) -> str:
    console = Console(width=140)
    with console.capture() as captured:
        for part in draw({**describe(model.snapshot()), "imex_domain": domain}):
            console.print(part)
    return captured.get()


@pytest.fixture
def model() -> NodeModel:
    return NodeModel(build_node(load_node_profile("hgx-h100"), "n"))


def test_gpus_that_stand_alike_share_a_line_and_others_have_their_own(model: NodeModel) -> None:
    model.perform(fabric.join_fabric, CLUSTER, 7)
    model.perform(fabric.set_fabric, 2, FabricState.IN_PROGRESS)
    model.perform(fabric.set_fabric, 3, FabricState.COMPLETED, 999)
    model.perform(fabric.set_fabric_health, 4, FabricHealth(degraded_bandwidth=True))

    said = shown(model)

    assert f"fabric of GPU 0, 1, 5, 6, 7: completed, in clique {CLUSTER}.7" in said
    assert "fabric of GPU 2: in progress\n" in said
    assert "fabric of GPU 3: completed with 999" in said
    assert f"fabric of GPU 4: completed, in clique {CLUSTER}.7, limited capacity" in said


def test_the_matrix_shows_what_a_partition_routes(model: NodeModel) -> None:
    model.perform(fabric.start_fabric_manager, FabricMode.SHARED_NVSWITCH)
    assert "NV18" not in shown(model)
    model.perform(fabric.activate_partition, 3)

    said = shown(model)

    assert said.count("NV18") == 2
    assert "fabric manager runs, shared nvswitch, active of its 15 partitions: 3" in said
    model.perform(fabric.stop_fabric_manager)
    assert "fabric manager is stopped" in shown(model)


def test_a_domain_names_every_node_that_is_not_well(model: NodeModel) -> None:
    model.perform(fabric.configure_imex, ["127.0.0.2", "127.0.0.3"], "127.0.0.2")
    assert "nvidia-imex is stopped, 2 nodes in its file" in shown(model)
    model.perform(fabric.start_imex)
    assert "nvidia-imex does not answer" in shown(model)
    here = {"address": "127.0.0.2", "status": "READY", "links": ["CONNECTED", "RECOVERING"]}
    there = {"address": "127.0.0.3", "status": "UNAVAILABLE", "links": ["INVALID", "INVALID"]}

    said = shown(model, {"state": "DEGRADED", "own": 0, "nodes": [here, there]})

    assert "IMEX domain DEGRADED: 1 of 2 nodes are READY, this one (127.0.0.2) is READY" in said
    assert "127.0.0.3: UNAVAILABLE, RECOVERING" in said


def test_channels_with_a_device_node_are_listed(model: NodeModel) -> None:
    assert "IMEX channels" not in shown(model)
    for channel in (2047, 0):
        model.perform(fabric.create_imex_channel, channel)
    assert "IMEX channels 0, 2047 of 2048 have a device node" in shown(model)


def test_a_node_without_a_fabric_shows_none() -> None:
    assert shown(NodeModel(build_node(load_node_profile("l4"), "n"))) == ""
