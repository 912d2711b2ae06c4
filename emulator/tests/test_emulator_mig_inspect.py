"""`node inspect` of a GPU that is cut: one bar per GPU, and the same as data."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from claimwright.emulator.description import describe
from claimwright.emulator.mig_picture import layouts
from claimwright.emulator.model import NodeModel, build_node, load_board, load_node_profile
from claimwright.emulator.model.operations import gpus, mig


def cut() -> NodeModel:
    model = NodeModel(build_node(load_node_profile("hgx-h100"), "n"))
    model.perform(mig.set_mig_mode, 1, enabled=True)
    model.perform(mig.create_gpu_instance, 1, 9, start=4)
    model.perform(mig.create_compute_instance, 1, 2)
    model.perform(mig.create_gpu_instance, 1, 20, start=1)
    model.perform(gpus.start_process, 1, 4242, "x", 1, gpu_instance=2, compute_instance=0)
    return model


def drawn(model: NodeModel) -> str:
    console = Console(file=StringIO(), width=200)
    if (picture := layouts(describe(model.snapshot()))) is not None:
        console.print(picture)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_bar_shows_instances_where_they_are_and_what_is_free() -> None:
    line = drawn(cut()).splitlines()[-2]

    cells = line[line.index("|") + 1 : line.rindex("|")].split("|")
    assert [cell.strip() for cell in cells] == ["·", "1g.10gb+me", "·", "·", "3g.40gb"]
    assert [len(cell) for cell in cells] == [11, 11, 11, 11, 47]
    assert line.rstrip().endswith("2:0 (4242)  8:-")


def test_a_mode_that_waits_for_a_reset_is_said() -> None:
    model = NodeModel(build_node(load_node_profile("l4"), "n", board=lambda _key: load_board("a100-sxm4-40")))
    assert drawn(model) == ""

    model.perform(mig.set_mig_mode, 0, enabled=True)

    assert "on after the next reset" in drawn(model)


def test_the_data_names_profiles_places_and_devices() -> None:
    gpu = describe(cut().snapshot())["gpus"][1]

    half = gpu["mig"]["gpu_instances"][0]
    assert (half["id"], half["profile"], half["start"], half["size"]) == (2, "3g.40gb", 4, 4)
    assert half["compute_instances"][0]["uuid"].startswith("MIG-")
    assert gpu["processes"][0]["gpu_instance"] == 2
    assert describe(NodeModel(build_node(load_node_profile("l4"), "n")).snapshot())["gpus"][0]["mig"] is None
