"""`claimwright driver gpu-plugin`: the kubelet plugin of one node."""

from __future__ import annotations

from typing import Any

import click

from claimwright.driver.commands import flags

_FLAGS = (
    flags.NODE_NAME,
    flags.KUBECONFIG,
    flags.NAMESPACE,
    flags.CDI_ROOT,
    flags.DRIVER_ROOT,
    flags.CONTAINER_DRIVER_ROOT,
    flags.HOST_ROOT,
    flags.CDI_HOOK,
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
    flags.POD_UID,
    flags.HEALTHCHECK_PORT,
    click.option(
        "--additional-xids-to-ignore",
        envvar="ADDITIONAL_XIDS_TO_IGNORE",
        default="",
        help="Comma-separated XIDs that do not make a GPU unhealthy.",
    ),
    flags.HTTP_ENDPOINT,
    flags.METRICS_PATH,
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
    flags.KUBE_API_QPS,
    flags.KUBE_API_BURST,
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
    from claimwright.driver import gpu_plugin

    flags.run_plugin(lambda: settings_of(given), gpu_plugin.run)


def settings_of(given: dict[str, Any]) -> Any:  # noqa: ANN401  imported late
    """Return the settings that the flags say, as click gives them."""
    from claimwright.driver.settings import GpuPluginSettings

    return GpuPluginSettings(
        **flags.plugin_settings(given),
        image_name=given["image_name"],
        image_pull_secrets=tuple(name for name in given["image_pull_secrets"].split(",") if name),
        image_pull_policy=given["image_pull_policy"],
        service_account_name=given["service_account_name"],
        additional_xids_to_ignore=given["additional_xids_to_ignore"],
        consumable_shares=given["consumable_shares"],
        reread_seconds=given["reread_seconds"],
    )
