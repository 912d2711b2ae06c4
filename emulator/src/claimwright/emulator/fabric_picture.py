"""A node's NVLink fabric as a picture: who reaches whom, which clique, what is partitioned, and the IMEX domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from claimwright.emulator.gpu_picture import plain_table

Description = Mapping[str, Any]
_GOOD = "green"
_BAD = "bold red"
_FINE = {"completed", "healthy", "UP", "READY", "CONNECTED"}


def fabric(node: Description) -> Iterator[RenderableType]:
    """Yield what there is of a description's matrix, cliques, fabric manager, channels and `imex_domain`."""
    if any(any(row) for row in node["nvlink_matrix"]):
        yield _matrix(node)
    yield from _memberships(node)
    if (manager := node["fabric_manager"]) is not None:
        yield _manager(manager)
    if node["imex_channels"]["nodes"]:
        channels = node["imex_channels"]
        made = ", ".join(map(str, channels["nodes"]))
        yield Text(f"IMEX channels {made} of {channels['count']} have a device node")
    if node["imex"] is not None:
        yield from _domain(node["imex"], node.get("imex_domain"))


def _matrix(node: Description) -> Table:
    table = plain_table("NVLinks between GPUs")
    table.add_column("")
    for gpu in node["gpus"]:
        table.add_column(f"GPU{gpu['index']}", justify="right")
    for gpu, row in zip(node["gpus"], node["nvlink_matrix"], strict=True):
        cells = (f"NV{count}" if count else "-" for count in row)
        table.add_row(
            f"GPU{gpu['index']}", *("X" if at == gpu["index"] else cell for at, cell in enumerate(cells))
        )
    return table


def _memberships(node: Description) -> Iterator[Text]:
    """Yield one line for all GPUs that stand alike in the fabric."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for gpu in node["gpus"]:
        if (place := gpu["fabric"]) is not None:
            ended = "" if place["state"] != "completed" or not place["status"] else f" with {place['status']}"
            key = (place["state"] + ended, place["health"], place["clique"] or "")
            alike.setdefault(key, []).append(str(gpu["index"]))
    for (state, health, clique), gpus in alike.items():
        yield Text.assemble(
            f"fabric of GPU {', '.join(gpus)}: ",
            (state.replace("_", " "), _style(state)),
            _reach(state, clique),
            *([f", {health.replace('_', ' ')}"] if health != "not_supported" else []),
        )


def _reach(state: str, clique: str) -> str:
    if clique:
        return f", in clique {clique}"
    return ", within this node" if state == "completed" else ""


def _manager(manager: Description) -> Text:
    runs = Text("runs", style=_GOOD) if manager["running"] else Text("is stopped", style=_BAD)
    mode = manager["mode"].replace("_", " ")
    said = Text.assemble("fabric manager ", runs, f", {mode}")
    if manager["mode"] == "shared_nvswitch":
        active = [str(each["id"]) for each in manager["partitions"] if each["active"]]
        said.append(f", active of its {len(manager['partitions'])} partitions: {', '.join(active) or 'none'}")
    return said


def _domain(service: Description, domain: Description | None) -> Iterator[RenderableType]:
    """Yield the domain as this node's daemon sees it; a line for each node that is not well."""
    if domain is None:
        state = "does not answer" if service["running"] else "is stopped"
        listed = f", {len(service['nodes'])} nodes in its file"
        yield Text.assemble("nvidia-imex ", (state, _BAD), listed)
        return
    nodes, own = domain["nodes"], domain["own"]
    ready = sum(each["status"] == "READY" for each in nodes)
    yield Text.assemble(
        "IMEX domain ",
        (domain["state"], _style(domain["state"])),
        f": {ready} of {len(nodes)} nodes are READY, this one ({nodes[own]['address']}) is ",
        (nodes[own]["status"], _style(nodes[own]["status"])),
    )
    for each, link in zip(nodes, nodes[own]["links"], strict=True):
        if each["status"] != "READY" or link != "CONNECTED":
            yield Text(f"  {each['address']}: {each['status']}, {link}", style=_BAD)


def _style(word: str) -> str:
    return _GOOD if word in _FINE else _BAD
