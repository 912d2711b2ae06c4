"""A node as a picture in the terminal: GPUs, the PCIe tree by NUMA node, how they are cut, and their fabric."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from claimwright.emulator.fabric_picture import fabric
from claimwright.emulator.mig_picture import layouts

Description = Mapping[str, Any]
_MIB = 1 << 20
_NOT_DRAWN = {"bridge", "virtual"}
_NARROWEST = 110  # a GPU's line with its UUID


def show(node: Description) -> None:
    """Print a description made by `description.describe`."""
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _NARROWEST, highlight=False)
    for part in draw(node):
        console.print(part)


def draw(node: Description) -> Iterator[RenderableType]:
    """Yield the parts of the picture."""
    yield _headline(node)
    yield _gpus(node)
    yield _tree(node)
    if (cut := layouts(node)) is not None:
        yield cut
    if node["vgpus"]:
        yield _vgpus(node)
    yield from fabric(node)
    for fault in node["faults"]:
        yield _fault_line(fault)
    if node["unverified"]:
        yield Text(f"not checked against real hardware: {', '.join(node['unverified'])}", style="dim")


def _headline(node: Description) -> Text:
    cuda = node["cuda_driver_version"]
    driver = f"driver {node['driver_version']}, CUDA {cuda // 1000}.{cuda % 1000 // 10}"
    return Text.assemble((node["name"], "bold"), f"  {node['title']}, {driver}", ("  emulated", "yellow"))


def _gpus(node: Description) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("GPU", "address", "NUMA", "UUID", "MiB used", "W", "°C", "state"):
        left = title in {"address", "UUID", "state"}
        table.add_column(title, justify="left" if left else "right", no_wrap=True)
    for gpu in node["gpus"]:
        table.add_row(
            str(gpu["index"]),
            gpu["pci"],
            str(gpu["numa_node"]),
            gpu["uuid"],
            f"{gpu['memory_used_bytes'] // _MIB}/{gpu['memory_total_bytes'] // _MIB}",
            f"{gpu['power_milliwatts'] / 1000:.0f}",
            str(gpu["temperature_celsius"]),
            _condition(gpu),
        )
    return table


def _condition(gpu: Description) -> Text:
    if gpu["lost"]:
        return Text("lost", style="bold red")
    if gpu["driver"] != "nvidia":
        return Text(gpu["driver"] or "no driver", style="yellow")
    return (
        Text(f"{len(gpu['processes'])} proc", style="cyan") if gpu["processes"] else Text("idle", style="dim")
    )


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


def _vgpus(node: Description) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("vGPU", "on GPU", "type", "carried by", "GPU instance", "virtual machine"):
        table.add_column(title, justify="right" if title in {"vGPU", "on GPU", "GPU instance"} else "left")
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


def _fault_line(fault: Description) -> Text:
    where = "" if fault["gpu"] is None else f" on GPU {fault['gpu']}"
    return Text(f"fault {fault['number']}: {fault['name']}{where}", style="bold red")
