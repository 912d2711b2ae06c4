"""`claimwright driver compute-domain-plugin`: the kubelet plugin of one node for ComputeDomains."""

from __future__ import annotations

from typing import Any

import click

from claimwright.driver.commands import flags

_FLAGS = (
    flags.NODE_NAME,
    flags.KUBECONFIG,
    flags.NAMESPACE,
    click.option(
        "--additional-namespaces",
        envvar="ADDITIONAL_NAMESPACES",
        default="",
        help="Comma-separated other namespaces in which daemons of domains may run, as told to the controller.",
    ),
    flags.CDI_ROOT,
    flags.DRIVER_ROOT,
    flags.CONTAINER_DRIVER_ROOT,
    flags.HOST_ROOT,
    flags.CDI_HOOK,
    flags.REGISTRY_DIR,
    flags.PLUGINS_DIR,
    flags.POD_UID,
    flags.HEALTHCHECK_PORT,
    flags.HTTP_ENDPOINT,
    flags.METRICS_PATH,
    click.option(
        "--gpu-clique-label-enabled",
        "gpu_clique_label",
        envvar="GPU_CLIQUE_LABEL_ENABLED",
        is_flag=True,
        help="Label the Node with its NVLink clique (nvidia.com/gpu.clique) while the plugin runs.",
    ),
    click.option(
        "--imex-mode",
        envvar="IMEX_MODE",
        default="driverManaged",
        show_default=True,
        help="Who runs nvidia-imex: a daemon for each domain, or the host itself.",
    ),
    click.option(
        "--imex-isolation",
        envvar="IMEX_ISOLATION",
        default="domain",
        show_default=True,
        help="domain: all claims of a node are for channel 0.",
    ),
    click.option(
        "--imex-host-socket-path",
        envvar="IMEX_HOST_SOCKET_PATH",
        default="/etc/nvidia-imex/imex_ctrl.sock",
        show_default=True,
        help="Where the host's nvidia-imex is asked, as the driver root calls it; with --imex-mode hostManaged.",
    ),
    flags.FEATURE_GATES,
    flags.KUBE_API_QPS,
    flags.KUBE_API_BURST,
    flags.LOGGING_FORMAT,
    flags.VERBOSITY,
)


@click.command("compute-domain-plugin")
@flags.with_flags(_FLAGS)
def compute_domain_plugin(**given: Any) -> None:  # noqa: ANN401  click's own values
    """Serve IMEX channels of this node to Kubernetes as DRA driver compute-domain.nvidia.com.

    Publishes a channel, and a daemon that the controller of ComputeDomains asks for. A claim for the channel brings the
    node into its ComputeDomain and waits until the node is ready there. Runs until HUP, INT, TERM or QUIT; USR2 writes
    all stacks to /tmp/goroutine-stacks.dump. Prepared claims, and those that wait, outlive a restart.

    Each flag has an environment variable of the same name in capitals (NODE_NAME, CDI_ROOT, …).

    On an emulated node:

    \b
        claimwright node up --board gb200-nvl72-tray
        claimwright node exec gb200-nvl72-tray -- claimwright driver compute-domain-plugin --node-name node-a \\
            --namespace claimwright --kubeconfig admin.kubeconfig --cdi-root /var/run/cdi
    """  # noqa: D301 - click reads the backspace
    from claimwright.driver.computedomain.plugin import composition

    flags.run_plugin(lambda: settings_of(given), composition.run)


def settings_of(given: dict[str, Any]) -> Any:  # noqa: ANN401  imported late
    """Return the settings that the flags say, as click gives them."""
    from claimwright.driver.computedomain.plugin.settings import DomainPluginSettings

    return DomainPluginSettings(
        **flags.plugin_settings(given),
        imex_mode=given["imex_mode"],
        imex_isolation=given["imex_isolation"],
        imex_host_socket=flags.absolute(given["imex_host_socket_path"], "--imex-host-socket-path"),
        gpu_clique_label=given["gpu_clique_label"],
        additional_namespaces=tuple(name for name in given["additional_namespaces"].split(",") if name),
    )
