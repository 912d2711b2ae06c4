"""A rack as a picture in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from claimwright.emulator.rack.inspect import nvlink_domain

_NARROWEST = 110
_SIGNS = {
    "CONNECTED": "C",
    "NEVER_CONNECTED": "N",
    "RECOVERING": "R",
    "DISCONNECTED": "D",
    "VERSION_MISMATCH": "!V!",
    "NODE_MAP_MISMATCH": "!M!",
    "CLIQUE_MISMATCH": "!K!",
}  # as in nvidia-imex-ctl's table
_STYLES = {"UP": "green", "READY": "green", "C": "green"}


def show(rack: Mapping[str, Any]) -> None:
    """Print a description made by `inspect.describe`."""
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _NARROWEST, highlight=False)
    for part in draw(rack):
        console.print(part)


def draw(rack: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the parts of the picture."""
    domain = rack["imex_domain"]
    yield Text.assemble(
        (rack["name"], "bold"),
        f"  {rack['board']}, {len(rack['trays'])} trays, {rack['gpus']} GPUs, IMEX domain ",
        (domain, _STYLES.get(domain, "bold red")),
        ("  emulated", "yellow"),
    )
    yield Text(f"clique {rack['clique']}, chassis {rack['chassis_serial']}")
    yield _trays(rack)
    yield _links(rack)


def _trays(rack: Mapping[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("tray", "slot", "node", "address", "GPUs", "in clique", "NVLinks", "nvidia-imex"):
        table.add_column(title, no_wrap=True)
    joined = nvlink_domain(dict(rack))
    for tray, row in zip(rack["trays"], joined, strict=True):
        member = tray["node"] in rack["members"]
        table.add_row(
            str(tray["index"]),
            str(tray["slot"]),
            tray["node"],
            tray["address"],
            str(len(tray["gpus"])) if tray["up"] else Text("not up", style="bold red"),
            Text("yes", style="green") if member else Text("no", style="bold red"),
            f"NV{max(row)}" if max(row) else "-",
            Text(tray["imex"], style=_STYLES.get(tray["imex"], "bold red")),
        )
    return table


def _links(rack: Mapping[str, Any]) -> Table:
    table = Table(
        title="IMEX, from and to", title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("")
    for tray in rack["trays"]:
        table.add_column(str(tray["index"]), justify="right", no_wrap=True)
    for tray, row in zip(rack["trays"], rack["imex_links"], strict=True):
        signs = (_SIGNS.get(link, "-") for link in row)
        table.add_row(
            str(tray["index"]), *(Text(sign, style=_STYLES.get(sign, "bold red")) for sign in signs)
        )
    return table
