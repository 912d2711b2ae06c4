"""ComputeDomains in the driver's Helm chart: what is there with them, what without, and who may do what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import pytest
import yaml

from claimwright.driver.commands import driver
from claimwright.driver.computedomain import resources
from claimwright.e2e.helm import CHART, RELEASE, Helm, HelmRefused, find_helm

# Not in the unit run: helm is provided for the e2e one.
pytestmark = pytest.mark.e2e
ON = "resources.computeDomains.enabled=true"
HOSTS = f"{ON},resources.computeDomains.imex.mode=hostManaged,featureGates.HostManagedIMEXDaemon=true"


@pytest.fixture
def helm() -> Helm:
    program = find_helm()
    if program is None:
        pytest.skip("no helm on PATH or in the cache: claimwright cluster build --program helm")
    return Helm(program)


def objects(helm: Helm, values: str = ON, namespace: str = RELEASE) -> dict[tuple[str, str], dict[str, Any]]:
    """The rendered objects by kind and name."""
    text = helm.template("--set", values, namespace=namespace)
    return {(item["kind"], item["metadata"]["name"]): item for item in yaml.safe_load_all(text) if item}


def pods(found: dict[tuple[str, str], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is in each pod of the driver's own, by the component's name."""
    return {
        name.removeprefix(f"{RELEASE}-"): item["spec"]["template"]["spec"]
        for (kind, name), item in found.items()
        if kind in ("DaemonSet", "Deployment")
    }


def containers(found: dict[tuple[str, str], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for pod in pods(found).values() for each in pod["containers"]}


def rules(found: dict[tuple[str, str], dict[str, Any]], account: str) -> Iterator[tuple[str, str, str, str]]:
    """Every right of an account: where (a namespace, or `*`), group, resource, verb."""
    for (kind, _), binding in found.items():
        if not kind.endswith("RoleBinding") or account not in [each["name"] for each in binding["subjects"]]:
            continue
        role = found[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
        for rule in role["rules"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield role["metadata"].get("namespace", "*"), rule["apiGroups"][0], resource, verb


def test_the_chart_with_compute_domains_passes_helms_own_lint(helm: Helm) -> None:
    assert "0 chart(s) failed" in (said := helm.lint("--set", ON)) or said == ""


def test_without_compute_domains_nothing_of_them_is_installed(helm: Helm) -> None:
    off = objects(helm, "resources.computeDomains.enabled=false")
    on = objects(helm)

    assert set(off) < set(on)
    assert "compute" not in yaml.safe_dump(list(off.values())).lower()
    assert {"controller", "kubelet-plugin"} == set(pods(on))


def test_compute_domains_are_had_without_the_gpus(helm: Helm) -> None:
    """Where a device plugin gives GPUs away, as in the community chart's published commands."""
    found = objects(helm, f"{ON},resources.gpus.enabled=false")

    assert set(containers(found)) == {"compute-domains", "compute-domain"}
    assert {name for kind, name in found if kind == "DeviceClass"} == {
        resources.CHANNEL_CLASS,
        resources.DAEMON_CLASS,
    }


def test_a_host_that_keeps_its_own_imex_needs_no_daemons(helm: Helm) -> None:
    found = objects(helm, HOSTS)

    assert ("DeviceClass", resources.DAEMON_CLASS) not in found
    assert ("DeviceClass", resources.CHANNEL_CLASS) in found
    assert not [key for key in found if "daemon" in key[1]]


@pytest.mark.parametrize(
    ("container", "command"),
    [
        ("compute-domains", "compute-domain-plugin"),
        ("compute-domain", "compute-domain-controller"),
        ("gpus", "gpu-plugin"),
    ],
)
def test_every_variable_of_a_container_is_one_that_its_command_reads(
    helm: Helm, container: str, command: str
) -> None:
    found = containers(objects(helm))[container]
    assert found["command"] == ["claimwright", "driver", command]
    given = {entry["name"] for entry in found["env"]}
    of_the_runtime = {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_MIG_CONFIG_DEVICES"}

    assert given - of_the_runtime <= set(variables(driver.commands[command]))


def variables(command: click.Command) -> Iterator[str]:
    for option in command.params:
        names = option.envvar or ()
        yield from [names] if isinstance(names, str) else names


def test_the_values_of_imex_reach_plugin_and_controller(helm: Helm) -> None:
    found = containers(objects(helm, f"{HOSTS},resources.computeDomains.imex.maxNodesPerDomain=9"))
    said = {
        name: {entry["name"]: entry.get("value") for entry in found[name]["env"]}
        for name in ("compute-domains", "compute-domain")
    }

    assert {each["IMEX_MODE"] for each in said.values()} == {"hostManaged"}
    assert said["compute-domain"]["MAX_NODES_PER_IMEX_DOMAIN"] == "9"


def test_the_two_plugins_of_a_node_have_ports_of_their_own_and_the_policy_lets_all_in(helm: Helm) -> None:
    found = objects(helm)
    ports = [
        port["containerPort"]
        for name in ("gpus", "compute-domains")
        for port in containers(found)[name]["ports"]
    ]
    policy = found["NetworkPolicy", f"{RELEASE}-kubelet-plugin"]["spec"]

    assert len(ports) == len(set(ports)) == 4
    assert {each["port"] for each in policy["ingress"][0]["ports"]} == set(ports)


def test_the_controller_is_no_root_and_elects_a_leader(helm: Helm) -> None:
    found = objects(helm, f"{ON},controller.replicas=2", namespace="gpus")
    pod = pods(found)["controller"]
    (container,) = pod["containers"]
    said = {entry["name"]: entry.get("value") for entry in container["env"]}

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert said["LEADER_ELECTION_ENABLED"] == "true"
    assert said["LEADER_ELECTION_LEASE_LOCK_NAMESPACE"] == "gpus"


def test_the_policies_match_the_accounts_that_the_pods_run_as(helm: Helm) -> None:
    found = objects(helm, f"{ON},serviceAccount.name=gpu-driver", namespace="gpus")
    used = {pod["serviceAccountName"] for pod in pods(found).values()} | {resources.DAEMON_ACCOUNT}

    conditions = " ".join(
        each["expression"]
        for (kind, _), item in found.items()
        if kind == "ValidatingAdmissionPolicy"
        for each in item["spec"]["matchConditions"]
    )
    assert {name for kind, name in found if kind == "ServiceAccount"} == used
    assert all(f"'system:serviceaccount:gpus:{name}'" in conditions for name in used)


def test_no_account_may_write_where_it_need_not(helm: Helm) -> None:
    """What a stolen token is worth: the daemon's nothing outside the driver's namespace, nobody's any secret."""
    found = objects(helm)
    accounts = {name: set(rules(found, name)) for kind, name in found if kind == "ServiceAccount"}

    assert {where for where, *_ in accounts[resources.DAEMON_ACCOUNT]} == {RELEASE}
    assert {kind for _, _, kind, _ in accounts[resources.DAEMON_ACCOUNT]} == {"computedomaincliques", "pods"}
    everything = {right for rights in accounts.values() for right in rights}
    assert not {
        right
        for right in everything
        if right[2] in ("secrets", "configmaps", "pods/exec", "*") or right[3] == "*"
    }
    writes = {right for right in everything if right[3] not in ("get", "list", "watch")}
    assert {kind for where, _, kind, _ in writes if where == "*"} == {
        "computedomains", "computedomains/status", "events", "nodes", "resourceclaimtemplates", "resourceslices",
    }  # fmt: skip


def test_the_custom_resources_come_with_the_chart() -> None:
    found = [
        item for path in (CHART / "crds").glob("*.yaml") for item in yaml.safe_load_all(path.read_text())
    ]

    assert {(item["spec"]["group"], item["spec"]["names"]["kind"]) for item in found} == {
        (resources.GROUP, "ComputeDomain"),
        (resources.GROUP, "ComputeDomainClique"),
    }


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("resources.computeDomains.imex.mode=both", "/resources/computeDomains/imex/mode"),
        (f"{ON},resources.computeDomains.imex.mode=hostManaged", "featureGates.HostManagedIMEXDaemon=true"),
        (f"{ON},resources.computeDomains.imex.isolation=channel", "/resources/computeDomains/imex/isolation"),
        ("resources.computeDomains.imex.maxNodesPerDomain=0", "maxNodesPerDomain"),
        (
            "controller.replicas=2,controller.leaderElection.enabled=false",
            "controller.leaderElection.enabled=true",
        ),
        ("controller.leaderElection.leaseDuration=15", "leaseDuration"),
        ("controller.replica=2", "replica"),
    ],
)
def test_a_wrong_value_is_refused_and_named(helm: Helm, flag: str, says: str) -> None:
    with pytest.raises(HelmRefused, match=says):
        helm.template("--set", flag)
