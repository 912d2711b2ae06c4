"""`claimwright report`: measure, render, metrics."""

from __future__ import annotations

import errno
import json
import shlex
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import NoReturn, ParamSpec

import click

from claimwright.reports.environment import Hardware
from claimwright.reports.errors import ReportError, TargetError
from claimwright.reports.measuring import DriverChoice, LoadShape, Options, PodShape
from claimwright.reports.measuring import measure as run_measurement
from claimwright.reports.measuring.options import Kubelet
from claimwright.reports.measuring.progress import Progress
from claimwright.reports.metrics import registry
from claimwright.reports.rendering.text import definitions
from claimwright.reports.rendering.write import write_report
from claimwright.reports.report import build
from claimwright.reports.samples import find_sample_files, read_samples

P = ParamSpec("P")
_USAGE_STATUS, _FAILURE_STATUS = 2, 1
_HELP = {"help_option_names": ["-h", "--help"]}


def _told(command: Callable[P, None]) -> Callable[P, None]:
    """Let what the user can mend end as one clear message; status 2 for what was typed, 1 for what was met."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except ReportError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(_FAILURE_STATUS if isinstance(error, TargetError) else _USAGE_STATUS)
        except OSError as error:
            click.echo(f"Error: {error.strerror or error} ({error.filename or 'no file named'})", err=True)
            sys.exit(_FAILURE_STATUS if error.errno == errno.ENOSPC else _USAGE_STATUS)
        except KeyboardInterrupt:
            _interrupted()

    return run


@click.group(context_settings=_HELP)
def report() -> None:
    """Measure a DRA driver, and draw the report of a release.

    Measuring plays the kubelet: it needs a kubeconfig and the node's plugin registration folder, and
    nothing of the driver's code, so any vendor's driver can be measured. Every event is kept as one JSON
    line; quantiles are exact, intervals come from a bootstrap over runs.

    \b
    A first report, of a driver that runs already:
      claimwright report measure --kubeconfig K --node N --registry-dir D --emulated
      claimwright report render out/report --out report.html
    """  # noqa: D301 - click reads the backspace


@report.command(context_settings=_HELP)
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path), required=True, help="The cluster's kubeconfig."
)
@click.option("--node", required=True, help="The node that the driver serves.")
@click.option(
    "--registry-dir",
    type=click.Path(path_type=Path),
    required=True,
    help="The kubelet's plugins_registry folder of that node, as this machine sees it.",
)
@click.option("--driver", default="gpu.nvidia.com", show_default=True, help="The DRA driver's name.")
@click.option(
    "--driver-pid", type=click.IntRange(min=1), help="Pid of the running driver: its memory is read."
)
@click.option(
    "--driver-command",
    help="Start the driver by this command (split like a shell does, no shell runs): measures L-PUB as well.",
)
@click.option(
    "--starts", type=click.IntRange(0, 1000), default=5, show_default=True, help="Driver starts for L-PUB."
)
@click.option(
    "--claims",
    type=click.IntRange(0, 100_000),
    default=1000,
    show_default=True,
    help="Prepare cycles per load (serial, parallel, open); p99 needs 1000. 0 leaves them out.",
)
@click.option(
    "--repetitions", type=click.IntRange(1, 100), default=5, show_default=True, help="Blocks of the run."
)
@click.option(
    "--rate",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Arrivals a second, open load.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    default=60,
    show_default=True,
    help="Most time for each load, in all.",
)
@click.option(
    "--pods",
    type=click.IntRange(0, 10_000),
    default=24,
    show_default=True,
    help="Pods for L-START; 0 leaves it out.",
)
@click.option(
    "--pod-manifest",
    type=click.Path(path_type=Path),
    help="YAML with one Pod and its ResourceClaimTemplates, in place of the built-in pod.",
)
@click.option(
    "--image", default="claimwright.local/pause:1", show_default=True, help="Image of the built-in pod."
)
@click.option("--device-class", help="DeviceClass of the built-in pod; without it one is made and removed.")
@click.option(
    "--kubelet", type=click.Choice(["real", "stand-in"]), help="What runs the pods; found out where not said."
)
@click.option(
    "--state-dir", type=click.Path(path_type=Path), help="The driver's state folder: its fsync is timed."
)
@click.option(
    "--expect-devices", type=click.IntRange(min=1), help="L-PUB waits for at least so many devices."
)
@click.option(
    "--emulated/--real",
    "emulated",
    default=None,
    help="Whether the GPUs are emulated. Must be said: the two never share a report.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("out/report"),
    show_default=True,
    help="Folder for the samples, one RUN.jsonl a run; more runs there make a surer report.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
@_told
def measure(
    *,
    kubeconfig: Path,
    node: str,
    registry_dir: Path,
    driver: str,
    driver_pid: int | None,
    driver_command: str | None,
    starts: int,
    claims: int,
    repetitions: int,
    rate: int,
    seconds: float,
    pods: int,
    pod_manifest: Path | None,
    image: str,
    device_class: str | None,
    kubelet: Kubelet | None,
    state_dir: Path | None,
    expect_devices: int | None,
    emulated: bool | None,
    out: Path,
    as_json: bool,
) -> None:
    """Measure a driver on one node, and write every event as a JSON line.

    Makes a namespace of its own and removes it, also after Ctrl-C. Never takes a device that a pod holds.

    \b
    L-PREP-K, L-UNPREP-K, T-PREP   allocated claims, prepared and unprepared over the plugin's socket
    L-PUB                          driver start until its slices are visible (with --driver-command)
    L-START                        pod creation until it runs, by phase (where the node is Ready)
    R-MEM, R-CPU                   the driver's process (with --driver-pid or --driver-command)
    """  # noqa: D301 - click reads the backspace
    if driver_pid and driver_command:
        raise click.UsageError(
            "--driver-pid names a running driver, --driver-command starts one: give one of them"
        )
    options = Options(
        kubeconfig=kubeconfig,
        hardware=_hardware(emulated=emulated),
        out=out,
        driver=DriverChoice(driver, node, registry_dir, driver_pid, _split(driver_command), starts),
        load=LoadShape(cycles=claims, repetitions=repetitions, per_second=rate, seconds=seconds),
        pods=PodShape(pods, pod_manifest, image, device_class, kubelet),
        state_dir=state_dir,
        expect_devices=expect_devices,
    )
    result = run_measurement(options, Progress(lambda line: click.echo(line, err=True)))
    if as_json:
        told = {"run": result.run, "samples": str(result.samples), "written": result.written}
        click.echo(json.dumps(told, sort_keys=True))
        return
    click.echo(f"{result.written} samples in {result.samples}")
    click.echo(f"draw them with: claimwright report render {out} --out report.html")


@report.command(context_settings=_HELP)
@click.argument("samples", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The page; report.json, report.txt and report.bench (for benchstat) are written beside it.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the content of report.json in place of the table."
)
@_told
def render(*, samples: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Draw samples as one self-contained page, report.json, and text.

    SAMPLES are files of `measure`, or folders of them. Several runs are taken as repetitions of one series;
    emulated and real hardware do not mix. The same samples give the same bytes.
    """
    found = build([read_samples(path) for path in find_sample_files(samples)])
    written = write_report(found, out)
    click.echo(written.json if as_json else written.table, nl=False)
    click.echo(f"{out}", err=True)


@report.command(context_settings=_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print the registry as JSON.")
@_told
def metrics(*, as_json: bool) -> None:
    """List the frozen metric ids: what each starts with and ends with, its unit, clock and budgets."""
    click.echo(definitions(registry().values(), as_json=as_json), nl=False)


def _hardware(*, emulated: bool | None) -> Hardware:
    if emulated is None:
        raise click.UsageError(
            "say --emulated or --real: numbers from emulated GPUs are never mixed with those of real hardware"
        )
    return "emulated" if emulated else "real"


def _split(command: str | None) -> tuple[str, ...]:
    if command is None:
        return ()
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise click.BadParameter(f"{command!r}: {error}", param_hint="--driver-command") from error
    if not words:
        raise click.BadParameter(
            "is empty; give the command that starts the driver", param_hint="--driver-command"
        )
    return words


def _interrupted() -> NoReturn:
    click.echo("interrupted; everything that was made in the cluster has been removed", err=True)
    raise SystemExit(130)
