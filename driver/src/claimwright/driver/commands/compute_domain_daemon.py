"""`claimwright driver compute-domain-daemon`: nvidia-imex of one ComputeDomain on one node."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from claimwright.driver.commands import flags

# Not from `resources`, as a probe starts this command once a second: it says CLIQUE_ID, DAEMON_FOLDER, MAX_NODES there.
_CLIQUE = click.option(
    "--cliqueid", "clique", envvar="CLIQUE_ID", default="", help="NVLink clique of this node; empty: none."
)
_FOLDER = click.option(
    "--imexd-dir",
    "folder",
    envvar="IMEXD_DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/imexd"),
    show_default=True,
    help="Where the configuration of nvidia-imex is.",
)
_RUN_FLAGS = (
    _CLIQUE,
    click.option(
        "--compute-domain-uuid",
        "domain_uid",
        envvar="COMPUTE_DOMAIN_UUID",
        default="",
        help="Uid of the ComputeDomain.",
    ),
    click.option(
        "--compute-domain-name", "domain_name", envvar="COMPUTE_DOMAIN_NAME", default="", help="Its name."
    ),
    click.option(
        "--compute-domain-namespace",
        "domain_namespace",
        envvar="COMPUTE_DOMAIN_NAMESPACE",
        default="default",
        show_default=True,
        help="Its namespace.",
    ),
    click.option(
        "--node-name", "node", envvar="NODE_NAME", required=True, help="Name of this Node in the cluster."
    ),
    click.option(
        "--pod-ip", envvar="POD_IP", default="", help="Address of this pod, where peers reach nvidia-imex."
    ),
    click.option("--pod-uid", envvar="POD_UID", required=True, help="Uid of this pod."),
    click.option("--pod-name", "pod", envvar="POD_NAME", required=True, help="Name of this pod."),
    click.option(
        "--pod-namespace", envvar="POD_NAMESPACE", required=True, help="Its namespace, the clique's too."
    ),
    click.option(
        "--max-nodes-per-imex-domain",
        "max_nodes",
        envvar="MAX_NODES_PER_IMEX_DOMAIN",
        type=click.IntRange(1, 9999),
        default=18,
        show_default=True,
        help="Places in a clique; must be the same on all its nodes.",
    ),
    _FOLDER,
    flags.KUBECONFIG,
    flags.FEATURE_GATES,
    flags.LOGGING_FORMAT,
    click.option(
        "-v",
        "--v",
        "verbosity",
        envvar=["LOG_VERBOSITY", "V"],
        type=int,
        default=0,
        show_default=True,
        help="4: debug.",
    ),
)
# The daemon has ten seconds to take its node out of the clique at the end.
_REQUEST_SECONDS = 4.0


@click.group("compute-domain-daemon")
def compute_domain_daemon() -> None:
    """Keep nvidia-imex for one ComputeDomain on one node: the main program of a pod that the controller makes.

    The domain and clique come from the container's claim by CDI, who the pod is from its manifest.
    """


@compute_domain_daemon.command("run")
@flags.with_flags(_RUN_FLAGS)
def run(**given: Any) -> None:  # noqa: ANN401  click's own values
    """Register this node in its clique, run nvidia-imex and tell it where its peers are.

    On a node without an NVLink clique there is nothing to run: it labels its pod and waits. Runs until HUP, INT, TERM
    or QUIT, and then takes the node out of the clique.
    """
    from claimwright.dra.errors import DraError
    from claimwright.dra.kube import Kube
    from claimwright.driver import logs
    from claimwright.driver.computedomain.daemon import running
    from claimwright.driver.computedomain.daemon.settings import DaemonSettings
    from claimwright.driver.feature_gates import FeatureGates

    kubeconfig, gates = given.pop("kubeconfig"), given.pop("feature_gates")
    logs.configure(given.pop("logging_format"), given.pop("verbosity"))
    try:
        settings = DaemonSettings(feature_gates=FeatureGates.parse(gates), **given)
        settings.check()
        kube = Kube.connect(kubeconfig, timeout_seconds=_REQUEST_SECONDS)
        asyncio.run(running.run(settings, kube))
    except DraError as error:
        raise click.ClickException(str(error)) from error


@compute_domain_daemon.command("check")
@flags.with_flags((_CLIQUE, _FOLDER))
def check(clique: str, folder: Path) -> None:
    """Say whether nvidia-imex is ready: exit status 0 when it is, or when the node has no clique and needs none."""
    from claimwright.driver.computedomain.daemon import checking
    from claimwright.driver.errors import StepFailed

    try:
        checking.check(clique, folder / "imexd.cfg")
    except StepFailed as error:
        raise click.ClickException(str(error)) from error
