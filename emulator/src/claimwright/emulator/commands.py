"""`claimwright node`: boot an emulated GPU node, look at it, run programs that see it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from claimwright.emulator.columns import lined_up
from claimwright.emulator.errors import BootFailed, EmulatorError, NodeGone, OperationRefused, ScriptFailed
from claimwright.emulator.imex import ask
from claimwright.emulator.model import Board
from claimwright.emulator.model.catalogue import (
    board_names,
    load_board,
    load_node_profile,
    node_names,
    read_node_profile,
)
from claimwright.emulator.model.node_profile import GpuSlot, NodeProfile, endpoints
from claimwright.emulator.running import FilesAs, RunningNode, chosen, down, known_names, list_nodes, load, up

_DEFAULT_PROFILE = "hgx-h100"
_USAGE_STATUS, _FAILURE_STATUS = 2, 1
_NOT_FOUND_STATUS, _NOT_RUNNABLE_STATUS = 127, 126  # as POSIX shells end when a command cannot be run

# Commands of other packages, by their names there, imported only where they are used (gRPC, for one, costs 200 ms).
_GROUPS = {
    "kubelet": "claimwright.emulator.kubelet.commands",
    "rack": "claimwright.emulator.rack.commands",
    "fault": "claimwright.emulator.faults.commands",
    "record": "claimwright.emulator.captures.commands",
    "replay": "claimwright.emulator.captures.commands",
    "parity": "claimwright.emulator.captures.commands",
    "events": "claimwright.emulator.watch.commands",
    "watch": "claimwright.emulator.watch.commands",
}


class _NodeGroup(click.Group):
    """Turns the room's errors into one message: status 2 where the user has to change something, else 1."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        try:
            return super().invoke(ctx)
        except EmulatorError as error:
            failed = isinstance(error, BootFailed | NodeGone | OperationRefused | ScriptFailed)
            _end(str(error), _FAILURE_STATUS if failed else _USAGE_STATUS)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_GROUPS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _GROUPS:
            return super().get_command(ctx, cmd_name)
        found: click.Command = getattr(import_module(_GROUPS[cmd_name]), cmd_name)
        return found


@click.group(cls=_NodeGroup, context_settings={"help_option_names": ["-h", "--help"]})
def node() -> None:
    """Boot GPU nodes without GPUs.

    A node is a process that answers as a machine with GPUs does: NVML, nvidia-smi, /sys, /proc and device files.
    It needs no root, no container engine and no Kubernetes:

    \b
      claimwright node up --board hgx-h100
      claimwright node exec hgx-h100 -- nvidia-smi -L
      claimwright node inspect hgx-h100
      claimwright node down hgx-h100
    """  # noqa: D301 - click reads the backspace


@node.command("up")
@click.option(
    "--board",
    metavar="PROFILE",
    help=f"What to boot: see `boards`.  [default: {_DEFAULT_PROFILE}]",
)
@click.option("--profile", "file", type=click.Path(path_type=Path), help="A node profile of your own (YAML).")
@click.option("--name", help="The node's name.  [default: the profile's]")
@click.option(
    "--mount-namespace",
    type=click.Path(path_type=Path),
    help="Attach /sys, /proc and /dev to this mount namespace, such as /proc/PID/ns/mnt (root).",
)
@click.option(
    "--files",
    type=click.Choice(["auto", "fuse", "plain"]),
    default="auto",
    show_default=True,
    help="Files that act when written (fuse: needs root) or that only show (plain).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the node as JSON.")
def up_command(  # noqa: PLR0917 - one parameter an option
    board: str | None,
    file: Path | None,
    name: str | None,
    mount_namespace: Path | None,
    files: FilesAs,
    as_json: bool,
) -> None:
    """Boot a node; returns when it answers, and the node stays.

    Without --mount-namespace its files are below its folder (`host-root`), and `node exec` runs programs that
    see it. With it (root), the files are true at their real paths for everything inside that namespace.

    \b
      claimwright node up --board l4x4 --name first
      claimwright node up --profile my-machine.yaml
      claimwright node up --mount-namespace /proc/PID/ns/mnt
    """  # noqa: D301 - click reads the backspace
    if board is not None and file is not None:
        raise click.UsageError("give --board or --profile, not both")
    profile = read_node_profile(file) if file else (_DEFAULT_PROFILE if board is None else board)
    started = time.monotonic()
    running = up(
        profile,
        name=name if name is not None else profile if isinstance(profile, str) else profile.key,
        mount_namespace=mount_namespace,
        files=files,
        progress=_progress(as_json),
    )
    if as_json:
        click.echo(json.dumps(_record(running), indent=2))
        return
    click.echo(f"node {running.name} is up after {time.monotonic() - started:.1f} s: {running.title}")
    click.echo(f"  look at it   claimwright node inspect {running.name}")
    click.echo(f"  ask it       claimwright node exec {running.name} -- nvidia-smi -L")
    why = running.why_files_only_show
    act = "a write to a file acts" if why is None else f"they only show: {why}"
    click.echo(f"  its files    {running.host_root} ({act})")
    click.echo(f"  stop it      claimwright node down {running.name}")


@node.command("down")
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="Stop all nodes of this user.")
def down_command(name: str | None, every: bool) -> None:
    """Stop a node and remove all it made; works after a kill -9 of anything."""
    if (name is not None) == every:
        raise click.UsageError("name one node, or give --all")
    for each in known_names() if every else [str(name)]:
        down(each)
        click.echo(f"node {each} is down")


@node.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> None:
    """List the nodes that are up."""
    found = list_nodes()
    if as_json:
        click.echo(json.dumps([_record(each) for each in found], indent=2))
        return
    rows = [
        (each.name, each.profile, str(each.pid), str(each.mount_namespace or "-"), str(each.folder))
        for each in found
    ]
    if rows:
        click.echo(lined_up(("NAME", "PROFILE", "PID", "ATTACHED TO", "FOLDER"), rows))
    else:
        click.echo("no node is up; `claimwright node up` boots one", err=True)


@node.command("inspect")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def inspect_command(name: str | None, as_json: bool) -> None:
    """Show a node: its GPUs, PCIe tree, NUMA nodes, NVLinks, clique, IMEX domain and network adapters.

    NAME may be left out while one node is up.
    """
    found = chosen(name)
    domain = ask(found.driver_root)
    described = {**found.call("snapshot"), "imex_domain": None if domain is None else asdict(domain)}
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    from claimwright.emulator import picture  # noqa: PLC0415 - rich costs 60 ms that the other commands save

    picture.show(described)


@node.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(name: str, command: tuple[str, ...]) -> None:
    """Run COMMAND so that it sees the node NAME: `node exec NAME -- nvidia-smi`.

    PATH and LD_LIBRARY_PATH lead to the node's tools and its libnvidia-ml.so.1, which pynvml, gpustat and
    nvitop load. The status is COMMAND's; 127 and 126 say that it was not found or could not be run.

    \b
      claimwright node exec hgx-h100 -- nvidia-smi --query-gpu=name,uuid --format=csv
      claimwright node exec hgx-h100 -- gpustat
      claimwright node exec hgx-h100 -- bash
    """  # noqa: D301 - click reads the backspace
    environment = {**os.environ, **load(name).environment}
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise click.UsageError(f"no command after --: try `claimwright node exec {name} -- nvidia-smi -L`")
    try:
        os.execvpe(words[0], words, environment)  # noqa: S606
    except (OSError, ValueError) as error:
        status = _NOT_FOUND_STATUS if isinstance(error, FileNotFoundError) else _NOT_RUNNABLE_STATUS
        _end(f"{words[0]!r} cannot be run: {getattr(error, 'strerror', error)}", status)


@node.command("boards")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def boards_command(as_json: bool) -> None:
    """List the node profiles that `node up --board` knows, and the boards that they are made of.

    UNVERIFIED counts the fields that no capture or specification was at hand for; --json names them.
    """
    nodes = [_profile_row(load_node_profile(key)) for key in node_names()]
    boards = [_board_row(load_board(key)) for key in board_names()]
    if as_json:
        click.echo(json.dumps({"nodes": nodes, "boards": boards}, indent=2))
        return
    head = ("NODE", "TITLE", "BOARDS", "UNVERIFIED")
    click.echo(lined_up(head, [(row["profile"], row["title"], row["keys"], _count(row)) for row in nodes]))
    click.echo()
    click.echo(
        lined_up(("BOARD", "NAME", "ARCHITECTURE", "MEMORY", "UNVERIFIED"), [_cells(row) for row in boards])
    )
    click.echo("\nA board boots alone as well: `claimwright node up --board a100-pcie-80`.")


def _end(message: str, status: int) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    raise click.exceptions.Exit(status)


def _progress(quiet: bool) -> Any:  # noqa: ANN401
    return (lambda _line: None) if quiet else (lambda line: click.echo(f"{line} …", err=True))


def _record(running: RunningNode) -> dict[str, Any]:
    return {
        "name": running.name,
        "profile": running.profile,
        "pid": running.pid,
        "folder": str(running.folder),
        "driver_root": str(running.driver_root),
        "host_root": str(running.host_root),
        "mount_namespace": str(running.mount_namespace) if running.mount_namespace else None,
        "acting_files": running.acting_files,
        "why_files_only_show": running.why_files_only_show,
        "environment": running.environment,
    }


def _count(row: dict[str, Any]) -> str:
    return str(len(row["unverified"]) or "-")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (row["board"], row["name"], row["architecture"], f"{row['memory_mib']} MiB", _count(row))


def _board_row(board: Board) -> dict[str, Any]:
    return {
        "board": board.key,
        "name": board.name,
        "architecture": board.architecture.name.lower(),
        "memory_mib": board.memory.total_mib,
        "mig": board.mig_capable,
        "nvlinks": board.nvlink.links if board.nvlink else 0,
        "unverified": list(board.unverified),
    }


def _profile_row(profile: NodeProfile) -> dict[str, Any]:
    boards = [slot.board for slot in endpoints(profile) if isinstance(slot, GpuSlot)]
    return {
        "profile": profile.key,
        "title": profile.title,
        "boards": [f"{boards.count(key)} x {load_board(key).name}" for key in sorted(set(boards))],
        "keys": ", ".join(f"{boards.count(key)} x {key}" for key in sorted(set(boards))),
        "numa_nodes": len(profile.numa),
        "unverified": list(profile.unverified),
    }
