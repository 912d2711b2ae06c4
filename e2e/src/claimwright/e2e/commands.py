"""`claimwright demo` and `claimwright bench`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from claimwright.cluster import ClusterError, for_stream
from claimwright.e2e.demo import PartFailed, Results, run_demo
from claimwright.e2e.stages import Stages
from claimwright.emulator.errors import EmulatorError


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


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
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
def bench(out: Path, claims: int) -> None:
    """Measure this checkout against its budgets: NVML, cluster start, and the driver on a real node.

    Prints each value with its budget and their ratio; a missed budget is told and is no failure. Needs root.
    Figures depend on what else the machine does: run it on a quiet one.
    """
    from claimwright.e2e.bench import run_bench, table  # noqa: PLC0415 - the demo needs none of it

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
    shown = Table(title=f"Budgets ({out / 'bench.json'})", title_justify="left")
    for column in ("what", "reached", "budget", "ratio"):
        shown.add_column(column)
    for row in table(figures):
        shown.add_row(*row)
    Console().print(shown)
