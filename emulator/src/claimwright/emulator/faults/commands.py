"""`claimwright node fault`: what can go wrong, made to go wrong, and put right."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from claimwright.emulator.columns import lined_up
from claimwright.emulator.control import call, follow
from claimwright.emulator.errors import NodeError, OperationRefused, Refusal
from claimwright.emulator.faults.durations import duration_text
from claimwright.emulator.faults.reference import class_record
from claimwright.emulator.faults.words import words_of
from claimwright.emulator.model.faults import FAULTS, usage
from claimwright.emulator.model.profile_text import read_file
from claimwright.emulator.node_folder import NodeFolder
from claimwright.emulator.running import RunningNode, chosen, list_nodes

_CANCELLED_STATUS = 130
_node = click.option("--node", "name", help="The node, when several are up.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def fault() -> None:
    """Break a node, in one of many ways, and mend it.

    \b
      claimwright node fault list
      claimwright node fault inject xid=79 gpu=3
      claimwright node fault inject nvlink-down gpu=0 link=4 for=30s
      claimwright node fault clear 1
      claimwright node fault run flapping.yaml
    """  # noqa: D301 - click reads the backspace


@fault.command("list")
@_node
@_json
@click.option("--active", is_flag=True, help="Only what is in force on nodes that are up.")
def list_command(name: str | None, as_json: bool, active: bool) -> None:
    """List the classes of faults, and those in force on each node that is up."""
    nodes = [chosen(name)] if name else list_nodes()
    forces = {each.name: each.call("list_faults") for each in nodes}
    if as_json:
        classes = {} if active else {"classes": [class_record(kind) for kind in FAULTS.values()]}
        click.echo(json.dumps({**classes, "active": forces}, indent=2))
        return
    if not active:
        for kind in FAULTS.values():
            click.echo(f"{usage(kind.name)}\n    {kind.summary}")
        click.echo()
    rows_of = [(node, *_row(record)) for node, records in forces.items() for record in records]
    if rows_of:
        click.echo(lined_up(("NODE", "NUMBER", "FAULT", "PARAMETERS", "CURED BY"), rows_of))
    else:
        click.echo(f"no fault is active on {', '.join(forces)}" if forces else "no node is up")


@fault.command("inject")
@click.argument("words", nargs=-1, required=True)
@_node
@_json
def inject_command(words: tuple[str, ...], name: str | None, as_json: bool) -> None:
    """Inject a fault: its class, then key=value; `for=30s` ends it after that time, also when this command is gone.

    `xid=79 gpu=3` is short for `xid xid=79 gpu=3`. `fault list` shows every class with its parameters.
    """
    node = chosen(name)
    try:
        wanted = words_of(words)
    except ValueError as error:
        raise OperationRefused(Refusal.INVALID_ARGUMENT, str(error)) from None
    if wanted.lasting_seconds is not None:
        record = _injected_for_a_while(node, words)
    else:
        record = node.call("inject_fault", fault=wanted.name, parameters=wanted.parameters)
    if as_json:
        click.echo(json.dumps(record))
        return
    lasting = "" if wanted.lasting_seconds is None else f" for {duration_text(wanted.lasting_seconds)}"
    number = f", fault {record['number']}" if record and record["number"] is not None else ""
    click.echo(f"{node.name}: {' '.join((wanted.name, *_given(wanted.parameters)))}{lasting}{number}")


@fault.command("clear")
@click.argument("what", nargs=-1)
@click.option("--gpu", type=int, help="Only faults of this GPU.")
@click.option("--all", "everything", is_flag=True, help="Every fault.")
@_node
@_json
def clear_command(
    what: tuple[str, ...], gpu: int | None, everything: bool, name: str | None, as_json: bool
) -> None:
    """End faults: by number, by class, by GPU, or --all."""
    if not what and gpu is None and not everything:
        raise click.UsageError("say which: a number, a class, --gpu N or --all")
    node = chosen(name)
    gone = [record for each in what or (None,) for record in _cleared(node, each, gpu)]
    if as_json:
        click.echo(json.dumps(gone))
        return
    for record in gone:
        click.echo(f"{node.name}: cleared {' '.join(_row(record)[1:3])}".rstrip())
    if not gone:
        click.echo(f"{node.name}: nothing to clear")


@fault.command("run")
@click.argument("script", type=click.Path(path_type=Path))
@click.option("--detach", is_flag=True, help="Start it and return.")
@_node
@_json
def run_command(script: Path, detach: bool, name: str | None, as_json: bool) -> None:
    """Run a script of faults with times (docs/fault-scripts.md), and show each step as it is done.

    The script runs inside the node: it goes on when this command is killed. Ctrl-C cancels it, which ends the
    faults that it has put in force; `fault stop` does so from elsewhere. The status is 0 when it completed, 1 when a
    step failed or an expectation did not hold, 130 when it was cancelled.
    """
    node = chosen(name)
    started = node.call("run_script", text=read_file(script), source=str(script))
    _say(started, as_json, f"{node.name}: {started['name']}, {started['steps']} steps, run {started['run']}")
    if detach:
        return
    end = _followed(node, started["run"], as_json)
    if end.startswith("failed"):
        raise NodeError(f"{script}: {end.removeprefix('failed: ')}")
    if end == "cancelled":
        raise click.exceptions.Exit(_CANCELLED_STATUS)


@fault.command("stop")
@click.argument("run", type=int)
@_node
def stop_command(run: int, name: str | None) -> None:
    """Cancel a script run by its number, which ends its faults."""
    answer = chosen(name).call("cancel_script", run=run)
    click.echo(f"run {run}: {answer['end']}")


@fault.command("scripts")
@_node
@_json
def scripts_command(name: str | None, as_json: bool) -> None:
    """List the script runs of a node."""
    runs = chosen(name).call("list_scripts")
    if as_json:
        click.echo(json.dumps(runs, indent=2))
        return
    rows = [(str(each["run"]), each["name"], str(each["done"]), each["end"] or "running") for each in runs]
    click.echo(lined_up(("RUN", "NAME", "STEPS DONE", "STATE"), rows) if rows else "no script has run")


def _followed(node: RunningNode, run: int, as_json: bool) -> str:
    """Show a run to its end; the first Ctrl-C cancels it and waits for that."""
    path = NodeFolder(node.folder).control
    end = "the node has gone"
    with _cancelling(path, run), follow(path, "follow_script", {"run": run}) as steps:
        for step in steps:
            end = step.get("end", end)
            _say(step, as_json, _step_line(step))
    return end


@contextlib.contextmanager
def _cancelling(control: Path, run: int) -> Iterator[None]:
    def cancel(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        click.echo("cancelling; Ctrl-C again leaves the script running …", err=True)
        call(control, "cancel_script", {"run": run})

    before = signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _cleared(node: RunningNode, what: str | None, gpu: int | None) -> list[Mapping[str, Any]]:
    if what is not None and what.isdecimal():
        return [node.call("clear_fault", number=int(what))]
    found: list[Mapping[str, Any]] = node.call("clear_faults", fault=what, gpu=gpu)
    return found


def _injected_for_a_while(node: RunningNode, words: tuple[str, ...]) -> Mapping[str, Any] | None:
    """Let the node run a script of this one step; what it refuses is refused here."""
    script = {"name": words[0].partition("=")[0], "steps": [{"at": 0, "inject": shlex.join(words)}]}
    run = node.call("run_script", text=json.dumps(script), source="command line")["run"]
    with follow(NodeFolder(node.folder).control, "follow_script", {"run": run}) as steps:
        first = next(steps)
    if "failed" in first:
        raise OperationRefused(Refusal.INVALID_ARGUMENT, first["failed"].partition(": ")[2])
    found: list[Mapping[str, Any]] = node.call("list_faults")
    return next((each for each in found if f"fault {each['number']}" == first["outcome"]), None)


def _step_line(step: Mapping[str, Any]) -> str:
    if "end" in step:
        return str(step["end"])
    mark = "FAILED" if "failed" in step else str(step["outcome"])
    return f"{duration_text(step['at']):>8}  {step['step']}  {mark}"


def _say(value: object, as_json: bool, line: str) -> None:
    click.echo(json.dumps(value) if as_json else line)
    sys.stdout.flush()


def _row(record: Mapping[str, Any]) -> tuple[str, str, str, str]:
    number = "" if record["number"] is None else str(record["number"])
    cures = ", ".join(record["cured_by"]) or "repair (clear)"
    return number, record["name"], " ".join(_given(record["parameters"])), cures


def _given(parameters: Mapping[str, Any]) -> Iterator[str]:
    return (f"{key}={value}" for key, value in parameters.items())
