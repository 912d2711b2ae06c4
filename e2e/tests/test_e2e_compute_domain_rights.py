"""What the accounts of ComputeDomains may write, by the API server's own word: the chart's rights and policies on a
control plane without nodes, asked with tokens that are bound to a node as those of pods are.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from claimwright import cluster as clusters
from claimwright.dra.kube import NODES, RESOURCE_SLICES, Forbidden, Invalid, Kube
from claimwright.driver.computedomain.resources import CLIQUES, COMPUTE_DOMAINS, DAEMON_ACCOUNT, DOMAIN
from claimwright.e2e.credentials import write_service_account_kubeconfig
from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.helm import CHART, RELEASE, Helm, find_helm
from claimwright.e2e.kubernetes_door import Kubernetes
from claimwright.e2e.real import running_cluster

PLUGIN = f"{RELEASE}-service-account-kubeletplugin"
CONTROLLER = f"{RELEASE}-service-account-controller"
CLIQUE_LABEL = "nvidia.com/gpu.clique"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.capability("002-17")]


class Accounts:
    """Doors of the chart's accounts on the node `here`; another node is `there`."""

    def __init__(self, kubernetes: Kubernetes, kubeconfig: Path, folder: Path) -> None:
        self.kubernetes = kubernetes
        for account in (PLUGIN, CONTROLLER, DAEMON_ACCOUNT):
            write_service_account_kubeconfig(
                kubernetes, kubeconfig, folder / account, namespace=RELEASE, account=account, node="here"
            )
        self.plugin, self.controller, self.daemon = (
            Kube.from_kubeconfig(folder / account) for account in (PLUGIN, CONTROLLER, DAEMON_ACCOUNT)
        )


@contextmanager
def installed(*settings: str) -> Iterator[Accounts]:
    """Run an API server with the chart's objects."""
    if (program := find_helm()) is None:
        pytest.skip("no helm on PATH or in the cache: claimwright cluster build --program helm")
    name = f"rights-{uuid.uuid4().hex[:6]}"
    with (
        running_cluster(clusters.ClusterSpec(name=name, nodes=0), None),
        tempfile.TemporaryDirectory(prefix="cw-") as folder,
    ):
        cluster = clusters.load(name)
        kubernetes = Kubernetes(cluster.kubeconfig)
        kubernetes.ensure({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RELEASE}})
        for node in ("here", "there"):
            labels = {"zone": "a", **({DOMAIN: "old"} if node == "there" else {})}
            metadata = {"name": node, "labels": labels}
            kubernetes.ensure({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        crds = "---\n".join(path.read_text() for path in (CHART / "crds").glob("*.yaml"))
        chart = Helm(program).template(
            "--set", ",".join(["resources.computeDomains.enabled=true", *settings])
        )
        for item in yaml.safe_load_all(f"{crds}\n---\n{chart}"):
            if item:
                kubernetes.ensure(item)
        yield Accounts(kubernetes, cluster.kubeconfig, Path(folder))
        kubernetes.close()


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    with installed() as made:
        yield in_force(made)


def in_force(accounts: Accounts) -> Accounts:
    """Wait until the policies refuse; API servers learn of them within seconds."""

    def are_refused() -> bool:
        node = refused(lambda: relabel(accounts.plugin, "here", zone=uuid.uuid4().hex))
        return node and refused(lambda: make(accounts.daemon, "x", row("there")))

    wait_until("the policies are in force", are_refused, seconds=30)
    return accounts


def refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except (Forbidden, Invalid):
        return True
    return False


def relabel(kube: Kube, node: str, **labels: str | None) -> None:
    kube.patch(NODES, node, {"metadata": {"labels": labels}})


def row(node: str, **changes: Any) -> dict[str, Any]:
    return {
        "nodeName": node,
        "ipAddress": "192.0.2.1",
        "cliqueID": "c.1",
        "index": 0,
        "status": "NotReady",
        **changes,
    }


def make(kube: Kube, name: str, *rows: Mapping[str, Any]) -> None:
    kube.create(CLIQUES, {"metadata": {"name": name}, "daemons": list(rows)}, namespace=RELEASE, dry_run=True)


def test_every_expression_of_the_policies_is_sound(accounts: Accounts) -> None:
    found = accounts.kubernetes.get(POLICIES)["items"]
    wait_until(
        "all are checked",
        lambda: all(
            "typeChecking" in each.get("status", {}) for each in accounts.kubernetes.get(POLICIES)["items"]
        ),
        seconds=30,
    )

    assert len(found) == 3
    assert not [each["status"]["typeChecking"] for each in found if each["status"].get("typeChecking")]


def test_a_plugin_labels_its_own_node_with_two_labels_and_does_nothing_else(accounts: Accounts) -> None:
    plugin = accounts.plugin
    relabel(plugin, "here", **{DOMAIN: "uid", CLIQUE_LABEL: "uid.1"})
    relabel(plugin, "here", **{DOMAIN: None})

    with pytest.raises((Forbidden, Invalid), match="node 'here' may not write Node 'there'"):
        relabel(plugin, "there", **{DOMAIN: "uid"})
    for change in (
        {"metadata": {"labels": {"role": "x"}}},
        {"metadata": {"labels": {"zone": "b"}}},
        {"metadata": {"labels": {"zone": None}}},
        {"metadata": {"annotations": {"a": "b"}}},
        {"metadata": {"finalizers": ["example.com/a"]}},
        {"spec": {"unschedulable": True}},
        {"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}},
    ):
        with pytest.raises((Forbidden, Invalid), match="of a Node the driver may write the labels"):
            plugin.patch(NODES, "here", change)
    with pytest.raises(Forbidden):
        plugin.patch(NODES, "here", {"status": {"phase": "Pending"}}, subresource="status")


@pytest.mark.parametrize("driver", ["gpu.nvidia.com", "compute-domain.nvidia.com"])
def test_the_slices_of_both_drivers_are_written_on_their_own_node_only(
    accounts: Accounts, driver: str
) -> None:
    def publish(node: str) -> None:
        pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
        spec = {"driver": driver, "nodeName": node, "pool": pool, "devices": [{"name": "channel-0"}]}
        slice_ = {"metadata": {"generateName": "rights-"}, "spec": spec}
        accounts.plugin.create(RESOURCE_SLICES, slice_, dry_run=True)

    publish("here")
    with pytest.raises((Forbidden, Invalid), match="may not write a ResourceSlice of node 'there'"):
        publish("there")


def test_the_controller_takes_labels_away_and_gives_none(accounts: Accounts) -> None:
    relabel(accounts.controller, "there", **{DOMAIN: None})

    for labels in ({DOMAIN: "uid"}, {CLIQUE_LABEL: "uid.1"}):
        with pytest.raises((Forbidden, Invalid), match="give none"):
            relabel(accounts.controller, "there", **labels)
    with pytest.raises((Forbidden, Invalid), match="of a Node the driver may write"):
        relabel(accounts.controller, "there", zone=None)


def test_a_daemon_writes_the_row_of_its_node_and_no_other(accounts: Accounts) -> None:
    """Whoever moves another node's row takes its place in the domain, and reads what is meant for it."""
    path = f"/apis/resource.nvidia.com/v1beta1/namespaces/{RELEASE}/computedomaincliques"
    clique = {
        "apiVersion": "resource.nvidia.com/v1beta1",
        "kind": "ComputeDomainClique",
        "metadata": {"name": "u.c.1"},
    }
    accounts.kubernetes.create({**clique, "daemons": [row("there", index=1)]}, namespace=RELEASE)

    def apply(*rows: Mapping[str, Any]) -> None:
        accounts.daemon.patch(
            CLIQUES, "u.c.1", {**clique, "daemons": list(rows)}, namespace=RELEASE, kind="apply",
            field_manager="here", force=True,
        )  # fmt: skip

    apply(row("here", status="Ready"))
    for rows in ([row("here"), row("there", ipAddress="192.0.2.66")], [row("here"), row("third", index=2)]):
        with pytest.raises((Forbidden, Invalid), match="may not write the row of another node"):
            apply(*rows)
    with pytest.raises((Forbidden, Invalid), match="may not write the row of another node"):
        accounts.daemon.patch(CLIQUES, "u.c.1", {"daemons": [row("here")]}, namespace=RELEASE)
    with pytest.raises(Forbidden):
        accounts.daemon.delete(CLIQUES, "u.c.1", namespace=RELEASE)

    stored = {each["nodeName"]: each for each in accounts.kubernetes.get(f"{path}/u.c.1")["daemons"]}
    assert stored == {"here": row("here", status="Ready"), "there": row("there", index=1)}


def test_a_daemon_sees_nothing_of_users(accounts: Accounts) -> None:
    for look in (
        lambda: accounts.daemon.list(COMPUTE_DOMAINS, namespace="default"),
        lambda: accounts.daemon.list(CLIQUES, namespace="default"),
        lambda: accounts.daemon.get(NODES, "here"),
    ):
        assert refused(look)


def test_without_cliques_a_daemon_writes_its_row_into_the_status_and_nothing_else() -> None:
    with installed("featureGates.ComputeDomainCliques=false") as accounts:
        daemon = accounts.daemon
        kind = {"apiVersion": COMPUTE_DOMAINS.api_version, "kind": "ComputeDomain"}
        spec = {"channel": {"resourceClaimTemplate": {"name": "training"}}}
        for name in ("training", "trial"):
            accounts.kubernetes.create(
                {**kind, "metadata": {"name": name}, "spec": spec}, namespace="default"
            )

        def apply(domain: str, **status: Any) -> None:
            body = {**kind, "metadata": {"name": domain}, "status": status}
            daemon.patch(
                COMPUTE_DOMAINS, domain, body, namespace="default", subresource="status", kind="apply",
                field_manager="here", force=True,
            )  # fmt: skip

        def domain() -> dict[str, Any]:
            found = daemon.list(COMPUTE_DOMAINS, namespace="default")["items"]
            return next(item for item in found if item["metadata"]["name"] == "training")

        here, there = (
            {("name" if key == "nodeName" else key): value for key, value in row(node).items()}
            for node in ("here", "there")
        )
        # Another row each time: one that was taken before the policy was in force is no change, and passes.
        trials = count(1)
        wait_until(
            "the policies are in force",
            lambda: refused(lambda: apply("trial", nodes=[{**there, "index": next(trials)}])),
            seconds=30,
        )
        apply("training", nodes=[here])
        with pytest.raises((Forbidden, Invalid), match="may not write the row of another node"):
            apply("training", nodes=[here, there])
        with pytest.raises((Forbidden, Invalid), match="for the controller to say"):
            apply("training", nodes=[here], status="Ready")
        with pytest.raises(Forbidden):
            daemon.patch(
                COMPUTE_DOMAINS, "training", {"metadata": {"labels": {"a": "b"}}}, namespace="default"
            )
        make_refused = refused(lambda: make(daemon, "x", row("here")))
        written = domain()["status"]["nodes"]
        apply("training", nodes=[])

        assert make_refused
        assert [each["name"] for each in written] == ["here"]
        assert not domain().get("status", {}).get("nodes")
