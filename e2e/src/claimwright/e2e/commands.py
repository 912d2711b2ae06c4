"""`claimwright demo` and `claimwright bench`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from claimwright.cluster import ClusterError, for_stream
from claimwright.e2e.demo import PartFailed, Results, run_demo
from claimwright.e2e.figures import table
from claimwright.e2e.stages import Stages
from claimwright.emulator.errors import EmulatorError

_WIDE = 180


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--kubernetes", default="1.37", show_default=True, help="The minor to run: 1.34 to 1.37.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("out/demo"), show_default=True,
    help="Where the evidence, the samples and the page go.",
)  # fmt: skip
def demo(kubernetes: str, out: Path) -> None:
    """Show everything at work on this machine, and clean up after.

    A real Kubernetes with an emulated HGX H100 node and the driver on it; the conformance suite's verdict;
    pods that use GPUs, observed from inside; the measurement and its page. Without root the kubelet stand-in
    runs the pods. The first run may build Kubernetes (about 10 minutes on 2 cores), later runs take two minutes.
    """
    results = Results(out.resolve())
    try:
        stages, good = run_demo(results, version=kubernetes, progress=for_stream(sys.stderr))
    except (ClusterError, EmulatorError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    _closing_table(stages, results)
    sys.exit(0 if good else 1)


def _closing_table(stages: Stages, results: Results) -> None:
    table = Table(title="Claimwright demo", title_justify="left")
    for column in ("stage", "outcome", "found"):
        table.add_column(column)
    table.add_column("seconds", justify="right")
    for stage in stages.finished:
        table.add_row(stage.name, stage.outcome, stage.found, f"{stage.seconds:.1f}")
    table.add_row("total", "", "", f"{sum(stage.seconds for stage in stages.finished):.1f}")
    console = Console()
    console.print(table)
    console.print(f"report.html: {results.report}", soft_wrap=True)
    console.print(f"evidence:    {results.bundle / 'report.html'}", soft_wrap=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out/bench"),
    show_default=True,
    help="Where bench.json, the samples and the page go; a folder of its own for each run.",
)
@click.option(
    "--claims",
    type=click.IntRange(10, 100_000),
    default=1000,
    show_default=True,
    help="Prepare cycles per load; p99 needs 1000.",
)
@click.pass_context
def bench(context: click.Context, out: Path, claims: int) -> None:
    """Measure this checkout against its budgets: NVML, cluster start, and the driver on a real node.

    Prints each value with its budget and their ratio; a missed budget is told and is no failure. Needs root.
    Figures depend on what else the machine does: run it on a quiet one.

    With the command `prepare`, only that is measured, and it needs no Kubernetes.
    """
    if context.invoked_subcommand is not None:
        return
    from claimwright.e2e.bench import run_bench  # noqa: PLC0415 - the demo needs none of it

    if os.geteuid() != 0:
        click.echo(
            "error: the bench needs root: it measures on a real node with namespaces of its own", err=True
        )
        sys.exit(2)
    try:
        figures = run_bench(out.resolve(), claims=claims, progress=for_stream(sys.stderr))
    except (ClusterError, EmulatorError, PartFailed) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    _show(f"Budgets ({out / 'bench.json'})", ("what", "reached", "budget", "ratio"), table(figures))


@bench.command("prepare")
@click.option("--kind", "kinds", multiple=True, help="One kind; may be given several times. All without it.")
@click.option(
    "--at-once", multiple=True, type=click.IntRange(1, 16), help="How many claims at once; 1, 2, 4, 8 and 16."
)
@click.option("--rounds", type=click.IntRange(1), default=300, show_default=True, help="At most, per cell.")
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=4.0, show_default=True, help="At most, per cell."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the tables.")
def bench_prepare(
    kinds: tuple[str, ...], at_once: tuple[int, ...], rounds: int, seconds: float, *, as_json: bool
) -> None:
    """Measure prepare and release for each kind of device, with 1 to 16 claims at once.

    The driver is a real process on an emulated machine of sixteen boards, its journal on the disk of TMPDIR; the
    claims come from an API server in memory, and the calls from a process of their own. Each line has the client's
    p50 and p99 and what share of a prepare each step took. Takes five minutes for all kinds; VFIO and vGPUs need a
    machine where FUSE can be mounted.

    \b
        claimwright bench prepare
        claimwright bench prepare --kind full --at-once 8 --json
    """  # noqa: D301 - click reads the backspace
    from claimwright.e2e import prepare_bench  # noqa: PLC0415 - slow to load

    known = {kind.name: kind for kind in prepare_bench.KINDS}
    unknown = [name for name in kinds if name not in known]
    if unknown:
        raise click.UsageError(f"unknown kind {unknown[0]!r}; known: {', '.join(known)}")
    chosen = [known[name] for name in kinds] or list(prepare_bench.KINDS)
    plan = prepare_bench.Plan(chosen, at_once or prepare_bench.AT_ONCE, rounds, seconds)
    environment = prepare_bench.Environment.here()
    progress = for_stream(sys.stderr)
    try:
        cells = list(prepare_bench.measure(plan, progress.note))
    except (prepare_bench.LoadFailed, EmulatorError, LookupError, RuntimeError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps(prepare_bench.document(environment, cells), indent=1))
        return
    click.echo(str(environment))
    _show("Prepare and release, by kind", prepare_bench.COLUMNS, prepare_bench.rows(cells))
    budgets = prepare_bench.budget_figures(cells)
    if budgets:
        _show("Budgets", ("what", "reached", "budget", "ratio"), table(budgets))


def _show(title: str, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    shown = Table(title=title, title_justify="left")
    for column in columns[:-1]:
        shown.add_column(column, no_wrap=True)
    shown.add_column(columns[-1])  # the one with words, which may wrap
    for line in lines:
        shown.add_row(*line)
    console = Console()
    if not console.is_terminal:
        console.width = _WIDE  # a file has no width of its own
    console.print(shown)
