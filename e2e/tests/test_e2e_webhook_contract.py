"""The webhook behind a real API server: a bad config is denied with its text, everything else is not held up."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from claimwright.cluster import list_clusters, load
from claimwright.cluster.local.certificates import make_authority
from claimwright.dra.kube import (
    DEPLOYMENTS,
    DEVICE_CLASSES,
    NAMESPACES,
    NETWORK_POLICIES,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
    SERVICE_ACCOUNTS,
    Kube,
    KubeError,
    Resource,
)
from claimwright.driver import manifests
from claimwright.e2e.deadlines import wait_until

pytestmark = pytest.mark.contract
HOOKS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    False,
)
INSTALLED = {
    found.kind: found
    for found in (
        HOOKS,
        SERVICE_ACCOUNTS,
        DEPLOYMENTS,
        NETWORK_POLICIES,
        Resource("", "v1", "services", "Service", True),
    )
}
API = "resource.nvidia.com/v1beta1"
KINDS = {found.plural: found for found in (RESOURCE_CLAIMS, RESOURCE_CLAIM_TEMPLATES, DEVICE_CLASSES)}
PLACES = {
    "resourceclaims": "spec.devices.config[0]",
    "resourceclaimtemplates": "spec.spec.devices.config[0]",
    "deviceclasses": "spec.config[0]",
}
GOOD = {"apiVersion": API, "kind": "VfioDeviceConfig", "iommu": {"enableAPIDevice": True}}
BAD = {"apiVersion": API, "kind": "GpuConfig", "sharing": {"strategy": "Magic"}}


@dataclass
class Served:
    """An API server that asks the webhook about the objects of one namespace."""

    kube: Kube
    namespace: str
    process: subprocess.Popen[bytes]
    log: Path

    def create(
        self, plural: str, parameters: dict[str, Any], *, driver: str = "gpu.nvidia.com", version: str = "v1"
    ) -> Any:
        resource = replace(KINDS[plural], version=version)
        name = f"t-{uuid.uuid4().hex[:10]}.{self.namespace}"
        item = {
            "metadata": {"name": name, "labels": {"of": self.namespace}},
            **spec(plural, driver, parameters, version),
        }
        return self.kube.create(resource, item, namespace=self.namespace if resource.namespaced else None)


def spec(plural: str, driver: str, parameters: dict[str, Any], version: str) -> dict[str, Any]:
    config = [{"opaque": {"driver": driver, "parameters": parameters}}]
    if plural == "deviceclasses":
        return {"spec": {"config": config}}
    exactly = {"deviceClassName": "gpu.nvidia.com"}
    request = {"name": "gpu", **(exactly if version == "v1beta1" else {"exactly": exactly})}
    claim = {"devices": {"requests": [request], "config": config}}
    return {"spec": {"spec": claim} if plural == "resourceclaimtemplates" else claim}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    given = os.environ.get("CLAIMWRIGHT_TEST_KUBECONFIG")
    if not given:
        pytest.skip("CLAIMWRIGHT_TEST_KUBECONFIG names no API server")
    clusters = [load(name) for name in list_clusters()]
    beside = [found.enter for found in clusters if found.kubeconfig == Path(given)]
    if not beside:
        pytest.skip(
            "the webhook runs beside the control plane, and that of CLAIMWRIGHT_TEST_KUBECONFIG is not local"
        )
    kube = Kube.from_kubeconfig(Path(given))
    folder = tmp_path_factory.mktemp("webhook")
    namespace = f"webhook-{uuid.uuid4().hex[:8]}"
    authority = make_authority(folder / "pki")
    pair = authority.issue("webhook", "webhook", addresses=["127.0.0.1"])
    log = folder / "log"
    command = [
        *beside[0], sys.executable, "-m", "claimwright.cli.main", "driver", "webhook", "--port=0",
        f"--tls-cert-file={pair.certificate}", f"--tls-private-key-file={pair.key}",
    ]  # fmt: skip
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file)
    try:
        kube.create(NAMESPACES, {"metadata": {"name": namespace, "labels": {"of": namespace}}})
        wait_until("the webhook", lambda: "on port" in log.read_text(), seconds=60, seen=log.read_text)
        port = int(log.read_text().split("on port ")[1].split()[0])
        kube.create(HOOKS, configuration(namespace, port, authority.pair.certificate.read_text()))
        found = Served(kube, namespace, process, log)
        wait_until(
            "the API server to ask it", lambda: denial(found) is not None, seconds=30, seen=log.read_text
        )
        yield found
    finally:
        process.terminate()
        process.wait(timeout=20)
        with suppress(KubeError):
            kube.delete(HOOKS, namespace)
        kube.delete(NAMESPACES, namespace)
        kube.delete_collection(DEVICE_CLASSES, label_selector=f"of={namespace}")


def configuration(namespace: str, port: int, authority: str) -> dict[str, Any]:
    """The configuration of the bundle, for a webhook that is no pod and for objects of this test only."""
    (item,) = (
        each
        for each in yaml.safe_load_all(manifests.render(["webhook"], webhook_ca=authority))
        if each["kind"] == "ValidatingWebhookConfiguration"
    )
    item["metadata"]["name"] = namespace
    (hook,) = item["webhooks"]
    hook["clientConfig"] = {
        "url": f"https://127.0.0.1:{port}{hook['clientConfig']['service']['path']}",
        "caBundle": base64.b64encode(authority.encode()).decode(),
    }
    hook["objectSelector"] = {"matchLabels": {"of": namespace}}
    return item


def denial(served: Served) -> str | None:
    try:
        served.create("resourceclaims", BAD)
    except KubeError as error:
        return str(error)
    return None


@pytest.mark.capability("000-07")
@pytest.mark.parametrize("plural", PLACES)
def test_a_bad_config_is_denied_with_field_and_reason_and_a_good_one_is_stored(
    served: Served, plural: str
) -> None:
    assert served.create(plural, GOOD)["metadata"]["uid"]
    with pytest.raises(KubeError) as caught:
        served.create(plural, BAD)

    text = str(caught.value)
    assert caught.value.status == 422
    assert 'admission webhook "opaque-configs.gpu.nvidia.com" denied the request' in text
    assert f"object at {PLACES[plural]}.opaque.parameters is invalid" in text
    assert 'unknown GPU sharing strategy "Magic", supported: TimeSlicing, MPS' in text


def test_a_real_api_server_takes_all_that_the_webhook_is_installed_with(served: Served) -> None:
    authority = next(served.log.parent.glob("pki/ca.crt")).read_text()
    text = manifests.render(["webhook"], namespace=served.namespace, webhook_ca=authority)
    items = list(yaml.safe_load_all(text))

    for item in items:
        resource = INSTALLED[item["kind"]]
        where = served.namespace if resource.namespaced else None
        served.kube.create(resource, item, namespace=where, dry_run=True)
    assert {item["kind"] for item in items} == set(INSTALLED)


def test_configs_of_the_compute_domain_driver_are_judged_as_well(served: Served) -> None:
    parameters = {"apiVersion": API, "kind": "ComputeDomainChannelConfig"}
    driver = "compute-domain.nvidia.com"

    assert served.create("resourceclaims", {**parameters, "domainID": "c0ffee"}, driver=driver)
    with pytest.raises(KubeError, match="domainID cannot be empty"):
        served.create("resourceclaims", parameters, driver=driver)


@pytest.mark.parametrize("version", ["v1beta2", "v1beta1"])
@pytest.mark.parametrize("plural", PLACES)
def test_older_versions_are_judged_where_they_are_served(served: Served, plural: str, version: str) -> None:
    try:
        served.kube.raw(f"/apis/resource.k8s.io/{version}")
    except KubeError:
        pytest.skip(f"this API server does not serve resource.k8s.io/{version}")
    assert served.create(plural, GOOD, version=version)
    with pytest.raises(KubeError, match=r"sharing\.strategy: unknown GPU sharing strategy"):
        served.create(plural, BAD, version=version)


def test_while_the_webhook_is_down_only_its_own_configs_are_held_up(served: Served) -> None:
    served.process.terminate()
    served.process.wait(timeout=20)

    assert served.create("resourceclaims", {"kind": "Anything"}, driver="other.example.com")
    assert served.create("deviceclasses", {"kind": "Anything"}, driver="other.example.com")
    with pytest.raises(KubeError, match=r"failed calling webhook"):
        served.create("resourceclaims", GOOD)
