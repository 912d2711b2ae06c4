"""`claimwright node record`, `replay` and `parity`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from claimwright.dra.files import write_atomically
from claimwright.emulator.captures.capture import Capture
from claimwright.emulator.captures.errors import CaptureError
from claimwright.emulator.captures.profile_from import profile_from, profile_text_from
from claimwright.emulator.captures.reading import read_capture, read_report
from claimwright.emulator.captures.recording import record as record_machine
from claimwright.emulator.captures.recording import record_node
from claimwright.emulator.captures.scoring import Difference, Parity
from claimwright.emulator.captures.scoring import parity as compare
from claimwright.emulator.columns import lined_up
from claimwright.emulator.running import load, up

_DIFFERENT = 1
_FILE = click.Path(path_type=Path)
_SHOWN = 40  # differences in the table; --json gives all


@click.command("record")
@click.option("--node", "name", help="Record this emulated node.  [default: the machine this runs on]")
@click.option("--report", type=_FILE, help="Take what `nvidia-smi -q -x` printed elsewhere (XML) instead.")
@click.option("--output", "-o", type=_FILE, help="Write to this file.  [default: standard output]")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    envvar="HOST_ROOT",
    default=Path("/"),
    help="Where sys/ and proc/ are.  [default: /, or HOST_ROOT as inside `node exec`]",
)
def record(name: str | None, report: Path | None, output: Path | None, root: Path) -> None:
    """Write down what a machine with GPUs tells of itself.

    Asks NVML, /sys and /proc, changes nothing, and needs no root. UUIDs, serial numbers, GUIDs and MAC addresses are
    replaced by numbers, the same on the same input, so the file can be shown to others. It is text, one
    `path = value` a line.

    \b
      claimwright node record -o my-server.capture
      claimwright node record --node hgx-h100 -o emulated.capture
      claimwright node record --report report.xml -o reported.capture

    `node replay` boots a capture, `node parity` compares two.
    """  # noqa: D301 - click reads the backspace
    if name is not None and report is not None:
        raise click.UsageError("give --node or --report, not both")
    if output is not None and output.exists() and not output.is_file():
        raise CaptureError(f"{output}: not a plain file, so it is not replaced")
    text = _recorded(name, report, root).text()
    if output is None:
        click.echo(text, nl=False)
        return
    _write(output, text)
    leaves = text.count("\n") - 1
    click.echo(f"{leaves} leaves in {output}; boot it with `claimwright node replay {output}`", err=True)


def _recorded(name: str | None, report: Path | None, root: Path) -> Capture:
    if report is not None:
        return read_report(report)
    click.echo(f"asking {'this machine' if name is None else f'node {name}'} …", err=True)
    return record_machine(root) if name is None else record_node(load(name))


def _write(output: Path, text: str) -> None:
    try:
        write_atomically(output, text, mode=0o644, durable=False)
    except OSError as error:
        raise CaptureError(f"{output}: cannot be written: {error.strerror}") from None


@click.command("replay")
@click.argument("file", metavar="CAPTURE", type=_FILE)
@click.option("--name", help="The node's name.  [default: from the file's]")
@click.option("--profile", "as_profile", is_flag=True, help="Print the node profile instead of booting it.")
def replay(file: Path, name: str | None, as_profile: bool) -> None:
    """Boot a node that tells what a recorded machine told.

    CAPTURE is what `node record` wrote, or the XML that `nvidia-smi -q -x` printed on a real machine. What such a
    report does not tell (PCIe tree, NUMA) gets the plainest form, and is listed as unverified. A board that the
    catalogue lacks becomes a variant of its nearest relative.

    \b
      claimwright node replay my-server.capture
      claimwright node replay report.xml --name lab
      claimwright node replay report.xml --profile > my-server.yaml     # to change it by hand
      claimwright node up --profile my-server.yaml
    """  # noqa: D301 - click reads the backspace
    key = _key(file)
    capture = read_capture(file)
    if as_profile:
        click.echo(profile_text_from(capture, key), nl=False)
        return
    node = up(
        profile_from(capture, key),
        name=key if name is None else name,
        progress=lambda line: click.echo(f"{line} …", err=True),
    )
    click.echo(f"node {node.name} replays {file}: look at it with `claimwright node inspect {node.name}`")


@click.command("parity")
@click.argument("first", metavar="A", type=_FILE)
@click.argument("second", metavar="B", type=_FILE)
@click.option("--shared", is_flag=True, help="Compare only leaves that both tell.")
@click.option(
    "--at-least",
    type=click.FloatRange(0, 100),
    default=100.0,
    show_default=True,
    metavar="PERCENT",
    help="Status 1 when fewer lasting leaves than this agree.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: all differences, volatile ones too.")
@click.pass_context
def parity(  # noqa: PLR0917 - one parameter an option
    context: click.Context, first: Path, second: Path, shared: bool, at_least: float, as_json: bool
) -> None:
    """Score two captures, A and B, leaf by leaf; the status is 1 when they agree too little.

    Readings, identifiers and bound drivers are volatile: they are counted apart and change no status. A report of
    nvidia-smi (XML, also taken) tells less than a capture: use --shared to compare the two.

    \b
      claimwright node parity real.capture emulated.capture
      claimwright node parity report.xml emulated.capture --shared --at-least 99
      claimwright node parity real.capture emulated.capture --json | jq .percent
    """  # noqa: D301 - click reads the backspace
    score = compare(read_capture(first), read_capture(second), shared=shared)
    click.echo(json.dumps(score.described(), indent=2) if as_json else _table(score))
    context.exit(0 if score.percent >= at_least else _DIFFERENT)


def _table(score: Parity) -> str:
    if not score.compared:
        return "nothing to compare: the two have no lasting leaf in common"
    lines = [f"{score.agreeing} of {score.compared} lasting leaves agree ({score.percent:.2f} %)"]
    if score.differences:
        rows = [_row(each) for each in score.differences[:_SHOWN]]
        lines += ["", lined_up(("LEAF", "FIRST", "SECOND"), rows)]
    if len(score.differences) > _SHOWN:
        lines.append(f"and {len(score.differences) - _SHOWN} more: --json gives all")
    if score.volatile:
        lines += [
            "",
            f"{len(score.volatile)} volatile leaves differ, which is to be expected (--json lists them)",
        ]
    return "\n".join(lines)


def _row(difference: Difference) -> tuple[str, str, str]:
    return difference.path, _short(difference.first), _short(difference.second)


def _short(value: str | None) -> str:
    shown = "(not told)" if value is None else value
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


def _key(file: Path) -> str:
    """Make a node's name of a file's."""
    word = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in file.stem.lower())
    return word.strip("-")[:63] or "recorded"
