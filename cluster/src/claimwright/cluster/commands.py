"""The `claimwright cluster` commands."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from claimwright.cluster import errors, folders, interface, progress, versions
from claimwright.cluster.interface import Cluster, ClusterSpec, ProviderName
from claimwright.cluster.interruption import TERMINATED_STATUS, Terminated, terminable

_DEFAULT_NAME = "claimwright"
_FOLLOW_SECONDS = 0.2
_COLUMNS = ("name", "state", "provider", "kubernetes", "nodes")
_EXISTING_FOLDER = click.Path(file_okay=False, resolve_path=True, path_type=Path)


@contextmanager
def _reported() -> Iterator[None]:
    """Turn an expected error into one message and exit code 2; a SIGTERM cleans up as Ctrl-C does."""
    try:
        with terminable():
            yield
    except errors.ClusterError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"error: {_explained(error)}", err=True)
        sys.exit(2)
    except Terminated:
        click.echo("terminated; nothing is left behind", err=True)
        sys.exit(TERMINATED_STATUS)
    except KeyboardInterrupt:
        click.echo("interrupted; nothing is left behind", err=True)
        sys.exit(130)


def parse_feature_gate(text: str) -> tuple[str, bool]:
    """Read `Name=true` or `Name=false`; raises InvalidRequest."""
    name, separator, value = text.partition("=")
    if not name.isidentifier() or not separator or value.lower() not in {"true", "false"}:
        raise errors.InvalidRequest(f"--feature-gate {text!r}: write Name=true or Name=false")
    return name, value.lower() == "true"


@click.group()
def cluster() -> None:
    """Start, use and remove a Kubernetes to test on.

    \b
      claimwright cluster up
      export KUBECONFIG=$(claimwright cluster kubeconfig)
      claimwright cluster list
      claimwright cluster logs claimwright kube-apiserver
      claimwright cluster down
    """  # noqa: D301 - click reads the backspace


@cluster.command()
@click.option("--name", default="claimwright", show_default=True, help="Name of the cluster.")
@click.option("--nodes", default=1, show_default=True, help="Real nodes (root; without it none are made).")
@click.option("--kubernetes", default=versions.DEFAULT_MINOR, show_default=True, help="Kubernetes minor.")
@click.option("--feature-gate", "gates", multiple=True, metavar="NAME=true|false", help="May be repeated.")
@click.option("--provider", type=click.Choice(interface.PROVIDERS), default="local", show_default=True)
@click.option("--binaries", type=_EXISTING_FOLDER, help="Folder with programs to use before all others.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="For --provider kubeconfig.")
@click.option("--context", help="Context in that kubeconfig.")
@click.option("--api-qps", type=click.IntRange(1), help="Client limit of controller manager and scheduler.")
@click.option("--api-port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; 0 is any.")
@click.option("--json", "as_json", is_flag=True, help="Print the cluster as JSON.")
def up(  # noqa: PLR0917 - click passes each option by name
    name: str,
    nodes: int,
    kubernetes: str,
    gates: tuple[str, ...],
    provider: ProviderName,
    binaries: Path | None,
    kubeconfig: Path | None,
    context: str | None,
    api_qps: int | None,
    api_port: int,
    *,
    as_json: bool,
) -> None:
    """Start a cluster and wait until it is ready.

    The programs come from --binaries or KUBEBUILDER_ASSETS, the cache, the official releases, or a build with
    Go, in that order. Interrupted or failed, it leaves nothing behind.

    \b
      claimwright cluster up --nodes 2 --kubernetes 1.36
      claimwright cluster up --name control-plane --nodes 0
      claimwright cluster up --feature-gate DRAPartitionableDevices=true
      claimwright cluster up --provider kubeconfig --kubeconfig ~/.kube/config --context lab
    """  # noqa: D301 - click reads the backspace
    with _reported():
        spec = ClusterSpec(
            name=name, provider=provider, kubernetes=kubernetes, nodes=nodes,
            feature_gates=dict(parse_feature_gate(gate) for gate in gates), binaries=binaries,
            kubeconfig=kubeconfig, context=context, api_qps=api_qps, api_port=api_port,
        )  # fmt: skip
        made = interface.up(spec, progress=progress.for_stream())
        click.echo(json.dumps(as_object(made), indent=1) if as_json else _summary(made))


@cluster.command()
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Remove every cluster of this user.")
def down(name: str | None, *, everything: bool) -> None:
    """Remove the cluster NAME (default: claimwright), whatever state it is in."""
    if everything and name is not None:
        raise click.UsageError(f"name one cluster or give --all: {name!r} and --all contradict each other")
    with _reported():
        for chosen in interface.list_clusters() if everything else [_DEFAULT_NAME if name is None else name]:
            interface.down(chosen, progress=progress.for_stream())


@cluster.command(context_settings={"ignore_unknown_options": True})
@click.option("--name", help="Name of the cluster.  [default: run-PID]")
@click.option("--nodes", default=1, show_default=True, help="Real nodes (root; without it none are made).")
@click.option("--kubernetes", default=versions.DEFAULT_MINOR, show_default=True, help="Kubernetes minor.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(name: str | None, nodes: int, kubernetes: str, command: tuple[str, ...]) -> None:
    """Start a cluster, run COMMAND with KUBECONFIG set to it, and remove the cluster.

    Ends with COMMAND's exit code: `claimwright cluster run --nodes 0 -- kubectl get --raw /version`.
    """
    from claimwright.cluster.errand import run_on_cluster  # noqa: PLC0415

    spec = ClusterSpec(name=name or f"run-{os.getpid()}", nodes=nodes, kubernetes=kubernetes)
    with _reported():
        sys.exit(run_on_cluster(spec, command, progress=progress.for_stream()))


@cluster.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(*, as_json: bool) -> None:
    """List the clusters of this user."""
    with _reported():
        found = [_listed(name) for name in interface.list_clusters()]
        if as_json:
            click.echo(json.dumps(found, indent=1))
        elif found:
            click.echo("\n".join(_lines(found)))
        else:
            click.echo("no cluster is there; `claimwright cluster up` starts one", err=True)


@cluster.command()
@click.argument("name", default="claimwright")
def kubeconfig(name: str) -> None:
    """Print the path of a cluster's kubeconfig."""
    with _reported():
        click.echo(interface.load(name).kubeconfig)


@cluster.command()
@click.argument("name", default="claimwright")
@click.argument("component", required=False)
@click.option("--follow", is_flag=True, help="Keep printing what is added.")
def logs(name: str, component: str | None, *, follow: bool) -> None:
    """Print a component's log, or without COMPONENT the names of those that have one."""
    with _reported():
        folder = folders.clusters_folder() / folders.checked_name(name) / "logs"
        there = sorted(path.stem for path in folder.glob("*.log"))
        if not there:
            raise errors.ClusterNotFound(
                f"cluster {name!r} has no logs: `claimwright cluster list` shows what runs"
            )
        if component is None:
            click.echo("\n".join(there))
            return
        if component not in there:
            raise errors.InvalidRequest(
                f"no component {component!r} in {name!r}: there are {', '.join(there)}"
            )
        _print_log(folder / f"{component}.log", follow=follow)


@cluster.command()
@click.option("--kubernetes", "minors", multiple=True, default=(versions.DEFAULT_MINOR,), show_default=True)
@click.option("--binaries", type=_EXISTING_FOLDER, help="Folder with programs to use before all others.")
@click.option(
    "--program", "names", multiple=True, help="These only, such as helm; default: what a cluster needs."
)
@click.option("--json", "as_json", is_flag=True, help="Print the paths by minor as JSON.")
def build(minors: tuple[str, ...], binaries: Path | None, names: tuple[str, ...], *, as_json: bool) -> None:
    """Provide the programs of a cluster without starting one.

    \b
      claimwright cluster build --kubernetes 1.36 --kubernetes 1.37
      claimwright cluster build --program helm
    """  # noqa: D301 - click reads the backspace
    from claimwright.cluster.binaries import COMPONENTS, CONTROL_PLANE, NODE, Sources, provision  # noqa: PLC0415

    with _reported():
        if unknown := [name for name in names if name not in COMPONENTS]:
            raise errors.InvalidRequest(
                f"--program {unknown[0]!r} is not known: choose from {', '.join(sorted(COMPONENTS))}"
            )
        programs = names or [*CONTROL_PLANE, *NODE]
        wanted = {minor: versions.kubernetes_version(minor) for minor in minors}
        found = {
            minor: provision(programs, version, Sources(folder=binaries), progress.for_stream())
            for minor, version in wanted.items()
        }
        if as_json:
            click.echo(json.dumps(found, indent=1, default=os.fspath))
        for name, path in (pair for paths in found.values() for pair in paths.items() if not as_json):
            click.echo(f"{name:28} {path}")


def as_object(made: Cluster) -> dict[str, Any]:
    """Return a cluster as JSON values."""
    nodes = [
        {
            "name": node.name, "address": node.address, "enter": list(node.enter), "folder": _text(node.folder),
            "kubelet_dir": _text(node.kubelet_dir), "run_dir": _text(node.run_dir), "cdi_dir": _text(node.cdi_dir),
            "mount_namespace": _text(node.mount_namespace), "network_namespace": _text(node.network_namespace),
            "pid": node.pid,
        }
        for node in made.nodes
    ]  # fmt: skip
    return {
        "name": made.name, "provider": made.provider, "kubernetes": made.kubernetes,
        "kubeconfig": _text(made.kubeconfig), "node_kubeconfig": _text(made.node_kubeconfig),
        "emulated_kubelets": made.emulated_kubelets, "folder": _text(made.folder), "enter": list(made.enter),
        "components": dict(made.components), "nodes": nodes,
    }  # fmt: skip


def _summary(made: Cluster) -> str:
    nodes = ", ".join(node.name for node in made.nodes) or "no real nodes"
    return (
        f"cluster {made.name}: Kubernetes {made.kubernetes}, {nodes}\n"
        f"export KUBECONFIG={made.kubeconfig}\n"
        f"remove it with: claimwright cluster down {made.name}"
    )


def _listed(name: str) -> dict[str, Any]:
    try:
        found = interface.load(name)
    except errors.ClusterError:
        return {"name": name, "state": "broken", "provider": "-", "kubernetes": "-", "nodes": 0}
    return {
        "name": name, "state": "running", "provider": found.provider, "kubernetes": found.kubernetes,
        "nodes": len(found.nodes), "kubeconfig": _text(found.kubeconfig),
    }  # fmt: skip


def _lines(found: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a header and one line for each cluster, columns as wide as their widest cell."""
    table = [[key.upper() for key in _COLUMNS], *([str(item[key]) for key in _COLUMNS] for item in found)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _print_log(path: Path, *, follow: bool) -> None:
    with path.open("r", errors="replace") as stream:
        while True:
            for line in stream:
                click.echo(line, nl=False)
            if not follow or not path.exists():
                return
            time.sleep(_FOLLOW_SECONDS)


def _explained(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        where = error.filename or f"{folders.clusters_folder()} or {folders.cache_folder()}"
        return f"the disk is full ({where}): free some space, or set XDG_STATE_HOME and XDG_CACHE_HOME to another disk"
    return f"{error.strerror or error} ({error.filename})" if error.filename else str(error)


def _text(path: Path | None) -> str | None:
    return None if path is None else os.fspath(path)
