"""ComputeDomains as API objects: what their schema takes, and what the controller makes for one."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claimwright.dra.kube import DAEMON_SETS, NAMESPACES, RESOURCE_CLAIM_TEMPLATES, Invalid, Kube
from claimwright.driver.computedomain.controller.claim_templates import daemon_template, workload_template
from claimwright.driver.computedomain.controller.daemon_sets import DaemonPods, daemon_set, is_outdated
from claimwright.driver.computedomain.resources import (
    CLIQUE,
    CLIQUES,
    COMPUTE_DOMAIN_DRIVER,
    COMPUTE_DOMAINS,
    DOMAIN,
    ComputeDomain,
    Member,
)
from claimwright.driver.configs import decode
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.testing.definitions import install_definitions

DOMAIN_A = ComputeDomain("team", "a", "7c5a", "channel-of-a")
PODS = DaemonPods("driver", "driver:1", image_pull_secrets=("one", "two"), verbosity=4)


def config_of(template: dict[str, Any]) -> dict[str, Any]:
    (config,) = template["spec"]["spec"]["devices"]["config"]
    return config["opaque"]["parameters"]


@pytest.mark.parametrize(("all_channels", "mode"), [(False, "Single"), (True, "All")])
def test_pods_get_a_channel_of_the_domain_by_its_template(all_channels: bool, mode: str) -> None:
    made = workload_template(DOMAIN_A, all_channels=all_channels)

    assert made["metadata"]["name"] == "channel-of-a"
    assert made["metadata"]["namespace"] == "team"
    assert made["metadata"]["labels"] == {
        DOMAIN: "7c5a",
        "resource.nvidia.com/computeDomainTarget": "Workload",
    }
    assert config_of(made) == {
        "apiVersion": "resource.nvidia.com/v1beta1",
        "kind": "ComputeDomainChannelConfig",
        "domainID": "7c5a",
        "allocationMode": mode,
    }


@pytest.mark.parametrize(
    "template",
    [workload_template(DOMAIN_A, all_channels=True), daemon_template(DOMAIN_A, namespace="driver")],
    ids=["workload", "daemon"],
)
def test_what_templates_say_is_what_the_plugin_understands(template: dict[str, Any]) -> None:
    config = decode(config_of(template), driver=COMPUTE_DOMAIN_DRIVER)

    config.check(FeatureGates())
    assert json.loads(config.spelled())["domainID"] == "7c5a"


def test_the_daemons_run_where_the_label_is_whatever_taints_are_there() -> None:
    pod = daemon_set(DOMAIN_A, PODS)["spec"]["template"]["spec"]

    assert pod["nodeSelector"] == {DOMAIN: "7c5a"}
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]
    (container,) = pod["containers"]
    assert container["resources"]["claims"] == [{"name": pod["resourceClaims"][0]["name"]}]
    assert container["command"][-2:] == ["compute-domain-daemon", "run"]
    assert {item["name"] for item in container["env"]} >= {"POD_IP", "NODE_NAME", "POD_UID", "V"}


def test_a_new_image_does_not_end_running_daemons() -> None:
    before, after = daemon_set(DOMAIN_A, PODS), daemon_set(DOMAIN_A, replace(PODS, image="driver:2"))

    assert is_outdated(before, after)
    assert not is_outdated(before, daemon_set(DOMAIN_A, PODS))
    assert after["spec"]["updateStrategy"] == {"type": "OnDelete"}


def test_a_daemon_set_of_the_community_controller_is_never_outdated() -> None:
    communitys = daemon_set(DOMAIN_A, PODS)
    del communitys["metadata"]["annotations"]

    assert not is_outdated(communitys, daemon_set(DOMAIN_A, PODS))


@pytest.fixture(scope="module")
def kube() -> Kube:
    given = os.environ.get("CLAIMWRIGHT_TEST_KUBECONFIG")
    if not given:
        pytest.skip("CLAIMWRIGHT_TEST_KUBECONFIG names no API server")
    found = Kube.from_kubeconfig(Path(given))
    install_definitions(found)
    return found


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    name = f"domains-{uuid.uuid4().hex[:8]}"
    kube.create(NAMESPACES, {"metadata": {"name": name}})
    yield name
    kube.delete(NAMESPACES, name)


def asked(template: str = "channel", **spec: Any) -> dict[str, Any]:
    channel = {"resourceClaimTemplate": {"name": template}}
    return {"metadata": {"name": "a"}, "spec": {"channel": channel, **spec}}


@pytest.mark.contract
def test_a_domain_gets_its_defaults(kube: Kube, namespace: str) -> None:
    made = kube.create(COMPUTE_DOMAINS, asked(), namespace=namespace)

    assert made["spec"]["numNodes"] == 0
    assert made["spec"]["channel"]["allocationMode"] == "Single"


@pytest.mark.contract
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (asked(numNodes=-1), "numNodes"),
        (asked(template=""), "name"),
        (asked(template="No Name"), "name"),
        ({"metadata": {"name": "a"}, "spec": {}}, "channel"),
        (
            {"metadata": {"name": "a"}, "spec": {"channel": {"allocationMode": "All"}}},
            "resourceClaimTemplate",
        ),
        (
            {
                "metadata": {"name": "a"},
                "spec": {"channel": {"resourceClaimTemplate": {"name": "c"}, "allocationMode": "all"}},
            },
            "allocationMode",
        ),
    ],
    ids=["negative", "empty", "impossible", "no-channel", "no-template", "misspelled"],
)
def test_a_domain_that_cannot_be_is_refused(
    kube: Kube, namespace: str, body: dict[str, Any], says: str
) -> None:
    with pytest.raises(Invalid, match=says):
        kube.create(COMPUTE_DOMAINS, body, namespace=namespace)


@pytest.mark.contract
@pytest.mark.parametrize(
    "change", [{"numNodes": 2}, {"channel": {"allocationMode": "All"}}], ids=["nodes", "mode"]
)
def test_what_was_asked_for_cannot_be_changed(kube: Kube, namespace: str, change: dict[str, Any]) -> None:
    kube.create(COMPUTE_DOMAINS, asked(), namespace=namespace)

    with pytest.raises(Invalid, match=r"computeDomain\.spec is immutable"):
        kube.patch(COMPUTE_DOMAINS, "a", {"spec": change}, namespace=namespace)
    kube.patch(COMPUTE_DOMAINS, "a", {"metadata": {"labels": {"b": "c"}}}, namespace=namespace)


@pytest.mark.contract
def test_rows_of_a_clique_are_applied_by_their_own_daemons(kube: Kube, namespace: str) -> None:
    for node in ("n1", "n2"):
        row = Member(node, "10.0.0.1", "cluster.1", 0, ready=node == "n1").row(named="nodeName")
        body = {
            "apiVersion": CLIQUES.api_version,
            "kind": CLIQUES.kind,
            "metadata": {"name": "uid.cluster.1", "labels": {DOMAIN: "uid", CLIQUE: "cluster.1"}},
            "daemons": [row],
        }
        kube.patch(CLIQUES, "uid.cluster.1", body, namespace=namespace, kind="apply", field_manager=node)

    found = kube.get(CLIQUES, "uid.cluster.1", namespace=namespace)
    assert [(row["nodeName"], row["status"]) for row in found["daemons"]] == [
        ("n1", "Ready"),
        ("n2", "NotReady"),
    ]


@pytest.mark.contract
def test_the_api_server_takes_what_is_made_for_a_domain(kube: Kube, namespace: str) -> None:
    domain = replace(DOMAIN_A, namespace=namespace)
    pods = replace(PODS, namespace=namespace)

    kube.create(RESOURCE_CLAIM_TEMPLATES, workload_template(domain, all_channels=True), dry_run=True)
    kube.create(RESOURCE_CLAIM_TEMPLATES, daemon_template(domain, namespace=namespace), dry_run=True)
    made = kube.create(DAEMON_SETS, daemon_set(domain, pods), dry_run=True)
    assert made["spec"]["template"]["spec"]["containers"][0]["startupProbe"]["failureThreshold"] == 1200
