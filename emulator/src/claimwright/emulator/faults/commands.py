"""`claimwright node fault`: what can go wrong, made to go wrong, and put right."""

from __future__ import annotations

import json
import shlex
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import click

from claimwright.emulator.columns import lined_up
from claimwright.emulator.control import follow
from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.faults.durations import duration_text
from claimwright.emulator.faults.reference import class_record
from claimwright.emulator.faults.script_commands import run_command, scripts_command, stop_command
from claimwright.emulator.faults.words import words_of
from claimwright.emulator.model.faults import FAULTS, Cure, usage
from claimwright.emulator.node_folder import NodeFolder
from claimwright.emulator.running import RunningNode, chosen, list_nodes

_node = click.option("--node", "name", help="The node, when several are up.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def fault() -> None:
    """Break a node, in one of many ways, and mend it.

    \b
      claimwright node fault list
      claimwright node fault inject xid=79 gpu=3
      claimwright node fault inject nvlink-down gpu=0 link=4 for=30s
      claimwright node fault clear 1       # take it away
      claimwright node fault cure 1        # or do what an operator does: reset, reload, reboot
      claimwright node fault run flapping.yaml
    """  # noqa: D301 - click reads the backspace


fault.add_command(run_command)
fault.add_command(stop_command)
fault.add_command(scripts_command)


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


@fault.command("cure")
@click.argument("number", type=int)
@_node
@_json
def cure_command(number: int, name: str | None, as_json: bool) -> None:
    """Do what an operator does about fault NUMBER: the least recovery that ends it.

    A GPU reset, else a driver reload, else a reboot; `fault list` says which it needs. Where a reset meets a process
    on the GPU it is refused, as on hardware. What only a repair ends is repaired, as `clear` does.
    """
    node = chosen(name)
    record = next((each for each in node.call("list_faults") if each["number"] == number), None)
    if record is None:
        node.call("clear_fault", number=number)  # refused: it names those that are active
        return
    done = _cured(node, record)
    left = [each["number"] for each in node.call("list_faults")]
    if as_json:
        click.echo(
            json.dumps({"number": number, "done": done, "cured": number not in left, "in_force": left})
        )
    else:
        click.echo(
            f"{node.name}: {done}; fault {number} {'is still in force' if number in left else 'is over'}"
        )


def _cured(node: RunningNode, record: Mapping[str, Any]) -> str:
    """Apply the least cure of a fault; what was done, in words."""
    cures = record["cured_by"]
    if Cure.RESET in cures and record["gpu"] is not None:
        node.call("reset_gpu", gpu=record["gpu"])
        return f"GPU {record['gpu']} was reset"
    if Cure.DRIVER_RELOAD in cures:
        node.call("reload_driver")
        return "the driver was reloaded"
    if Cure.REBOOT in cures:
        node.call("reboot", boot_id=str(uuid.uuid4()))
        return "the machine was rebooted"
    node.call("clear_fault", number=record["number"])
    return "it was repaired"


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


def _row(record: Mapping[str, Any]) -> tuple[str, str, str, str]:
    number = "" if record["number"] is None else str(record["number"])
    cures = ", ".join(record["cured_by"]) or "repair (clear)"
    return number, record["name"], " ".join(_given(record["parameters"])), cures


def _given(parameters: Mapping[str, Any]) -> Iterator[str]:
    return (f"{key}={value}" for key, value in parameters.items())
