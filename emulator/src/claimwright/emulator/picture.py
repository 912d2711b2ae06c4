"""A node as a picture in the terminal: GPUs, the PCIe tree by NUMA node, how they are cut, and their fabric."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from claimwright.emulator.fabric_picture import fabric
from claimwright.emulator.gpu_picture import faults, gpus, holders, plain_table
from claimwright.emulator.mig_picture import layouts

Description = Mapping[str, Any]
_NOT_DRAWN = {"bridge", "virtual"}
_NARROWEST = 110  # a GPU's line with its UUID


def show(node: Description) -> None:
    """Print a description made by `description.describe`."""
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _NARROWEST, highlight=False)
    for part in draw(node, console.width):
        console.print(part)


def draw(node: Description, width: int = _NARROWEST) -> Iterator[RenderableType]:
    """Yield the parts of the picture, none wider than `width` columns (from 80 on)."""
    yield _headline(node)
    yield gpus(node, width)
    yield _tree(node)
    parts = (layouts(node, width), _vgpus(node), holders(node))
    yield from (part for part in parts if part is not None)
    yield from fabric(node)
    if (trouble := faults(node)) is not None:
        yield trouble
    if node["unverified"]:
        yield Text(f"not checked against real hardware: {', '.join(node['unverified'])}", style="dim")


def _headline(node: Description) -> Text:
    cuda = node["cuda_driver_version"]
    driver = f"driver {node['driver_version']}, CUDA {cuda // 1000}.{cuda % 1000 // 10}"
    return Text.assemble((node["name"], "bold"), f"  {node['title']}, {driver}", ("  emulated", "yellow"))


def _tree(node: Description) -> Tree:
    """Draw NUMA node, root complex, switch and endpoint; a chain of bridges is one line."""
    gpus = {
        gpu["pci"]: f"GPU {gpu['index']} {gpu['product_name'].removeprefix('NVIDIA ')}"
        for gpu in node["gpus"]
    }
    names = {address: Text(name, style="bold green") for address, name in gpus.items()}
    names |= {nic["pci"]: Text(f"{nic['name']} {nic['model']}", style="blue") for nic in node["nics"]}
    names |= {each["pci"]: Text(f"NVSwitch {each['index']}", style="magenta") for each in node["nvswitches"]}
    tree = Tree(Text("PCIe", style="bold"))
    branches: dict[tuple[str, ...], Tree] = {}
    for numa in sorted({function["numa_node"] for function in node["pcie"]}):
        branch = tree.add(_numa_line(node, numa))
        for function in node["pcie"]:
            if function["numa_node"] == numa and function["kind"] not in _NOT_DRAWN:
                holder = _holder(branch, branches, tuple(function["path"][:-1]), node)
                name = names.get(function["address"], Text(function["kind"]))
                holder.add(
                    Text.assemble(name, f"  {function['address']}", _virtual_functions(node, function))
                )
    return tree


def _virtual_functions(node: Description, function: Description) -> Text:
    """Count a function's virtual functions instead of drawing them: there may be dozens."""
    count = sum(each["physical"] == function["address"] for each in node["pcie"])
    return Text(f"  +{count} virtual functions" if count else "", style="dim")


def _holder(
    branch: Tree, branches: dict[tuple[str, ...], Tree], path: tuple[str, ...], node: Description
) -> Tree:
    """Find or add the branch of a root complex and, below it, of the bridge where ways part."""
    paths = [tuple(function["path"]) for function in node["pcie"] if function["kind"] not in _NOT_DRAWN]
    same_root = [each for each in paths if each[0] == path[0]]
    depth = len(path) if len(same_root) == 1 else _common(same_root)
    key = path[:depth]
    if key not in branches:
        branches[key] = branch.add(Text(" › ".join(key), style="dim"))
    return branches[key]


def _common(paths: list[tuple[str, ...]]) -> int:
    shortest = min(len(path) for path in paths)
    return next((at for at in range(shortest) if len({path[at] for path in paths}) > 1), shortest)


def _numa_line(node: Description, numa: int) -> Text:
    for each in node["numa"]:
        if each["id"] == numa:
            return Text(f"NUMA {numa}  socket {each['socket']}, CPUs {each['cpus'] or 'none'}")
    return Text("no NUMA node")


def _vgpus(node: Description) -> Table | None:
    if not node["vgpus"]:
        return None
    table = plain_table("vGPUs")
    for title in ("vGPU", "GPU", "type", "carried by", "GI", "virtual machine"):
        table.add_column(title, justify="right" if title in {"vGPU", "GPU", "GI"} else "left")
    for vgpu in node["vgpus"]:
        instance, machine = vgpu["gpu_instance"], vgpu["vm"]
        table.add_row(
            str(vgpu["id"]),
            str(vgpu["gpu"]),
            vgpu["type"],
            vgpu["carrier"],
            "" if instance is None else str(instance),
            machine["uuid"] if machine else Text("none", style="dim"),
        )
    return table
