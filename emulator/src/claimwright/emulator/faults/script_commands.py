"""`claimwright node fault run`, `stop` and `scripts`: fault scripts with times."""

from __future__ import annotations

import itertools
import json
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import click

from claimwright.emulator.columns import lined_up
from claimwright.emulator.control import call, follow
from claimwright.emulator.errors import ProfileError, ScriptFailed
from claimwright.emulator.faults.durations import duration_text
from claimwright.emulator.faults.progress import end_lines, progress
from claimwright.emulator.model.profile_text import read_file
from claimwright.emulator.node_folder import NodeFolder
from claimwright.emulator.running import RunningNode, chosen

_CANCELLED_STATUS = 130
_MOST_BYTES = 512 << 10  # half of what a line of the control socket may hold
_node = click.option("--node", "name", help="The node, when several are up.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command("run")
@click.argument("script", type=click.Path(path_type=Path))
@click.option("--detach", is_flag=True, help="Start it and return; it runs on in the node.")
@_node
@_json
def run_command(script: Path, detach: bool, name: str | None, as_json: bool) -> None:
    """Run a script of faults with times, and show each step as it is done.

    \b
      steps:
        - {at: 0,   load: ramp gpu=0 over=1m}
        - {at: 10s, inject: nvlink-down gpu=0 link=4 for=30s}
        - {at: 20s, inject: gpu-lost gpu=3, as: lost}
        - {at: 21s, expect: {gpus.3.lost: true}}
        - {at: 50s, clear: lost}

    A script that is malformed is refused with line and reason before anything of it happens. Ctrl-C, or the death
    of this command, cancels it: what is left of it does not happen, and the faults that it has put in force end.
    With --detach it runs on; `fault scripts` shows it, `fault stop` cancels it. docs/fault-scripts.md tells it all.

    The status is 0 when it completed, 1 when a step failed, an expectation did not hold or the node went, 130 when
    it was cancelled.
    """  # noqa: D301 - click reads the backspace
    node = chosen(name)
    request = {"text": read_file(script), "source": str(script)}
    if len(json.dumps(request)) > _MOST_BYTES:
        raise ProfileError(f"{script}:1: larger than a script may be ({_MOST_BYTES >> 10} KiB)")
    if detach:
        started = node.call("run_script", **request)
        click.echo(json.dumps(started) if as_json else _started_line(node, started))
        return
    end = _performed(node, request, as_json)
    if end["end"] == "failed":
        raise ScriptFailed(f"{script}: {end['why']}")
    if end["end"] == "cancelled":
        raise click.exceptions.Exit(_CANCELLED_STATUS)


@click.command("stop")
@click.argument("run", type=int)
@_node
@_json
def stop_command(run: int, name: str | None, as_json: bool) -> None:
    """Cancel a script run by its number, which ends its faults."""
    answer = chosen(name).call("cancel_script", run=run)
    click.echo(json.dumps(answer) if as_json else f"run {run}: {answer['end']}")


@click.command("scripts")
@_node
@_json
def scripts_command(name: str | None, as_json: bool) -> None:
    """List the script runs of a node: how far they are, or how they ended and why."""
    runs = chosen(name).call("list_scripts")
    if as_json:
        click.echo(json.dumps(runs, indent=2))
        return
    rows = [
        (str(each["run"]), each["name"], f"{each['done']} of {each['steps']}", _run_state(each))
        for each in runs
    ]
    click.echo(lined_up(("RUN", "NAME", "STEPS DONE", "STATE"), rows) if rows else "no script has run")


def _run_state(run: Mapping[str, Any]) -> str:
    return (run["end"] or "running") + (f": {run['why']}" if run["why"] else "")


def _started_line(node: RunningNode, started: Mapping[str, Any]) -> str:
    length = duration_text(started["seconds"])
    return f"{node.name}: {started['name']}, {started['steps']} steps in {length}, run {started['run']}"


def _performed(node: RunningNode, request: Mapping[str, str], as_json: bool) -> Mapping[str, Any]:
    """Run a script and show it to its end, which is returned; the first Ctrl-C cancels it and waits for that."""
    control = NodeFolder(node.folder).control
    with _Cancelling(control) as cancelling, follow(control, "perform_script", request) as items:
        started = next(items)
        cancelling.started(started["run"])
        if as_json:
            return _echoed((started,), items)
        click.echo(_started_line(node, started))
        with progress(started) as show:
            end = _shown(items, show)
        for line in end_lines(end):
            click.echo(line)
        return end


def _echoed(first: Iterable[Mapping[str, Any]], items: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    item: Mapping[str, Any] = {}
    for item in itertools.chain(first, items):
        click.echo(json.dumps(item))
        sys.stdout.flush()
    return item


def _shown(
    items: Iterable[Mapping[str, Any]], show: Callable[[Mapping[str, Any]], None]
) -> Mapping[str, Any]:
    item: Mapping[str, Any] = {}
    for item in items:
        if "end" not in item:
            show(item)
            sys.stdout.flush()
    return item


class _Cancelling:
    """Within it, Ctrl-C cancels the run, or the one that is about to start; a second one ends the command."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._run: int | None = None
        self._wanted = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def started(self, run: int) -> None:
        """Say which run it is."""
        self._run = run
        self._cancel()

    def _interrupt(self, _number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._wanted = True
        self._cancel()

    def _cancel(self) -> None:
        if self._wanted and self._run is not None:
            call(self._control, "cancel_script", {"run": self._run, "why": "Ctrl-C"})
