"""How each GPU is cut, as one bar: memory slices from left to right, an instance across those it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

Description = Mapping[str, Any]
_WIDEST_CELL, _NARROWEST_CELL = 11, 4  # columns per memory slice: `1g.10gb+me`, `1g`
_BESIDE = 22  # columns for the GPU's number and a few devices
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue")


def layouts(node: Description, width: int = 120) -> Table | None:
    """Return the bars of the GPUs whose MIG mode is on or about to be; None when there is none.

    A memory slice is as wide as the terminal has room for, so that the bars of all GPUs are to one scale.
    """
    cut = [gpu for gpu in node["gpus"] if gpu["mig"] and (gpu["mig"]["current"] or gpu["mig"]["pending"])]
    if not cut:
        return None
    table = Table(title="MIG", title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("GPU", justify="right")
    table.add_column("memory slices", no_wrap=True)
    table.add_column("devices", overflow="fold")
    most = max(gpu["mig"]["memory_slices"] for gpu in cut)
    cell = max(_NARROWEST_CELL, min(_WIDEST_CELL, (width - _BESIDE) // most - 1))
    for gpu in cut:
        table.add_row(str(gpu["index"]), _bar(gpu["mig"], cell), _devices(gpu))
    return table


def _bar(mig: Description, cell: int) -> Text:
    if not mig["current"]:
        return Text("on after the next reset", style="yellow")
    bar, at = Text("|"), 0
    for number, instance in enumerate(sorted(mig["gpu_instances"], key=lambda each: each["start"])):
        bar.append_text(_free(instance["start"] - at, cell))
        bar.append_text(_instance(instance, _COLOURS[number % len(_COLOURS)], cell))
        at = instance["start"] + instance["size"]
    bar.append_text(_free(mig["memory_slices"] - at, cell))
    return bar


def _instance(instance: Description, colour: str, cell: int) -> Text:
    width = instance["size"] * (cell + 1) - 1
    name = instance["profile"]
    if len(name) > width:
        name = name.partition(".")[0] + ("+" if "+" in name else "")  # 1g.10gb+me: 1g+
    half_made = not instance["compute_instances"]
    return Text.assemble((name[:width].center(width), f"{colour} {'dim' if half_made else 'reverse'}"), "|")


def _free(slices: int, cell: int) -> Text:
    return Text.assemble(*[("·".center(cell) + "|", "dim")] * slices)


def _devices(gpu: Description) -> Text:
    """List GPU instance ids with their compute instances and who runs there: `2:0 (4242) 13:-`."""
    return Text("  ".join(_held(gpu, each) for each in gpu["mig"]["gpu_instances"]) or "none")


def _held(gpu: Description, instance: Description) -> str:
    found = list(_computes(gpu, instance))
    return " ".join(found) if found else f"{instance['id']}:-"


def _computes(gpu: Description, instance: Description) -> Iterator[str]:
    for compute in instance["compute_instances"]:
        place = (instance["id"], compute["id"])
        pids = [
            str(each["pid"])
            for each in gpu["processes"]
            if (each["gpu_instance"], each["compute_instance"]) == place
        ]
        yield f"{place[0]}:{place[1]}" + (f" ({', '.join(pids)})" if pids else "")
