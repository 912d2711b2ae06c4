"""Flags that several commands take, named as those of the community driver."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from claimwright.driver.node_view import NodePaths
    from claimwright.driver.settings import PluginSettings

Settings = TypeVar("Settings", bound="PluginSettings")
Command = TypeVar("Command", bound=Callable[..., Any])
Flag = Callable[[Any], Any]


def empty_variable_counts(ctx: click.Context, flag: click.Parameter, value: str) -> str:
    """Take an empty environment variable as an empty value; click takes it as none, and the default instead."""
    is_default = ctx.get_parameter_source(str(flag.name)) is ParameterSource.DEFAULT
    return "" if is_default and os.environ.get(str(flag.envvar)) == "" else value


KUBECONFIG = click.option(
    "--kubeconfig",
    envvar="KUBECONFIG",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="How to reach the API server; without it, as a pod does.",
)
CDI_ROOT = click.option(
    "--cdi-root",
    envvar="CDI_ROOT",
    type=click.Path(path_type=Path),
    default=Path("/etc/cdi"),
    show_default=True,
    help="Where CDI specs are written; the container runtime must read it.",
)
DRIVER_ROOT = click.option(
    "--nvidia-driver-root",
    "--host_driver-root",
    envvar=["NVIDIA_DRIVER_ROOT", "HOST_DRIVER_ROOT"],
    default="/",
    show_default=True,
    help="Root of the NVIDIA driver installation, as the host calls it.",
)
CONTAINER_DRIVER_ROOT = click.option(
    "--container-driver-root",
    envvar="DRIVER_ROOT_CTR_PATH",
    type=click.Path(path_type=Path),
    default=Path("/driver-root"),
    show_default=True,
    help="Where that root is mounted here; not there means that this process sees the host's paths.",
)
HOST_ROOT = click.option(
    "--host-root",
    envvar="HOST_ROOT",
    type=click.Path(path_type=Path),
    help="Where the host's /sys, /proc and /dev are.  [default: /host-root if it exists, else /]",
)
REGISTRY_DIR = click.option(
    "--kubelet-registrar-directory-path",
    "registry_dir",
    envvar="KUBELET_REGISTRAR_DIRECTORY_PATH",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/kubelet/plugins_registry"),
    show_default=True,
    help="Where the kubelet looks for registration sockets.",
)
PLUGINS_DIR = click.option(
    "--kubelet-plugins-directory-path",
    "plugins_dir",
    envvar="KUBELET_PLUGINS_DIRECTORY_PATH",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/kubelet/plugins"),
    show_default=True,
    help="Where the driver keeps its socket and journal, in a folder of its name.",
)
FEATURE_GATES = click.option("--feature-gates", envvar="FEATURE_GATES", default="", help="A=true,B=false")
LOGGING_FORMAT = click.option(
    "--logging-format",
    envvar="LOGGING_FORMAT",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="One line or one JSON object per event, on standard error.",
)
VERBOSITY = click.option(
    "-v", "--v", "verbosity", envvar="V", type=int, default=0, show_default=True, help="4: debug."
)
NODE_NAME = click.option(
    "--node-name", envvar="NODE_NAME", required=True, help="Name of this Node in the cluster."
)
NAMESPACE = click.option(
    "--namespace",
    envvar="NAMESPACE",
    default="default",
    show_default=True,
    help="The driver's own namespace.",
)
CDI_HOOK = click.option(
    "--nvidia-cdi-hook-path",
    envvar="NVIDIA_CDI_HOOK_PATH",
    default="",
    help="nvidia-cdi-hook on the host; empty takes the image's or the driver root's, or none.",
)
POD_UID = click.option(
    "--pod-uid",
    envvar="POD_UID",
    default="",
    help="Uid of this pod: lets the next version start beside this one and take over without a gap.",
)
HEALTHCHECK_PORT = click.option(
    "--healthcheck-port",
    envvar="HEALTHCHECK_PORT",
    type=int,
    default=-1,
    show_default=True,
    help="gRPC health service for probes: -1 is off, 0 any free port.",
)
HTTP_ENDPOINT = click.option(
    "--http-endpoint", envvar="HTTP_ENDPOINT", default="", help="[host]:port for metrics; empty is off."
)
METRICS_PATH = click.option(
    "--metrics-path",
    envvar="METRICS_PATH",
    default="/metrics",
    show_default=True,
    callback=empty_variable_counts,
    help="Path of the metrics there; empty is off.",
)
KUBE_API_QPS = click.option(
    "--kube-api-qps",
    envvar="KUBE_API_QPS",
    type=float,
    default=5.0,
    help="Accepted for compatibility; the driver's few requests are not throttled.",
)
KUBE_API_BURST = click.option(
    "--kube-api-burst", envvar="KUBE_API_BURST", type=int, default=10, help="Likewise."
)


def with_flags(flags: Sequence[Flag]) -> Callable[[Command], Command]:
    """Decorate a command with `flags`, which its help lists in this order."""

    def decorate(command: Command) -> Command:
        for flag in reversed(flags):
            command = flag(command)
        return command

    return decorate


def absolute(text: str, flag: str) -> PurePosixPath:
    """Read a path as the host calls it; BadParameter names the flag."""
    path = PurePosixPath(text)
    if not path.is_absolute():
        raise click.BadParameter(f"{flag} {text!r}: expected an absolute path")
    return path


def host_root(given: Path | None) -> Path:
    """Return where the host's files are: as told, where the chart mounts them, or right here."""
    mounted = Path("/host-root")
    return given or (mounted if mounted.is_dir() else Path("/"))


# What the commands that look at a node need to know of it.
NODE_PATHS = (CDI_ROOT, DRIVER_ROOT, CONTAINER_DRIVER_ROOT, HOST_ROOT, REGISTRY_DIR, PLUGINS_DIR)


def node_paths(given: Mapping[str, Any]) -> NodePaths:
    """Return what NODE_PATHS were given."""
    from claimwright.driver.node_view import NodePaths

    return NodePaths(
        driver_root_on_host=absolute(given["nvidia_driver_root"], "--nvidia-driver-root"),
        container_driver_root=given["container_driver_root"],
        host_root=host_root(given["host_root"]),
        cdi_root=given["cdi_root"],
        plugins_dir=given["plugins_dir"],
        registry_dir=given["registry_dir"],
    )


def plugin_settings(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of PluginSettings that the flags say, as click gives them."""
    from claimwright.driver.feature_gates import FeatureGates

    hook = given["nvidia_cdi_hook_path"]
    return {
        "node_name": given["node_name"],
        "namespace": given["namespace"],
        "kubeconfig": given["kubeconfig"],
        "cdi_root": given["cdi_root"],
        "nvidia_driver_root_on_host": absolute(given["nvidia_driver_root"], "--nvidia-driver-root"),
        "container_driver_root": given["container_driver_root"],
        "host_root": host_root(given["host_root"]),
        "nvidia_cdi_hook_path": absolute(hook, "--nvidia-cdi-hook-path") if hook else None,
        "registry_dir": given["registry_dir"],
        "pod_uid": given["pod_uid"],
        "plugins_dir": given["plugins_dir"],
        "healthcheck_port": given["healthcheck_port"],
        "http_endpoint": given["http_endpoint"],
        "metrics_path": given["metrics_path"],
        "feature_gates": FeatureGates.parse(given["feature_gates"]),
        "logging_format": given["logging_format"],
        "verbosity": given["verbosity"],
    }


def run_plugin(read: Callable[[], Settings], run: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    """Check what `read` returns and run with it: what the flags say wrong is a usage error."""
    import asyncio

    from claimwright.dra.errors import DraError
    from claimwright.driver import logs

    try:
        settings = read()
        settings.check()
    except DraError as error:
        raise click.UsageError(str(error)) from error
    try:
        logs.configure(settings.logging_format, settings.verbosity)
        _warn_of_gates(settings.feature_gates.on_but_missing())
        asyncio.run(run(settings))
    except DraError as error:
        raise click.ClickException(str(error)) from error


def _warn_of_gates(names: tuple[str, ...]) -> None:
    import logging

    for name in names:
        logging.getLogger(__name__).error(
            "feature gate %s is on, but this version of the driver has nothing behind it yet", name
        )
