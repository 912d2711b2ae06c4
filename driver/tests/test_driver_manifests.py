"""The install bundle: what it says, and that a real API server takes it."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from claimwright.dra.kube import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    DAEMON_SETS,
    DEVICE_CLASSES,
    NAMESPACES,
    NETWORK_POLICIES,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
    Kube,
)
from claimwright.driver import manifests
from claimwright.driver.errors import NodeUnusable

KINDS = {
    found.kind: found
    for found in (
        CLUSTER_ROLES,
        CLUSTER_ROLE_BINDINGS,
        DAEMON_SETS,
        DEVICE_CLASSES,
        NAMESPACES,
        NETWORK_POLICIES,
        ROLE_BINDINGS,
        ROLES,
        SERVICE_ACCOUNTS,
        VALIDATING_ADMISSION_POLICIES,
        VALIDATING_ADMISSION_POLICY_BINDINGS,
    )
}


def objects(*parts: str, **changes: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(manifests.render(parts or manifests.PARTS, **changes)))


@pytest.mark.capability("002-14")
def test_the_device_classes_are_those_of_the_community_driver_and_one_for_vgpus() -> None:
    classes = {item["metadata"]["name"]: item["spec"] for item in objects("deviceclasses")}

    communitys = {"gpu.nvidia.com", "mig.nvidia.com", "vfio.gpu.nvidia.com"}
    assert set(classes) == communitys | {"vgpu.gpu.nvidia.com"}
    assert classes["gpu.nvidia.com"]["selectors"][0]["cel"]["expression"] == (
        "device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == 'gpu'"
    )
    assert classes["gpu.nvidia.com"]["extendedResourceName"] == "nvidia.com/gpu"


def test_namespace_and_image_are_changed_everywhere() -> None:
    text = manifests.render(namespace="gpus", image="registry.example.com/driver:2")
    items = list(yaml.safe_load_all(text))

    events = ("Role", "RoleBinding")  # events of nodes are in the namespace default
    assert {item["metadata"].get("namespace", "gpus") for item in items if item["kind"] not in events} == {
        "gpus"
    }
    (binding,) = (item for item in items if item["kind"] == "RoleBinding")
    assert binding["subjects"][0]["namespace"] == "gpus"
    assert items[0]["metadata"]["name"] == "gpus"
    assert "system:serviceaccount:gpus:" in text
    assert "claimwright/driver:0.1.0" not in text


def test_the_policy_matches_the_service_account_that_the_daemonset_uses() -> None:
    text = manifests.render()
    (account,) = (
        item["spec"]["template"]["spec"]["serviceAccountName"]
        for item in yaml.safe_load_all(text)
        if item["kind"] == "DaemonSet"
    )

    assert f"system:serviceaccount:{manifests.NAMESPACE}:{account}'" in text


@pytest.mark.parametrize(
    ("changes", "says"), [({"namespace": "No Good"}, "--namespace"), ({"image": "a b"}, "--image")]
)
def test_names_that_would_break_the_yaml_are_refused(changes: dict[str, str], says: str) -> None:
    with pytest.raises(NodeUnusable, match=says):
        manifests.render(**changes)


@pytest.mark.contract
def test_a_real_api_server_takes_the_whole_bundle() -> None:
    given = os.environ.get("CLAIMWRIGHT_TEST_KUBECONFIG")
    if not given:
        pytest.skip("CLAIMWRIGHT_TEST_KUBECONFIG names no API server")
    kube = Kube.from_kubeconfig(Path(given))
    namespace = f"driver-{uuid.uuid4().hex[:8]}"
    kube.create(NAMESPACES, {"metadata": {"name": namespace}})
    try:
        for item in objects(namespace=namespace):
            if item["kind"] != "Namespace":
                item["metadata"]["name"] += f".{namespace}"  # dry runs collide with what is installed
                where = item["metadata"].get("namespace")
                kube.create(KINDS[item["kind"]], item, namespace=where, dry_run=True)
    finally:
        kube.delete(NAMESPACES, namespace)
