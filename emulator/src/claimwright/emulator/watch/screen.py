"""The live picture of a node: drawn anew when the node says that it changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from claimwright.emulator.gpu_picture import condition, plain_table
from claimwright.emulator.watch.commands import event_line

Description = Mapping[str, Any]
_EVENTS = 12
_BAR, _WIDE = 10, 118  # cells of a bar, and the columns that three of them in a line need
_HOT, _WARM = 80, 60
_MIB = 1 << 20


def show(items: Iterable[Mapping[str, Any]]) -> None:
    """Draw on the terminal until the node ends or the caller is interrupted."""
    console = Console(highlight=False)
    past: deque[str] = deque(maxlen=_EVENTS)
    state: Description | None = None
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for item in items:
            if "state" in item:
                state = item["state"]
            else:
                past.append(event_line(item))
            if state is not None:
                live.update(draw(state, past, console.width), refresh=True)


def draw(node: Description, past: Iterable[str] = (), width: int = _WIDE) -> RenderableType:
    """Return the whole picture: GPUs, MIG devices, faults, fabric and IMEX, last events."""
    parts: list[RenderableType] = [_headline(node), _gpus(node, _BAR if width >= _WIDE else 0)]
    if any(_instances(gpu) for gpu in node["gpus"]):
        parts.append(_mig(node))
    parts.append(_faults(node))
    if (line := _fabric(node)) is not None:
        parts.append(line)
    parts.append(_events(past))
    return Group(*parts)


def _headline(node: Description) -> Text:
    condition = node["driver_condition"]
    driver = f"driver {node['driver_version']}"
    trouble = "" if condition == "loaded" else f"  {condition}"
    return Text.assemble(
        (node["name"], "bold"),
        f"  {node['title']}, {driver}",
        (trouble, "bold red"),
        ("  emulated", "yellow"),
    )


def _gpus(node: Description, cells: int) -> Table:
    """Return a line a GPU, with bars of so many cells: none where the terminal is narrow."""
    table = plain_table()
    for title in ("GPU", "address", "load", "memory MiB", "°C", "power", "MHz", "state"):
        table.add_column(title, justify="right" if title in {"GPU", "°C", "MHz"} else "left", no_wrap=True)
    for gpu in node["gpus"]:
        table.add_row(
            str(gpu["index"]),
            gpu["pci"],
            _bar(gpu["utilization_percent"], f"{gpu['utilization_percent']:3d} %", cells),
            _memory(gpu, cells),
            _heat(gpu["temperature_celsius"]),
            _power(gpu, cells),
            str(gpu["graphics_clock_mhz"]),
            condition(gpu),
        )
    return table


def _memory(gpu: Description, cells: int) -> Text:
    used, total = gpu["memory_used_bytes"], gpu["memory_total_bytes"]
    return _bar(100 * used // total, f"{used // _MIB:6d}/{total // _MIB}", cells)


def _power(gpu: Description, cells: int) -> Text:
    now, limit = gpu["power_milliwatts"], gpu["power_limit_milliwatts"]
    return _bar(100 * now // max(1, limit), f"{now / 1000:4.0f}/{limit / 1000:.0f} W", cells)


def _bar(percent: int, text: str, cells: int) -> Text:
    full = min(cells, max(0, round(percent * cells / 100)))
    style = "red" if percent >= _HOT else "yellow" if percent >= _WARM else "green"
    return Text.assemble(
        ("█" * full, style), ("░" * (cells - full), "dim"), f" {text}" if cells else (text, style)
    )


def _heat(celsius: int) -> Text:
    return Text(str(celsius), style="bold red" if celsius >= _HOT else "yellow" if celsius >= _WARM else "")


def _instances(gpu: Description) -> list[Description]:
    return list((gpu.get("mig") or {}).get("gpu_instances", ()))


def _mig(node: Description) -> Table:
    table = Table(title="MIG", title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for title in ("GPU", "instances"):
        table.add_column(title)
    for gpu in node["gpus"]:
        if held := _instances(gpu):
            names = "  ".join(str(each.get("name", each.get("profile"))) + _empty(each) for each in held)
            table.add_row(str(gpu["index"]), names)
    return table


def _empty(instance: Description) -> str:
    return "" if instance.get("compute_instances") else " (no compute instance)"


def _faults(node: Description) -> RenderableType:
    if not node["faults"]:
        return Text("no fault is active", style="dim")
    table = Table(
        title="Faults", title_justify="left", title_style="bold red", box=SIMPLE_HEAD, pad_edge=False
    )
    for title in ("number", "fault", "parameters"):
        table.add_column(title)
    for each in node["faults"]:
        given = " ".join(f"{key}={value}" for key, value in each["parameters"].items())
        table.add_row(str(each["number"]), each["name"], given)
    return table


def _fabric(node: Description) -> Text | None:
    states: dict[str, int] = {}
    for gpu in node["gpus"]:
        if fabric := gpu.get("fabric"):
            said = str(fabric.get("state")).lower().replace("_", " ")
            states[said] = states.get(said, 0) + 1
    words = [f"{count} {state}" for state, count in states.items()]
    if imex := node.get("imex"):
        words.append(f"IMEX {'running' if imex['running'] else 'stopped'}, {len(imex['nodes'])} nodes")
    return Text(f"fabric: {', '.join(words)}") if words else None


def _events(past: Iterable[str]) -> RenderableType:
    lines = list(past)
    body = Text("\n".join(lines) if lines else "no event yet", style="" if lines else "dim")
    return Group(Text("\nEvents", style="bold"), body)
