"""`claimwright node watch` and `claimwright node events`: see a node change."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from claimwright.emulator.control import follow
from claimwright.emulator.node_folder import NodeFolder
from claimwright.emulator.running import chosen
from claimwright.emulator.watch.changes import change_line, changes

_RECENT = 20
_INTERRUPTED_STATUS = 130
_TOLD_BY_OTHERS = "nvlink_matrix"  # 14 cells for one link that each GPU's count of links tells of


@click.command("events")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON value a line.")
@click.option("--recent", type=click.IntRange(0, 50), default=0, help="Begin with so many past ones.")
def events(name: str | None, as_json: bool, recent: int) -> None:
    """Follow a node's events and the steps of its fault scripts, until Ctrl-C (status 130) or its end (status 1)."""
    with _followed(name, {"states": False, "recent": recent}) as items:
        for item in items:
            _say(json.dumps(item) if as_json else event_line(item))


@click.command("watch")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON value a line: see below.")
def watch(name: str | None, as_json: bool) -> None:
    """Watch a node live: load, memory, heat, power, MIG, faults, events.

    On a terminal it is a picture that moves. Elsewhere it is a line for every event, step of a script, and value that
    changed. Ctrl-C ends it with status 130; a node that ends meanwhile is named, with status 1.

    \b
    With --json the first line is the whole node, then whatever comes:
      {"state": {...}}                                             as `node inspect --json`
      {"changes": [{"path": "gpus.3.lost", "was": false, "now": true}], "revision": 17, "time": 1760000000.1}
      {"event": {"time": ..., "gpu": 3, "kind": "xid", "data": 79, "text": "..."}}
      {"script": {"run": 1, "name": "...", "time": ..., "at": 10.0, "step": "...", "outcome": "..."}}
      {"script": {"run": 1, ..., "end": "completed", "why": null, "done": 5, "left": 0}}
      {"lost": 12}                                                 this reader was too slow for so many events
    """  # noqa: D301 - click reads the backspace
    with _followed(name, {"recent": 0 if as_json else _RECENT}) as items:
        if as_json:
            for item in with_changes(items):
                _say(json.dumps(item))
        elif sys.stdout.isatty():
            from claimwright.emulator.watch import screen  # noqa: PLC0415 - rich costs 60 ms

            screen.show(items)
        else:
            for item in with_changes(items):
                for line in _lines(item):
                    _say(line)


@contextlib.contextmanager
def _followed(name: str | None, arguments: Mapping[str, object]) -> Iterator[Iterator[Mapping[str, Any]]]:
    """Follow a node; Ctrl-C is how one leaves, and the status says so."""
    node = chosen(name)
    try:
        with follow(NodeFolder(node.folder).control, "watch", arguments) as items:
            yield items
    except KeyboardInterrupt:
        raise click.exceptions.Exit(_INTERRUPTED_STATUS) from None


def with_changes(items: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the first state whole, and of each later one what is different; all else as it comes."""
    before: Mapping[str, Any] | None = None
    for item in items:
        if "state" not in item:
            yield item
            continue
        after = item["state"]
        if before is None:
            yield item
        elif found := list(changes(before, after)):
            yield {"changes": found, "revision": after["revision"], "time": time.time()}
        before = after


def _lines(item: Mapping[str, Any]) -> Iterator[str]:
    if "state" in item:
        node = item["state"]
        yield f"{_clock(time.time())}  {node['name']}  {node['title']}, revision {node['revision']}"
    elif "changes" in item:
        told = (each for each in item["changes"] if not each["path"].startswith(_TOLD_BY_OTHERS))
        yield from (f"{_clock(item['time'])}  {change_line(each)}" for each in told)
    else:
        yield event_line(item)


def _say(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()


def event_line(item: Mapping[str, Any]) -> str:
    """Return an event, or a step of a script, as one line."""
    if "lost" in item:
        return f"({item['lost']} events were lost: this reader is too slow)"
    if "script" in item:
        said = item["script"]
        why = f": {said['why']}" if said.get("why") else ""
        what = f"{said['end']}{why}" if "end" in said else f"{said['step']}: {_outcome(said)}"
        return f"{_clock(said['time'])}  script {said['run']} {said['name']}  {what}"
    event = item["event"]
    place = f"GPU {event['gpu']}"
    if "gpu_instance" in event:
        place += f" GI {event['gpu_instance']} CI {event['compute_instance']}"
    name = f"XID {event['data']}" if event["kind"] == "xid" else event["kind"].replace("_", " ")
    return f"{_clock(event['time'])}  {place}  {name}{'  ' + event['text'] if 'text' in event else ''}"


def _outcome(said: Mapping[str, Any]) -> str:
    return str(said.get("outcome") or f"failed, {said['failed']}")


def _clock(moment: float) -> str:
    return f"{time.strftime('%H:%M:%S', time.localtime(moment))}.{int(moment * 1000) % 1000:03d}"
