"""Links and addresses inside a cluster's network namespaces; nothing of it appears in the host's.

The namespaces are held by processes (/proc/PID/ns/net) and have no names, so all of this goes with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from claimwright.cluster.local import addresses
from claimwright.cluster.local.addresses import NodePlace


def prepare_control_plane(pid: int) -> None:
    """Give the control plane's namespace its bridge and addresses."""
    with _routes_in(pid) as routes:
        _up(routes, "lo")
        routes.link("add", ifname=addresses.BRIDGE, kind="bridge")
        bridge = _index(routes, addresses.BRIDGE)
        routes.addr("add", index=bridge, address=addresses.CONTROL_PLANE, prefixlen=addresses.NETWORK_PREFIX)
        routes.addr("add", index=bridge, address=addresses.KUBERNETES_SERVICE, prefixlen=32)
        _up(routes, addresses.BRIDGE)
        # The API server wants a default route to choose its own address by, and there is nowhere to go anyway.
        routes.route("add", dst="0.0.0.0/0", oif=bridge)


def connect_node(control_plane: int, node: int, place: NodePlace) -> None:
    """Lay the cable between a node's namespace and the bridge, and give the node its address and way out."""
    with _routes_in(control_plane) as routes:
        routes.link("add", ifname=place.link, kind="veth", peer={"ifname": "eth0", "net_ns_pid": node})
        routes.link("set", index=_index(routes, place.link), master=_index(routes, addresses.BRIDGE))
        _up(routes, place.link)
        routes.route("add", dst=place.pod_range, gateway=place.address)
    with _routes_in(node) as routes:
        _up(routes, "lo")
        eth0 = _index(routes, "eth0")
        routes.addr("add", index=eth0, address=place.address, prefixlen=addresses.NETWORK_PREFIX)
        _up(routes, "eth0")
        routes.route("add", dst="0.0.0.0/0", gateway=addresses.CONTROL_PLANE)


def join_pod_networks(nodes: Sequence[tuple[int, NodePlace]]) -> None:
    """Tell every node the way to the pods of every other."""
    for pid, place in nodes:
        with _routes_in(pid) as routes:
            for other in (peer for _, peer in nodes if peer != place):
                routes.route("add", dst=other.pod_range, gateway=other.address)


@contextmanager
def _routes_in(pid: int) -> Iterator[Any]:
    from pyroute2 import IPRoute  # noqa: PLC0415 - a third of a second that only `up` with nodes pays

    # flags=0: open the namespace, never make a named one.
    with IPRoute(netns=f"/proc/{pid}/ns/net", flags=0) as routes:
        yield routes


def _index(routes: Any, name: str) -> int:  # noqa: ANN401 - pyroute2 has no types
    found: int = routes.link_lookup(ifname=name)[0]
    return found


def _up(routes: Any, name: str) -> None:  # noqa: ANN401
    routes.link("set", index=_index(routes, name), state="up")
