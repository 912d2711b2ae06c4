"""`claimwright node kubelet`: play the kubelets of emulated nodes until interrupted."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
from pathlib import Path
from typing import Final

import click

from claimwright.dra.kube import Kube, KubeError, MalformedKubeconfig
from claimwright.emulator.kubelet.errors import KubeletError
from claimwright.emulator.kubelet.node_objects import StandInNode
from claimwright.emulator.kubelet.standin import StandInKubelet

_FILES_PER_NODE: Final = 8  # a channel and its socket, the driver's end of both when it is in this process


@click.command("kubelet")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Which cluster.  [default: in-cluster]")
@click.option("--node", "name", required=True, help="The node's name; with --count, -0, -1, … are added.")
@click.option("--count", type=click.IntRange(1, 5000), default=1, show_default=True, help="How many nodes.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    required=True,
    help="Plays /var/lib/kubelet (of one node each).",
)
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label of the nodes; repeatable."
)
@click.option("--delete-nodes", is_flag=True, help="Delete the Node objects at the end.")
def kubelet(
    kubeconfig: Path | None,
    name: str,
    count: int,
    folder: Path,
    labels: tuple[str, ...],
    *,
    delete_nodes: bool,
) -> None:
    """Play the kubelet of emulated nodes: register them, run their pods, call their DRA drivers.

    Drivers register in FOLDER/plugins_registry and write CDI specs to FOLDER/cdi (with --count, in
    FOLDER/NODE/…). No container runs; see the stand-in's README for what pods can be told to do.
    """
    nodes = _nodes(name, count, folder, _labels(labels))
    try:
        kube = Kube.connect(kubeconfig)
        asyncio.run(_play(kube, nodes, delete_nodes=delete_nodes))
    except (KubeletError, KubeError, MalformedKubeconfig, OSError) as error:
        raise click.ClickException(str(error)) from error


async def _play(kube: Kube, nodes: list[StandInNode], *, delete_nodes: bool) -> None:
    logging.basicConfig(level=logging.WARNING)
    _allow_files(_FILES_PER_NODE * len(nodes) + 256)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with StandInKubelet(kube, nodes) as standin:
        click.echo(f"{len(nodes)} emulated node(s) ready, drivers register in {nodes[0].registry_dir}")
        await ended.wait()
        if delete_nodes:
            await standin.remove_nodes()


def _nodes(name: str, count: int, folder: Path, labels: dict[str, str]) -> list[StandInNode]:
    folder = folder.absolute()
    if count == 1:
        return [StandInNode(name, folder, labels=labels)]
    names = [f"{name}-{index}" for index in range(count)]
    return [StandInNode(each, folder / each, labels=labels) for each in names]


def _labels(entries: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{entry!r}: expected KEY=VALUE", param_hint="--label")
        found[key] = value
    return found


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
