"""`claimwright driver compute-domain-controller`: the one process that cares for all ComputeDomains of a cluster."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

import click

from claimwright.driver.commands import flags

if TYPE_CHECKING:
    from claimwright.driver.computedomain.controller import ControllerSettings, ElectionSettings

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def seconds(_ctx: click.Context, flag: click.Parameter, value: str) -> float:
    """Read a time as Go spells it, `15s` or `1m30s`; BadParameter for anything else."""
    if not _DURATION.fullmatch(value):
        raise click.BadParameter(f"{value!r}: expected a time such as 15s or 1m30s", param=flag)
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))


def _election(name: str, default: str, text: str) -> flags.Flag:
    return click.option(
        f"--leader-election-{name}",
        envvar=f"LEADER_ELECTION_{name.replace('-', '_').upper()}",
        callback=seconds,
        default=default,
        show_default=True,
        help=text,
    )


_FLAGS = (
    click.option(
        "--pod-name", envvar="POD_NAME", required=True, help="Name of this pod: who leads, who tells."
    ),
    flags.KUBECONFIG,
    click.option(
        "--namespace",
        envvar="NAMESPACE",
        default="default",
        show_default=True,
        help="The driver's own namespace, where the daemons run.",
    ),
    click.option(
        "--additional-namespaces",
        envvar="ADDITIONAL_NAMESPACES",
        default="",
        help="Comma-separated: where the driver was before, and daemons may still run.",
    ),
    click.option("--image-name", envvar="IMAGE_NAME", required=True, help="Image of the daemons: this one."),
    click.option("--image-pull-policy", envvar="IMAGE_PULL_POLICY", default="", help="For the daemons."),
    click.option(
        "--cd-daemon-image-pull-secret-names",
        envvar="CD_DAEMON_IMAGE_PULL_SECRET_NAMES",
        default="",
        help="Comma-separated names, for the daemons.",
    ),
    click.option(
        "--log-verbosity-cd-daemon",
        envvar="LOG_VERBOSITY_CD_DAEMON",
        type=int,
        default=0,
        show_default=True,
        help="-v of the daemons.",
    ),
    click.option(
        "--max-nodes-per-imex-domain",
        envvar="MAX_NODES_PER_IMEX_DOMAIN",
        type=int,
        default=18,
        show_default=True,
        help="Most nodes of one clique, for the daemons.",
    ),
    click.option(
        "--imex-mode",
        envvar="IMEX_MODE",
        default="driverManaged",
        show_default=True,
        help="driverManaged: a daemon per node and domain; hostManaged: nvidia-imex is a service of the host.",
    ),
    click.option(
        "--imex-isolation", envvar="IMEX_ISOLATION", default="domain", show_default=True, help="domain."
    ),
    click.option(
        "--http-endpoint",
        envvar="HTTP_ENDPOINT",
        default="",
        help="[host]:port for metrics, /healthz and /readyz; empty is off.",
    ),
    click.option(
        "--metrics-path",
        envvar="METRICS_PATH",
        default="/metrics",
        show_default=True,
        callback=flags.empty_variable_counts,
        help="Path of the metrics there; empty is off.",
    ),
    click.option(
        "--pprof-path",
        envvar="PPROF_PATH",
        default="",
        help="Path of all stacks as text there; empty is off.",
    ),
    click.option(
        "--leader-election-enabled/--no-leader-election-enabled",
        envvar="LEADER_ELECTION_ENABLED",
        default=False,
        show_default=True,
        help="Work only while holding a Lease, so that several may run.",
    ),
    click.option(
        "--leader-election-lease-lock-namespace",
        envvar="LEADER_ELECTION_LEASE_LOCK_NAMESPACE",
        default="default",
        show_default=True,
        help="Namespace of the Lease.",
    ),
    click.option(
        "--leader-election-lease-lock-name",
        envvar="LEADER_ELECTION_LEASE_LOCK_NAME",
        default="nvidia-compute-domain-controller",
        show_default=True,
        help="Name of the Lease.",
    ),
    _election("lease-duration", "15s", "After so long without a renewal another controller leads."),
    _election("renew-deadline", "10s", "After so long without success in renewing, this one ends."),
    _election("retry-period", "2s", "How often the Lease is asked for or renewed."),
    flags.FEATURE_GATES,
    click.option(
        "--kube-api-qps",
        envvar="KUBE_API_QPS",
        type=float,
        default=5.0,
        help="Accepted for compatibility; what is written follows what changes, and is not throttled.",
    ),
    click.option("--kube-api-burst", envvar="KUBE_API_BURST", type=int, default=10, help="Likewise."),
    flags.LOGGING_FORMAT,
    flags.VERBOSITY,
)


@click.command("compute-domain-controller")
@flags.with_flags(_FLAGS)
def compute_domain_controller(**given: Any) -> None:  # noqa: ANN401  click's own values
    """Care for the ComputeDomains of a cluster.

    Makes for each a daemon set, whose pods run nvidia-imex on the nodes that workloads of the domain reach, and the
    claim template by which their pods join; tells in its status which nodes are in it; and removes all of it with the
    domain. Runs until HUP, INT, TERM or QUIT, or until another controller leads (exit status 1); USR2 writes all
    stacks to /tmp/goroutine-stacks.dump. All state is in API objects: it may be killed at any time.

    Each flag has an environment variable of the same name in capitals (POD_NAME, IMAGE_NAME, …).

    \b
        claimwright driver manifests crds | kubectl apply -f -
        claimwright driver compute-domain-controller --kubeconfig admin.kubeconfig --pod-name here \\
            --namespace dra-driver-nvidia-gpu --image-name claimwright/driver:0.1.0
    """  # noqa: D301 - click reads the backspace
    from claimwright.dra.errors import DraError
    from claimwright.driver import logs
    from claimwright.driver.computedomain.controller import run

    try:
        settings = settings_of(given)
        settings.check()
    except DraError as error:
        raise click.UsageError(str(error)) from error
    try:
        logs.configure(settings.logging_format, settings.verbosity)
        asyncio.run(run(settings))
    except DraError as error:
        raise click.ClickException(str(error)) from error


def settings_of(given: dict[str, Any]) -> ControllerSettings:
    """Return the settings that the flags say, as click gives them."""
    from claimwright.driver.computedomain.controller import ControllerSettings
    from claimwright.driver.feature_gates import FeatureGates

    return ControllerSettings(
        pod_name=given["pod_name"],
        namespace=given["namespace"],
        kubeconfig=given["kubeconfig"],
        image_name=given["image_name"],
        image_pull_policy=given["image_pull_policy"],
        image_pull_secrets=_names(given["cd_daemon_image_pull_secret_names"]),
        daemon_verbosity=given["log_verbosity_cd_daemon"],
        max_nodes=given["max_nodes_per_imex_domain"],
        imex_mode=given["imex_mode"],
        imex_isolation=given["imex_isolation"],
        http_endpoint=given["http_endpoint"],
        metrics_path=given["metrics_path"],
        profile_path=given["pprof_path"],
        additional_namespaces=_names(given["additional_namespaces"]),
        election=_election_settings(given) if given["leader_election_enabled"] else None,
        feature_gates=FeatureGates.parse(given["feature_gates"]),
        logging_format=given["logging_format"],
        verbosity=given["verbosity"],
    )


def _election_settings(given: dict[str, Any]) -> ElectionSettings:
    from claimwright.driver.computedomain.controller import ElectionSettings

    return ElectionSettings(
        namespace=given["leader_election_lease_lock_namespace"],
        name=given["leader_election_lease_lock_name"],
        lease_seconds=given["leader_election_lease_duration"],
        renew_seconds=given["leader_election_renew_deadline"],
        retry_seconds=given["leader_election_retry_period"],
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
