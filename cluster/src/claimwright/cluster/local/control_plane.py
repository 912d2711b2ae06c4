"""The control plane's command lines, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from claimwright.cluster import versions
from claimwright.cluster.local import addresses
from claimwright.cluster.local.certificates import Pair


@dataclass(frozen=True)
class Endpoints:
    """Where the components listen."""

    api_host: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int
    controller_manager_port: int
    scheduler_port: int
    bind: str

    @property
    def server(self) -> str:
        """The API server's address for its own neighbours."""
        return f"https://{self.api_host}:{self.api_port}"


# In its own network namespace every port is free, and the API server can have 443, where clients expect it.
NAMESPACED = Endpoints(addresses.CONTROL_PLANE, addresses.API_PORT, 2379, 2380, 10257, 10259, "0.0.0.0")  # noqa: S104


@dataclass(frozen=True)
class Identities:
    """The files with which the components prove who they are."""

    authority: Pair
    service_accounts: Pair
    api_server: Pair
    api_server_as_kubelet_client: Pair
    front_authority: Pair
    front_proxy: Pair
    controller_manager: Path
    scheduler: Path


@dataclass(frozen=True)
class Settings:
    """All that the command lines depend on."""

    programs: Mapping[str, Path]
    folder: Path
    endpoints: Endpoints
    identities: Identities
    feature_gates: Mapping[str, bool]
    api_qps: int | None
    kubernetes: versions.KubernetesVersion


def etcd(settings: Settings) -> list[str]:
    """Return etcd's command line. No fsync: the cluster does not outlive the machine, and disks here are slow."""
    client = f"http://127.0.0.1:{settings.endpoints.etcd_port}"
    peer = f"http://127.0.0.1:{settings.endpoints.etcd_peer_port}"
    return [
        str(settings.programs["etcd"]),
        f"--data-dir={settings.folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--auto-compaction-retention=1h",
        "--quota-backend-bytes=8589934592",
        "--log-level=warn",
    ]


def api_server(settings: Settings) -> list[str]:
    """Return the API server's command line."""
    endpoints, identities = settings.endpoints, settings.identities
    return [
        str(settings.programs["kube-apiserver"]),
        f"--etcd-servers=http://127.0.0.1:{endpoints.etcd_port}",
        f"--secure-port={endpoints.api_port}",
        f"--bind-address={endpoints.bind}",
        f"--advertise-address={_advertised(endpoints)}",
        f"--tls-cert-file={identities.api_server.certificate}",
        f"--tls-private-key-file={identities.api_server.key}",
        f"--client-ca-file={identities.authority.certificate}",
        f"--kubelet-client-certificate={identities.api_server_as_kubelet_client.certificate}",
        f"--kubelet-client-key={identities.api_server_as_kubelet_client.key}",
        f"--kubelet-certificate-authority={identities.authority.certificate}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={identities.front_authority.certificate}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={identities.front_proxy.certificate}",
        f"--proxy-client-key-file={identities.front_proxy.key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={identities.service_accounts.certificate}",
        f"--service-account-signing-key-file={identities.service_accounts.key}",
        f"--service-cluster-ip-range={addresses.SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",  # as kubeadm and kind set it: kubelet plugins are privileged pods
        "--enable-admission-plugins=NodeRestriction",
        # Webhooks are called at their pods, not at the service address: no kube-proxy translates it here.
        "--enable-aggregator-routing=true",
        # Alpha and beta APIs of every group, so that a scenario needs only its feature gates.
        "--runtime-config=api/all=true",
        "--profiling=false",
        *_gates(settings),
    ]


def controller_manager(settings: Settings) -> list[str]:
    """Return the controller manager's command line."""
    identities = settings.identities
    # Its forty controllers each fetch a token when it starts; the default burst of 30 would stretch that to 5 s. The
    # steady limit (20 requests/s) stays the default.
    limits = ["--kube-api-burst=300"]
    if settings.api_qps:
        # The claim controller's default of 10 workers holds claim templates to 10 pods/s (design, Scale).
        limits = [*_limits(settings.api_qps), "--concurrent-resourceclaim-syncs=50"]
    return [
        str(settings.programs["kube-controller-manager"]),
        f"--kubeconfig={identities.controller_manager}",
        f"--authentication-kubeconfig={identities.controller_manager}",
        f"--authorization-kubeconfig={identities.controller_manager}",
        f"--service-account-private-key-file={identities.service_accounts.key}",
        f"--root-ca-file={identities.authority.certificate}",
        f"--cluster-signing-cert-file={identities.authority.certificate}",
        f"--cluster-signing-key-file={identities.authority.key}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        f"--secure-port={settings.endpoints.controller_manager_port}",
        "--bind-address=127.0.0.1",
        f"--cert-dir={settings.folder / 'pki' / 'controller-manager'}",
        *limits,
        *_gates(settings),
    ]


def scheduler(settings: Settings) -> list[str]:
    """Return the scheduler's command line."""
    identities = settings.identities
    return [
        str(settings.programs["kube-scheduler"]),
        f"--kubeconfig={identities.scheduler}",
        f"--authentication-kubeconfig={identities.scheduler}",
        f"--authorization-kubeconfig={identities.scheduler}",
        "--leader-elect=false",
        f"--secure-port={settings.endpoints.scheduler_port}",
        "--bind-address=127.0.0.1",
        f"--cert-dir={settings.folder / 'pki' / 'scheduler'}",
        *(_limits(settings.api_qps) if settings.api_qps else []),
        *_gates(settings),
    ]


def _advertised(endpoints: Endpoints) -> str:
    # The API server refuses to publish a loopback address as the endpoint of kubernetes.default.
    return "192.0.2.1" if endpoints.api_host == "127.0.0.1" else endpoints.api_host


def _limits(qps: int) -> list[str]:
    return [f"--kube-api-qps={qps}", f"--kube-api-burst={qps}"]


def _gates(settings: Settings) -> list[str]:
    if not settings.feature_gates:
        return []
    pairs = ",".join(f"{name}={str(value).lower()}" for name, value in sorted(settings.feature_gates.items()))
    return [f"--feature-gates={pairs}"]
