"""`claimwright node rack`: a whole NVL72 on this machine."""

from __future__ import annotations

import json
import time
from typing import Literal

import click

from claimwright.emulator.columns import lined_up
from claimwright.emulator.errors import NodeError
from claimwright.emulator.rack import BOARDS, Rack, down, list_racks, load, repair, up
from claimwright.emulator.rack.inspect import describe, summary

_files = click.option(
    "--files", type=click.Choice(["auto", "fuse", "plain"]), default="auto", help="As in `node up`."
)
_one = click.argument("name", required=False)


@click.group("rack")
def rack() -> None:
    """Boot a rack of nodes in one NVLink domain.

    Every tray is a node of its own (`node list`, `node exec`), all GPUs are in one clique, and each tray runs its
    nvidia-imex on a loopback address; together they form one IMEX domain.

    \b
      claimwright node rack up --trays 18
      claimwright node rack status
      claimwright node exec rack-tray-00 -- nvidia-imex-ctl -N
      claimwright node rack down rack
    """  # noqa: D301 - click reads the backspace


@rack.command("up")
@click.option("--board", default="gb200-nvl72", show_default=True, type=click.Choice(sorted(BOARDS)))
@click.option("--trays", default=18, show_default=True, type=click.IntRange(1, 64), help="Compute trays.")
@click.option("--name", default="rack", show_default=True)
@click.option("--imex/--no-imex", default=True, help="Whether the trays run nvidia-imex.  [default: imex]")
@_files
@click.option("--json", "as_json", is_flag=True, help="Print the rack as JSON.")
def up_command(  # noqa: PLR0917 - click passes its options
    board: str, trays: int, name: str, imex: bool, files: Literal["auto", "fuse", "plain"], as_json: bool
) -> None:
    """Boot a rack; returns when its IMEX domain is up, and the rack stays."""
    started = time.monotonic()
    made = up(
        board,
        name=name,
        trays=trays,
        imex=imex,
        files=files,
        progress=_say,
    )
    if as_json:
        click.echo(json.dumps(made.as_json(), indent=2))
        return
    click.echo(
        f"rack {name} is up after {time.monotonic() - started:.1f} s: {trays} trays, clique {made.clique}"
    )
    click.echo(f"  look at it   claimwright node rack status {name}; claimwright node rack inspect {name}")
    click.echo(f"  ask a tray   claimwright node exec {made.trays[0].node} -- nvidia-imex-ctl -N")
    click.echo(f"  stop it      claimwright node rack down {name}")


@rack.command("down")
@_one
def down_command(name: str | None) -> None:
    """Stop all nodes of a rack; works after a kill -9 of anything.

    NAME may be left out while there is one rack.
    """
    chosen = name or _chosen(name).name
    down(chosen)
    click.echo(f"rack {chosen} is down")


@rack.command("status")
@_one
@click.option("--json", "as_json", is_flag=True, help="Print what `rack inspect --json` prints.")
def status_command(name: str | None, as_json: bool) -> None:
    """Say whether a rack is whole; status 1, and a line for each tray that is not well, where it is not."""
    described = describe(_chosen(name))
    if as_json:
        click.echo(json.dumps(described, indent=2))
    else:
        for line in summary(described):
            click.echo(line)
    if not described["whole"]:
        raise click.exceptions.Exit(1)


@rack.command("repair")
@_one
@_files
def repair_command(name: str | None, files: Literal["auto", "fuse", "plain"]) -> None:
    """Boot the trays that are not up, start each nvidia-imex that does not run, and wait for the domain."""
    made = repair(name or _chosen(name).name, files=files, progress=_say)
    click.echo(f"rack {made.name} is whole: {len(made.trays)} trays")


@rack.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> None:
    """List the racks of this user."""
    found = list_racks()
    if as_json:
        click.echo(json.dumps([each.as_json() for each in found], indent=2))
    elif found:
        rows = [(each.name, each.board, str(len(each.trays)), each.clique) for each in found]
        click.echo(lined_up(("NAME", "BOARD", "TRAYS", "CLIQUE"), rows))
    else:
        click.echo("no rack is up; `claimwright node rack up` boots one", err=True)


@rack.command("inspect")
@_one
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def inspect_command(name: str | None, as_json: bool) -> None:
    """Show a rack: its clique, each tray's nvidia-imex, and who reaches whom.

    NAME may be left out while there is one rack.
    """
    described = describe(_chosen(name))
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    from claimwright.emulator.rack import picture  # noqa: PLC0415 - rich costs 60 ms that other commands save

    picture.show(described)


def _chosen(name: str | None) -> Rack:
    if name is not None:
        return load(name)
    found = list_racks()
    if len(found) != 1:
        names = ", ".join(each.name for each in found) or "none; `claimwright node rack up` boots one"
        raise NodeError(f"name one rack of: {names}")
    return found[0]


def _say(line: str) -> None:
    click.echo(line, err=True)
