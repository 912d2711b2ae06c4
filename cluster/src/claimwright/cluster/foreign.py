"""Ask a cluster that this room did not start what it is: version, DRA, nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claimwright.cluster import errors
from claimwright.cluster.interface import ClusterNode

OLDEST = (1, 34)
_REQUEST_SECONDS = 10.0
_DRA = "/apis/resource.k8s.io/v1"


@dataclass(frozen=True)
class Found:
    """What a cluster says about itself."""

    version: str
    nodes: tuple[tuple[str, str], ...]

    def as_nodes(self, enter: Mapping[str, tuple[str, ...]] | None = None) -> tuple[ClusterNode, ...]:
        """Return the nodes as values; `enter` has command prefixes where there are any."""
        return tuple(ClusterNode(name, address, (enter or {}).get(name, ())) for name, address in self.nodes)


def inspect(kubeconfig: Path, context: str | None = None) -> Found:
    """Reach the API server and check that DRA can be tested there; raises UnsuitableCluster that says why not."""
    import kubernetes  # noqa: PLC0415 - half a second that only foreign clusters pay
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        client = kubernetes.config.new_client_from_config(  # type: ignore[no-untyped-call]
            str(kubeconfig), context=context
        )
    except (kubernetes.config.ConfigException, OSError) as error:
        raise errors.UnsuitableCluster(f"kubeconfig {kubeconfig} cannot be used: {error}") from error
    # A dead address must be told in seconds, not after urllib3's three patient retries.
    client.configuration.retries = False
    client.rest_client = type(client.rest_client)(client.configuration)
    with client:
        try:
            version = kubernetes.client.VersionApi(client).get_code(_request_timeout=_REQUEST_SECONDS)
            _check_version(version.git_version, version.major, version.minor)
            served = kubernetes.client.ResourceV1Api(client).get_api_resources(
                _request_timeout=_REQUEST_SECONDS
            )
            nodes = kubernetes.client.CoreV1Api(client).list_node(_request_timeout=_REQUEST_SECONDS).items
        except kubernetes.client.ApiException as error:
            raise errors.UnsuitableCluster(_refusal(client.configuration.host, error)) from error
        except (HTTPError, OSError) as error:
            raise errors.UnsuitableCluster(
                f"the API server {client.configuration.host} of {kubeconfig} does not answer: {error}"
            ) from error
    if not any(item.name == "resourceslices" for item in served.resources):
        raise errors.UnsuitableCluster(f"{client.configuration.host} serves {_DRA} without resourceslices")
    return Found(version.git_version.removeprefix("v"), tuple(_name_and_address(node) for node in nodes))


def _check_version(name: str, major: str, minor: str) -> None:
    if (int(major), int(minor.rstrip("+"))) < OLDEST:
        raise errors.UnsuitableCluster(
            f"the cluster is Kubernetes {name}; DRA v1 needs {OLDEST[0]}.{OLDEST[1]} or newer"
        )


def _refusal(host: str, error: Any) -> str:  # noqa: ANN401
    if error.status == 404:
        return f"{host} does not serve {_DRA}: is the DynamicResourceAllocation feature off there?"
    if error.status in {401, 403}:
        return f"{host} refuses this identity ({error.status} {error.reason}): use a kubeconfig that may list nodes"
    return f"{host} answered {error.status} {error.reason}"


def _name_and_address(node: Any) -> tuple[str, str]:  # noqa: ANN401 - the client has no types
    addresses = {item.type: item.address for item in node.status.addresses or ()}
    return node.metadata.name, addresses.get("InternalIP", "")
