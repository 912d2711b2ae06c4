"""The GPUs of a node as tables: how they are, who holds what of them, and which faults are in force."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

Description = Mapping[str, Any]
_MIB = 1 << 20
_WIDE = 104  # a line with a whole UUID
_SHORT_UUID = len("GPU-8ca5f3dd")
_RECOVERY = {
    "gpu_reset": "needs reset",
    "node_reboot": "needs reboot",
    "system_reboot": "needs reboot",
    "drain_p2p": "drain P2P",
    "drain_and_reset": "drain, reset",
    "bus_reset": "bus reset",
    "recover_imex_domain": "recover IMEX",
}


def gpus(node: Description, width: int) -> Table:
    """Return a line a GPU; a terminal narrower than 104 columns gets the beginning of each UUID."""
    table = plain_table()
    for title in ("GPU", "address", "NUMA", "UUID", "MiB used", "W", "°C", "state"):
        left = title in {"address", "UUID", "state"}
        table.add_column(title, justify="left" if left else "right", no_wrap=True)
    for gpu in node["gpus"]:
        table.add_row(
            str(gpu["index"]),
            gpu["pci"],
            str(gpu["numa_node"]),
            gpu["uuid"] if width >= _WIDE else gpu["uuid"][:_SHORT_UUID],
            f"{gpu['memory_used_bytes'] // _MIB}/{gpu['memory_total_bytes'] // _MIB}",
            f"{gpu['power_milliwatts'] / 1000:.0f}",
            str(gpu["temperature_celsius"]),
            condition(gpu),
        )
    return table


def condition(gpu: Description) -> Text:
    """Return the state of a GPU in one or two words."""
    if gpu["lost"]:
        return Text("lost", style="bold red")
    if gpu["leaving"]:
        return Text("unbinding", style="yellow")
    if gpu["driver"] != "nvidia":
        return Text(gpu["driver"] or "no driver", style="yellow")
    if gpu["recovery_action"] != "none":
        return Text(_RECOVERY[gpu["recovery_action"]], style="bold yellow")
    running = len(gpu["processes"])
    return Text(f"{running} proc", style="cyan") if running else Text("idle", style="dim")


def holders(node: Description) -> Table | None:
    """Return who runs on which GPU, and who has a device file open; None when nobody does."""
    rows = [*_processes(node), *_open_files(node)]
    if not rows:
        return None
    table = plain_table("Held by")
    for title in ("GPU", "instance", "process", "name", "MiB"):
        table.add_column(title, justify="right" if title in {"process", "MiB"} else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def faults(node: Description) -> Table | None:
    """Return the faults in force; None when there is none."""
    if not node["faults"]:
        return None
    table = plain_table("Faults")
    table.title_style = "bold red"
    for title in ("number", "fault", "with"):
        table.add_column(title, justify="right" if title == "number" else "left", overflow="fold")
    for each in node["faults"]:
        given = "\n".join(f"{key}={value}" for key, value in each["parameters"].items())
        table.add_row(str(each["number"]), each["name"], given)
    return table


def plain_table(title: str | None = None) -> Table:
    """Return a table as all parts of the picture have it: two columns between cells."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def _processes(node: Description) -> Iterator[tuple[str, ...]]:
    for gpu in node["gpus"]:
        for each in gpu["processes"]:
            instance = each["gpu_instance"]
            place = "" if instance is None else f"{instance}:{each['compute_instance']}"
            name = each["name"] if each["kind"] == "compute" else f"{each['name']} ({each['kind']})"
            yield str(gpu["index"]), place, str(each["pid"]), name, str(each["memory_bytes"] // _MIB)


def _open_files(node: Description) -> Iterator[tuple[str, ...]]:
    """Yield who else keeps a driver from letting go: `held_by` says it in words, processes among them."""
    for gpu in node["gpus"]:
        running = {str(each["pid"]) for each in gpu["processes"]}
        for words in gpu["held_by"]:
            found = re.fullmatch(r"process (\d+) \((.*)\)", words)
            if found is not None and found[1] not in running:
                what = "its device file" if found[2].startswith("gpu/") else found[2]
                yield str(gpu["index"]), "", found[1], f"has {what} open", ""
