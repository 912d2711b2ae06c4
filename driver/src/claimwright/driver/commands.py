"""The command line: `claimwright driver …`. Modules of the plugin are imported when it runs, not before."""

from __future__ import annotations

import asyncio
from pathlib import Path, PurePosixPath
from typing import Any

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def driver() -> None:
    """Run the GPU driver, or print what a cluster needs for it."""


_FLAGS = [
    click.option("--node-name", envvar="NODE_NAME", required=True, help="Name of this Node in the cluster."),
    click.option(
        "--kubeconfig",
        envvar="KUBECONFIG",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="How to reach the API server; without it, as a pod does.",
    ),
    click.option(
        "--namespace",
        envvar="NAMESPACE",
        default="default",
        show_default=True,
        help="The driver's own namespace.",
    ),
    click.option(
        "--cdi-root",
        envvar="CDI_ROOT",
        type=click.Path(path_type=Path),
        default=Path("/etc/cdi"),
        show_default=True,
        help="Where CDI specs are written; the container runtime must read it.",
    ),
    click.option(
        "--nvidia-driver-root",
        "--host_driver-root",
        envvar=["NVIDIA_DRIVER_ROOT", "HOST_DRIVER_ROOT"],
        default="/",
        show_default=True,
        help="Root of the NVIDIA driver installation, as the host calls it.",
    ),
    click.option(
        "--container-driver-root",
        envvar="DRIVER_ROOT_CTR_PATH",
        type=click.Path(path_type=Path),
        default=Path("/driver-root"),
        show_default=True,
        help="Where that root is mounted here; not there means that this process sees the host's paths.",
    ),
    click.option(
        "--host-root",
        envvar="HOST_ROOT",
        type=click.Path(path_type=Path),
        help="Where the host's /sys, /proc and /dev are.  [default: /host-root if it exists, else /]",
    ),
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
    click.option(
        "--kubelet-registrar-directory-path",
        "registry_dir",
        envvar="KUBELET_REGISTRAR_DIRECTORY_PATH",
        type=click.Path(path_type=Path),
        default=Path("/var/lib/kubelet/plugins_registry"),
        show_default=True,
        help="Where the kubelet looks for registration sockets.",
    ),
    click.option(
        "--kubelet-plugins-directory-path",
        "plugins_dir",
        envvar="KUBELET_PLUGINS_DIRECTORY_PATH",
        type=click.Path(path_type=Path),
        default=Path("/var/lib/kubelet/plugins"),
        show_default=True,
        help="Where the driver keeps its socket and journal, in a folder of its name.",
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
        help="Path of the metrics there; empty is off.",
    ),
    click.option(
        "--consumable-shares",
        envvar="CONSUMABLE_SHARES",
        default="disabled",
        show_default=True,
        help="disabled, memory, unlimited or a number of shares.",
    ),
    click.option("--feature-gates", envvar="FEATURE_GATES", default="", help="A=true,B=false"),
    click.option(
        "--kube-api-qps",
        envvar="KUBE_API_QPS",
        type=float,
        default=5.0,
        help="Accepted for compatibility; the driver's few requests are not throttled.",
    ),
    click.option("--kube-api-burst", envvar="KUBE_API_BURST", type=int, default=10, help="Likewise."),
    click.option(
        "--logging-format",
        envvar="LOGGING_FORMAT",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="One line or one JSON object per event, on standard error.",
    ),
    click.option(
        "-v", "--v", "verbosity", envvar="V", type=int, default=0, show_default=True, help="4: debug."
    ),
]


def _with_flags(command: Any) -> Any:  # noqa: ANN401  click decorators keep whatever they get
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


@driver.command("gpu-plugin")
@_with_flags
def gpu_plugin(**flags: Any) -> None:  # noqa: ANN401  click's own values
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
        settings = _settings(flags)
        settings.check()
    except DraError as error:
        raise click.UsageError(str(error)) from error
    try:
        logs.configure(settings.logging_format, settings.verbosity)
        _warn_of_gates(settings.feature_gates.on_but_missing())
        asyncio.run(gpu_plugin.run(settings))
    except DraError as error:
        raise click.ClickException(str(error)) from error


@driver.command("manifests")
@click.argument("parts", nargs=-1)
@click.option("--namespace", default=None, help="Namespace of the driver.")
@click.option("--image", default=None, help="Image of the driver.")
def manifests(parts: tuple[str, ...], namespace: str | None, image: str | None) -> None:
    """Print the YAML that installs the driver: all of it, or the PARTS named.

    Parts: namespace, deviceclasses, rbac, admissionpolicy, daemonset.

    \b
        claimwright driver manifests --image registry.example.com/driver:1 | kubectl apply -f -
        claimwright driver manifests deviceclasses rbac
    """  # noqa: D301 - click reads the backspace
    from claimwright.driver import manifests as bundle
    from claimwright.driver.errors import DriverError

    unknown = [part for part in parts if part not in bundle.PARTS]
    if unknown:
        raise click.BadParameter(f"unknown part {unknown[0]!r}; parts are {', '.join(bundle.PARTS)}")
    try:
        text = bundle.render(
            parts or bundle.PARTS, namespace=namespace or bundle.NAMESPACE, image=image or bundle.IMAGE
        )
    except DriverError as error:
        raise click.ClickException(str(error)) from error
    click.echo(text, nl=False)


def _settings(flags: dict[str, Any]) -> Any:  # noqa: ANN401  imported late
    from claimwright.driver.feature_gates import FeatureGates
    from claimwright.driver.settings import GpuPluginSettings

    hook = flags["nvidia_cdi_hook_path"]
    return GpuPluginSettings(
        node_name=flags["node_name"],
        namespace=flags["namespace"],
        kubeconfig=flags["kubeconfig"],
        cdi_root=flags["cdi_root"],
        nvidia_driver_root_on_host=_absolute(flags["nvidia_driver_root"], "--nvidia-driver-root"),
        container_driver_root=flags["container_driver_root"],
        host_root=flags["host_root"] or _default_host_root(),
        nvidia_cdi_hook_path=_absolute(hook, "--nvidia-cdi-hook-path") if hook else None,
        image_name=flags["image_name"],
        image_pull_secrets=tuple(name for name in flags["image_pull_secrets"].split(",") if name),
        image_pull_policy=flags["image_pull_policy"],
        service_account_name=flags["service_account_name"],
        registry_dir=flags["registry_dir"],
        plugins_dir=flags["plugins_dir"],
        healthcheck_port=flags["healthcheck_port"],
        additional_xids_to_ignore=flags["additional_xids_to_ignore"],
        http_endpoint=flags["http_endpoint"],
        metrics_path=flags["metrics_path"],
        consumable_shares=flags["consumable_shares"],
        feature_gates=FeatureGates.parse(flags["feature_gates"]),
        logging_format=flags["logging_format"],
        verbosity=flags["verbosity"],
    )


def _absolute(text: str, flag: str) -> PurePosixPath:
    path = PurePosixPath(text)
    if not path.is_absolute():
        raise click.BadParameter(f"{flag} {text!r}: expected an absolute path")
    return path


def _default_host_root() -> Path:
    mounted = Path("/host-root")
    return mounted if mounted.is_dir() else Path("/")


def _warn_of_gates(names: tuple[str, ...]) -> None:
    import logging

    for name in names:
        logging.getLogger(__name__).error(
            "feature gate %s is on, but this version of the driver has nothing behind it yet", name
        )
