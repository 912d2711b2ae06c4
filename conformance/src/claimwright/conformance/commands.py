"""`claimwright conformance`: the suite's door for people and pipelines.

Exit codes: 0 conformant, 1 not conformant, 2 wrong use, 3 the suite or its environment broke, 4 partial.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from claimwright.conformance.errors import ConformanceError, UsageError
from claimwright.conformance.outcomes import USAGE_EXIT_CODE

P = ParamSpec("P")
T = TypeVar("T")
ENVIRONMENT_EXIT_CODE = 3
_EXISTING = click.Path(exists=True, path_type=Path)
KUBECONFIG = click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    envvar="KUBECONFIG",
    help="An API server; no kubelet is needed.",
)


def _one_clear_error(command: Callable[P, T]) -> Callable[P, T]:
    @wraps(command)
    def guarded(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return command(*arguments, **options)
        except ConformanceError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(USAGE_EXIT_CODE if isinstance(error, UsageError) else ENVIRONMENT_EXIT_CODE)

    return guarded


@click.group()
def conformance() -> None:
    """Judge a DRA driver against the contract between drivers and Kubernetes.

    It needs an API server (1.34 or newer), no kubelet and no GPU.

    \b
      claimwright conformance init > driver.yaml
      claimwright conformance check driver.yaml
      claimwright conformance run driver.yaml --kubeconfig ~/.kube/config --out bundle
      claimwright conformance verify bundle
    """  # noqa: D301 - click reads the backspace


@conformance.command("list")
@click.option("--area", help="Only one area: REG, SLICE, PREP …")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--explain", metavar="ID", help="Explain one requirement.")
@_one_clear_error
def list_requirements(area: str | None, as_json: bool, explain: str | None) -> None:
    """List the requirements, or explain one.

    \b
      claimwright conformance list --area PREP
      claimwright conformance list --explain DRA-PREP-006
    """  # noqa: D301 - click reads the backspace
    from claimwright.conformance import listing  # noqa: PLC0415 - keeps --help fast
    from claimwright.conformance.registry import find_requirement, load_registry  # noqa: PLC0415

    if explain is not None:
        chosen = [find_requirement(explain)]
    else:
        chosen = [one for one in load_registry().values() if area is None or one.area == area.upper()]
    if not chosen:
        areas = sorted({one.area for one in load_registry().values()})
        raise UsageError(f"no area {area!r}; there are {', '.join(areas)}")
    if as_json:
        click.echo(json.dumps([one.model_dump(mode="json") for one in chosen], indent=2))
    else:
        click.echo(listing.explanation(chosen[0]) if explain is not None else listing.table(chosen))


@conformance.command()
@click.option("--reference", is_flag=True, help="Print the declaration of the suite's own reference driver.")
def init(reference: bool) -> None:
    """Print a commented driver.yaml to start from."""
    from importlib.resources import files  # noqa: PLC0415 - keeps --help fast

    name = "reference.yaml" if reference else "template.yaml"
    text = (files("claimwright.conformance") / "declarations" / name).read_text(encoding="utf-8")
    click.echo(text, nl=False)


@conformance.command()
@click.argument("declaration", type=_EXISTING)
@KUBECONFIG
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_one_clear_error
def check(declaration: Path, kubeconfig: Path | None, as_json: bool) -> None:
    """Read a declaration; with a kubeconfig, also start the driver and compare features."""
    from claimwright.conformance import preflight  # noqa: PLC0415 - keeps --help fast

    found = preflight.examine(declaration, kubeconfig)
    click.echo(json.dumps(found.as_object(), indent=2) if as_json else "\n".join(found.lines()))
    sys.exit(0 if found.sound else 1)


@conformance.command(context_settings={"ignore_unknown_options": True})
@click.argument("declaration", type=_EXISTING)
@KUBECONFIG
@click.option("--out", type=click.Path(path_type=Path), default=Path("conformance-bundle"), show_default=True)
@click.option("--only", multiple=True, metavar="ID", help="Run only this id (may be repeated).")
@click.option("-k", "expression", help="pytest's -k, over ids and names.")
@click.option("--strict", is_flag=True, help="A failed SHOULD fails the run.")
@click.option("--seed", type=int, default=0, show_default=True, help="Order of the checks.")
@click.option("--run-id", help="Name of the run in objects and reports.")
@click.option(
    "--allure", type=click.Path(path_type=Path), help="Write Allure results there (needs allure-pytest)."
)
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
@_one_clear_error
def run(declaration: Path, pytest_arguments: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401 - click's bag
    """Judge the declared driver and write the evidence bundle; other options go to pytest (-x, -n 2, --lf).

    \b
      claimwright conformance run driver.yaml --kubeconfig ~/.kube/config --out bundle
      claimwright conformance run driver.yaml --only DRA-PREP-006 --only DRA-CDI-001
      claimwright conformance run driver.yaml -k "UNPREP and not restart" -x

    Exit codes: 0 conformant, 1 not conformant, 2 wrong use, 3 the suite or its environment broke, 4 partial.
    """  # noqa: D301 - click reads the backspace
    from claimwright.conformance.declaration import load_declaration  # noqa: PLC0415 - keeps --help fast
    from claimwright.conformance.reach import require_api_server  # noqa: PLC0415
    from claimwright.conformance.registry import find_requirement  # noqa: PLC0415
    from claimwright.conformance.running import run_suite  # noqa: PLC0415

    load_declaration(declaration)
    for identifier in options["only"]:
        find_requirement(identifier)
    if not _asks_pytest_only(pytest_arguments):
        require_api_server(options["kubeconfig"])
    sys.exit(run_suite(declaration, pytest_arguments, **options))


def _asks_pytest_only(arguments: tuple[str, ...]) -> bool:
    """Tell whether pytest would only list: then no server is needed."""
    return any(one.startswith(("--collect-only", "--co", "--help", "--version")) for one in arguments)


@conformance.command()
@click.argument("bundle", type=_EXISTING)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_one_clear_error
def verify(bundle: Path, as_json: bool) -> None:
    """Check a bundle again: hashes, schema, verdict, completeness, redaction."""
    from claimwright.conformance.evidence.verify import read_report, verify_bundle  # noqa: PLC0415

    faults = verify_bundle(bundle)
    told = read_report(bundle).get("verdict")
    if as_json:
        click.echo(json.dumps({"bundle": str(bundle), "verdict": told, "faults": faults}, indent=2))
    else:
        click.echo("\n".join(faults) or f"{bundle}: sound; its verdict is {told}")
    sys.exit(1 if faults else 0)


@conformance.command()
@click.argument("before", type=_EXISTING)
@click.argument("after", type=_EXISTING)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_one_clear_error
def diff(before: Path, after: Path, as_json: bool) -> None:
    """Compare two bundles; exit code 1 when something that passed does so no more."""
    from claimwright.conformance.evidence.difference import compare_bundles  # noqa: PLC0415

    changes = compare_bundles(before, after)
    if as_json:
        click.echo(json.dumps([change.as_object() for change in changes], indent=2))
    else:
        lines = [f"{one.id:<16} {one.level:<7}{one.before} -> {one.after}  {one.reason}" for one in changes]
        click.echo("\n".join(lines) or "no outcome differs")
    sys.exit(1 if any(change.worse for change in changes) else 0)


@conformance.command()
@KUBECONFIG
@click.option("--only", multiple=True, metavar="N", help="Only this mutant (may be repeated): 1a, 7 …")
@click.option("--table-only", is_flag=True, help="Only the twelve rows of the design's table (1 to 12).")
@click.option("--jobs", type=click.IntRange(1, 2), default=2, show_default=True)
@click.option("--thorough", is_flag=True, help="Run every check against every mutant, restarts included.")
@click.option("--out", type=click.Path(path_type=Path), help="Keep the bundles there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_one_clear_error
def mutants(as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's bag and flag
    """Prove the suite: run it against the correct driver and against each deliberately wrong one."""
    from claimwright.conformance.mutants.hunting import hunt  # noqa: PLC0415 - keeps --help fast

    score = hunt(progress=lambda line: click.echo(line, err=as_json), **options)
    click.echo(json.dumps(score.as_object(), indent=2) if as_json else "\n".join(score.lines()))
    sys.exit(0 if score.perfect else 1)


@conformance.command()
@click.option(
    "--run", "run_id", required=True, metavar="ID", help="The run's id, as its report and objects carry it."
)
@KUBECONFIG
@_one_clear_error
def cleanup(run_id: str, kubeconfig: Path | None) -> None:
    """Remove what a killed run left: its driver's processes, folders and cluster objects."""
    from claimwright.conformance.sweeping import sweep_run  # noqa: PLC0415 - keeps --help fast

    if kubeconfig is None:
        raise UsageError("cleanup needs --kubeconfig or KUBECONFIG")
    found = sweep_run(run_id, kubeconfig)
    click.echo("\n".join(f"removed {one}" for one in found) or f"nothing is left of run {run_id}")
