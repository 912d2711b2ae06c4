"""Find sub-commands by entry point and import only the one that was asked for.

A room registers `NAME = "module:click_command"` in the entry-point group `claimwright.commands`; this module
knows no room by name, so a vendor who installs the conformance suite alone gets exactly its commands.
"""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any

import click

GROUP = "claimwright.commands"
_INTERRUPTED_STATUS = 130


class InstalledRooms(click.Group):
    """A click group whose sub-commands are the entry points of the installed rooms."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all sub-commands, sorted."""
        return sorted({*super().list_commands(ctx), *_registered()})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the room that brings `name`; an unknown name gives None."""
        entry = _registered().get(name)
        if entry is None:
            return super().get_command(ctx, name)
        command = entry.load()
        assert isinstance(command, click.Command), f"{entry.value} is no click command"
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run the sub-command; Ctrl-C ends with the status that shells expect, 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(_INTERRUPTED_STATUS)


def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


@click.command(cls=InstalledRooms, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("claimwright-cli"), prog_name="claimwright")
def main() -> None:
    """Prove Kubernetes DRA GPU drivers without GPUs.

    Each sub-command comes from one room of the project; install a room and its command appears here.
    """


if __name__ == "__main__":
    sys.exit(main())
