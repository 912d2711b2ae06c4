"""`claimwright node watch` and `claimwright node events`: see a node change."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from claimwright.emulator.control import follow
from claimwright.emulator.node_folder import NodeFolder
from claimwright.emulator.running import chosen

_RECENT = 20


@click.command("events")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON value a line.")
@click.option("--recent", type=click.IntRange(0, 50), default=0, help="Begin with so many past ones.")
def events(name: str | None, as_json: bool, recent: int) -> None:
    """Follow a node's events and the steps of its fault scripts, until Ctrl-C or the end of the node."""
    node = chosen(name)
    arguments = {"states": False, "recent": recent}
    with (
        contextlib.suppress(KeyboardInterrupt),
        follow(NodeFolder(node.folder).control, "watch", arguments) as items,
    ):
        for item in items:
            click.echo(json.dumps(item) if as_json else event_line(item))
            sys.stdout.flush()


@click.command("watch")
@click.argument("name", required=False)
def watch(name: str | None) -> None:
    """Watch a node live: load, memory, heat, power, MIG, faults, events; ends with Ctrl-C.

    Without a terminal it prints a line for each event, and one for each GPU whose readings changed.
    """
    from claimwright.emulator.watch import screen  # noqa: PLC0415 - rich costs 60 ms

    node = chosen(name)
    with (
        contextlib.suppress(KeyboardInterrupt),
        follow(NodeFolder(node.folder).control, "watch", {"recent": _RECENT}) as items,
    ):
        if sys.stdout.isatty():
            screen.show(items)
        else:
            screen.print_lines(items)


def event_line(item: Mapping[str, Any]) -> str:
    """Return an event, or a step of a script, as one line."""
    if "lost" in item:
        return f"({item['lost']} events were lost: this reader is too slow)"
    if "script" in item:
        said = item["script"]
        what = said.get("end") or f"{said['step']}: {said.get('outcome') or said.get('failed')}"
        return f"{_clock(said['time'])}  script {said['run']} {said['name']}  {what}"
    event = item["event"]
    place = f"GPU {event['gpu']}"
    if "gpu_instance" in event:
        place += f" GI {event['gpu_instance']} CI {event['compute_instance']}"
    name = f"XID {event['data']}" if event["kind"] == "xid" else event["kind"].replace("_", " ")
    return f"{_clock(event['time'])}  {place}  {name}{'  ' + event['text'] if 'text' in event else ''}"


def _clock(moment: float) -> str:
    return f"{time.strftime('%H:%M:%S', time.localtime(moment))}.{int(moment * 1000) % 1000:03d}"
