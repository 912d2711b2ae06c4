"""Who is who in a local cluster: the certificates and kubeconfigs of the control plane and its admins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from claimwright.cluster.local import addresses, records
from claimwright.cluster.local.certificates import Authority, Pair, make_authority, make_signing_key
from claimwright.cluster.local.control_plane import Endpoints, Identities
from claimwright.cluster.local.kubeconfigs import write_kubeconfig

_SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
_API_ADDRESSES = ("127.0.0.1", addresses.CONTROL_PLANE, addresses.KUBERNETES_SERVICE, *_SERVICE_NAMES)


@dataclass(frozen=True)
class Passports:
    """The authority, the components' identities and the administrator's."""

    authority: Authority
    control_plane: Identities
    admin: Pair


def make_passports(folder: Path, endpoints: Endpoints, host_port: int) -> Passports:
    """Write everything that proves an identity, and the kubeconfigs for this side and the nodes' side."""
    authority = make_authority(folder / "pki")
    # The aggregation layer has an authority of its own: whoever it signs may claim to be anyone (requestheader).
    front = make_authority(folder / "pki" / "front-proxy")
    # RBAC's built-in bindings name these users and the group (rbac/bootstrappolicy in Kubernetes).
    admin = authority.issue("admin", "claimwright-admin", organization="system:masters")
    inside = endpoints.server
    identities = Identities(
        authority=authority.pair,
        service_accounts=make_signing_key(folder / "pki"),
        api_server=authority.issue("kube-apiserver", "kube-apiserver", addresses=_API_ADDRESSES),
        api_server_as_kubelet_client=authority.issue(
            "kube-apiserver-kubelet-client", "kube-apiserver-kubelet-client", organization="system:masters"
        ),
        front_authority=front.pair,
        front_proxy=front.issue("front-proxy-client", "front-proxy-client"),
        controller_manager=_component(folder, authority, inside, "kube-controller-manager"),
        scheduler=_component(folder, authority, inside, "kube-scheduler"),
    )
    for name, server in (
        (records.ADMIN_KUBECONFIG, f"https://127.0.0.1:{host_port}"),
        (records.NODE_KUBECONFIG, inside),
    ):
        write_kubeconfig(
            folder / name, cluster=folder.name, server=server, authority=authority.pair.certificate,
            identity=admin, user="admin",
        )  # fmt: skip
    return Passports(authority, identities, admin)


def _component(folder: Path, authority: Authority, server: str, name: str) -> Path:
    return write_kubeconfig(
        folder / "pki" / f"{name}.kubeconfig", cluster=folder.name, server=server,
        authority=authority.pair.certificate, identity=authority.issue(name, f"system:{name}"), user=name,
    )  # fmt: skip
