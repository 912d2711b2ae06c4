"""`claimwright driver gpu-plugin`: the kubelet plugin of one node."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from claimwright.driver.commands import flags

_FLAGS = (
    click.option("--node-name", envvar="NODE_NAME", required=True, help="Name of this Node in the cluster."),
    flags.KUBECONFIG,
    click.option(
        "--namespace",
        envvar="NAMESPACE",
        default="default",
        show_default=True,
        help="The driver's own namespace.",
    ),
    flags.CDI_ROOT,
    flags.DRIVER_ROOT,
    flags.CONTAINER_DRIVER_ROOT,
    flags.HOST_ROOT,
    click.option(
        "--nvidia-cdi-hook-path",
        envvar="NVIDIA_CDI_HOOK_PATH",
        default="",
        help="nvidia-cdi-hook on the host; empty takes the image's or the driver root's, or none.",
    ),
    click.option(
        "--image-name", envvar="IMAGE_NAME", default="", help="Image of pods that the driver starts."
    ),
    click.option(
        "--image-pull-secrets", envvar="IMAGE_PULL_SECRETS", default="", help="Comma-separated names."
    ),
    click.option("--image-pull-policy", envvar="IMAGE_PULL_POLICY", default="", help="For those pods."),
    click.option("--service-account-name", envvar="SERVICE_ACCOUNT_NAME", default="", help="For those pods."),
    flags.REGISTRY_DIR,
    flags.PLUGINS_DIR,
    click.option(
        "--pod-uid",
        envvar="POD_UID",
        default="",
        help="Uid of this pod: lets the next version start beside this one and take over without a gap.",
    ),
    click.option(
        "--healthcheck-port",
        envvar="HEALTHCHECK_PORT",
        type=int,
        default=-1,
        show_default=True,
        help="gRPC health service for probes: -1 is off, 0 any free port.",
    ),
    click.option(
        "--additional-xids-to-ignore",
        envvar="ADDITIONAL_XIDS_TO_IGNORE",
        default="",
        help="Comma-separated XIDs that do not make a GPU unhealthy.",
    ),
    click.option(
        "--http-endpoint", envvar="HTTP_ENDPOINT", default="", help="[host]:port for metrics; empty is off."
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
        "--consumable-shares",
        envvar="CONSUMABLE_SHARES",
        default="disabled",
        show_default=True,
        help="disabled, memory, unlimited or a number of shares.",
    ),
    click.option(
        "--reread-seconds",
        envvar="REREAD_SECONDS",
        type=float,
        default=30.0,
        show_default=True,
        help="How often the GPUs are read again at least; changes that the node's files or NVML's events tell "
        "are seen at once.",
    ),
    flags.FEATURE_GATES,
    click.option(
        "--kube-api-qps",
        envvar="KUBE_API_QPS",
        type=float,
        default=5.0,
        help="Accepted for compatibility; the driver's few requests are not throttled.",
    ),
    click.option("--kube-api-burst", envvar="KUBE_API_BURST", type=int, default=10, help="Likewise."),
    flags.LOGGING_FORMAT,
    flags.VERBOSITY,
)


@click.command("gpu-plugin")
@flags.with_flags(_FLAGS)
def gpu_plugin(**given: Any) -> None:  # noqa: ANN401  click's own values
    """Serve the GPUs of this node to Kubernetes as DRA driver gpu.nvidia.com.

    Finds the GPUs through the NVML library of the driver root and the host's sysfs, publishes them as
    ResourceSlices, and prepares claims for the kubelet. Runs until HUP, INT, TERM or QUIT; USR2 writes all
    stacks to /tmp/goroutine-stacks.dump. Prepared claims outlive a restart.

    Each flag has an environment variable of the same name in capitals (NODE_NAME, CDI_ROOT, …).

    On an emulated node:

    \b
        claimwright node up --board hgx-h100
        claimwright node exec hgx-h100 -- claimwright driver gpu-plugin --node-name node-a \\
            --kubeconfig admin.kubeconfig --cdi-root /var/run/cdi
    """  # noqa: D301 - click reads the backspace
    from claimwright.dra.errors import DraError
    from claimwright.driver import gpu_plugin, logs

    try:
        settings = settings_of(given)
        settings.check()
    except DraError as error:
        raise click.UsageError(str(error)) from error
    try:
        logs.configure(settings.logging_format, settings.verbosity)
        _warn_of_gates(settings.feature_gates.on_but_missing())
        asyncio.run(gpu_plugin.run(settings))
    except DraError as error:
        raise click.ClickException(str(error)) from error


def settings_of(given: dict[str, Any]) -> Any:  # noqa: ANN401  imported late
    """Return the settings that the flags say, as click gives them."""
    from claimwright.driver.feature_gates import FeatureGates
    from claimwright.driver.settings import GpuPluginSettings

    hook = given["nvidia_cdi_hook_path"]
    return GpuPluginSettings(
        node_name=given["node_name"],
        namespace=given["namespace"],
        kubeconfig=given["kubeconfig"],
        cdi_root=given["cdi_root"],
        nvidia_driver_root_on_host=flags.absolute(given["nvidia_driver_root"], "--nvidia-driver-root"),
        container_driver_root=given["container_driver_root"],
        host_root=flags.host_root(given["host_root"]),
        nvidia_cdi_hook_path=flags.absolute(hook, "--nvidia-cdi-hook-path") if hook else None,
        image_name=given["image_name"],
        image_pull_secrets=tuple(name for name in given["image_pull_secrets"].split(",") if name),
        image_pull_policy=given["image_pull_policy"],
        service_account_name=given["service_account_name"],
        registry_dir=given["registry_dir"],
        pod_uid=given["pod_uid"],
        plugins_dir=given["plugins_dir"],
        healthcheck_port=given["healthcheck_port"],
        additional_xids_to_ignore=given["additional_xids_to_ignore"],
        http_endpoint=given["http_endpoint"],
        metrics_path=given["metrics_path"],
        consumable_shares=given["consumable_shares"],
        reread_seconds=given["reread_seconds"],
        feature_gates=FeatureGates.parse(given["feature_gates"]),
        logging_format=given["logging_format"],
        verbosity=given["verbosity"],
    )


def _warn_of_gates(names: tuple[str, ...]) -> None:
    import logging

    for name in names:
        logging.getLogger(__name__).error(
            "feature gate %s is on, but this version of the driver has nothing behind it yet", name
        )
