"""`node inspect` as a picture on every node and terminal, and its JSON as documented."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from claimwright.emulator import picture
from claimwright.emulator.description import describe
from claimwright.emulator.model import NodeModel, build_node, load_node_profile, node_names
from claimwright.emulator.model.operations import faults, gpus, mig
from claimwright.emulator.watch import screen

_PAGE = Path(__file__).parents[2] / "docs/node-inspect.md"


def busy(profile: str) -> NodeModel:
    """Return a node with processes, an open device file, faults and, where it has MIG, seven instances."""
    model = NodeModel(build_node(load_node_profile(profile), f"node-{profile}"))
    first, last = model.snapshot().gpus[0], model.snapshot().gpus[-1]
    model.perform(gpus.start_process, last.index, 4242, "train", 3 << 30)
    model.perform(faults.inject_fault, "unbind-blocked", {"gpu": last.index})
    model.perform(faults.inject_fault, "nvml-slow", {"function": "nvmlDeviceGetHandleByUUID", "seconds": 10})
    if first.mig is not None and first is not last:
        cut(model)
    return model


def cut(model: NodeModel) -> None:
    """Cut GPU 0 in seven; Ampere takes the mode at a reset."""
    model.perform(mig.set_mig_mode, 0, enabled=True)
    mode = model.snapshot().gpus[0].mig
    if mode is not None and not mode.current:
        model.perform(gpus.recover, 0)
    for _ in range(7):
        made = model.perform(mig.create_gpu_instance, 0, 19)
        model.perform(mig.create_compute_instance, 0, made.id)


def drawn(described: dict[str, Any], width: int) -> list[str]:
    console = Console(file=StringIO(), width=width, highlight=False)
    for part in picture.draw(described, width):
        console.print(part)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("profile", node_names())
def test_every_node_fits_every_terminal_with_nothing_cut_off(profile: str, width: int) -> None:
    described = describe(busy(profile).snapshot())
    lines = drawn(described, width)
    text = "\n".join(lines)
    assert "…" not in text
    assert max(map(len, lines)) <= width
    for gpu in described["gpus"]:
        uuid = gpu["uuid"] if width >= 104 else gpu["uuid"][:12]
        row = next(line for line in lines if uuid in line)
        assert row.split()[:4] == [str(gpu["index"]), gpu["pci"], str(gpu["numa_node"]), uuid]
        assert sum(gpu["pci"] in line for line in lines) == 2  # the table, and the tree
    assert re.search(r"4242 +train +3072", text)
    assert "has its device file open" in text
    assert "function=nvmlDeviceGetHandleByUUID" in text


@pytest.mark.parametrize("width", [80, 100, 200])
def test_seven_instances_stand_in_one_bar_at_any_width(width: int) -> None:
    lines = drawn(describe(busy("hgx-h100").snapshot()), width)
    (bar,) = (line for line in lines if line.count("|") == 9)
    cells = bar[bar.index("|") + 1 : bar.rindex("|")].split("|")
    assert [cell.strip() for cell in cells] == ["1g" if width == 80 else "1g.10gb"] * 7 + ["·"]
    assert len({len(cell) for cell in cells}) == 1


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("profile", node_names())
def test_the_live_picture_fits_every_terminal_too(profile: str, width: int) -> None:
    console = Console(file=StringIO(), width=width, highlight=False)
    console.print(screen.draw(describe(busy(profile).snapshot()), ["an event"], width))
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    assert ("░" in "".join(lines)) == (width == 200)


def test_what_a_gpu_needs_stands_in_its_line() -> None:
    model = NodeModel(build_node(load_node_profile("hgx-h100"), "n"))
    model.perform(faults.inject_fault, "gpu-lost", {"gpu": 0})
    model.perform(faults.inject_fault, "ecc-uncontained", {"gpu": 1})
    model.perform(faults.inject_fault, "reset-required", {"gpu": 2})
    rows = [line for line in drawn(describe(model.snapshot()), 80) if re.match(r" +[012]  0000:", line)]
    assert [row.rstrip().rpartition("  ")[2].strip() for row in rows] == [
        "lost",
        "drain, reset",
        "needs reset",
    ]


def test_the_page_names_every_key_and_no_other() -> None:
    node, gpu = _PAGE.read_text(encoding="utf-8").split("## Each GPU")
    described = describe(build_node(load_node_profile("gb200-tray"), "n"))
    assert _keys(node) == {*described, "imex_domain"}
    assert _keys(gpu) == set(described["gpus"][0])


def _keys(page: str) -> set[str]:
    """Return the names in the first column of a page's table."""
    rows = re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}
