"""The `claimwright cluster` commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from claimwright.cluster import errors, interface, progress, versions
from claimwright.cluster.interface import Cluster, ClusterSpec


@contextmanager
def _reported() -> Iterator[None]:
    """Turn an expected error into one message and exit code 2."""
    try:
        yield
    except errors.ClusterError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


@click.group()
def cluster() -> None:
    """Start, use and remove a Kubernetes to test on."""


@cluster.command()
@click.option("--name", default="claimwright", show_default=True)
@click.option("--nodes", default=1, show_default=True)
@click.option("--kubernetes", default=versions.DEFAULT_MINOR, show_default=True)
def up(name: str, nodes: int, kubernetes: str) -> None:
    """Start a cluster."""
    with _reported():
        made = interface.up(ClusterSpec(name=name, nodes=nodes, kubernetes=kubernetes), progress=progress.for_stream())
        click.echo(f"KUBECONFIG={made.kubeconfig}")


@cluster.command()
@click.argument("name", default="claimwright")
def down(name: str) -> None:
    """Remove a cluster."""
    with _reported():
        interface.down(name, progress=progress.for_stream())
