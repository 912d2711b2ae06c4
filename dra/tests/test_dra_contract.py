"""The door and the publisher against a real API server, named by CLAIMWRIGHT_TEST_KUBECONFIG."""

from __future__ import annotations

import os
import threading
import time
import uuid
from pathlib import Path

import pytest

from claimwright.dra.kube import (
    CONFIG_MAPS,
    NAMESPACES,
    NODES,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    AlreadyExists,
    Conflict,
    Invalid,
    Kube,
    NotFound,
    Reflector,
)
from claimwright.dra.plugin import SlicePublisher
from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import (
    CounterConsumption,
    CounterSet,
    Device,
    Pool,
    Slice,
    Taint,
    Version,
    plan_slices,
)

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def kube():
    path = os.environ.get("CLAIMWRIGHT_TEST_KUBECONFIG")
    if not path:
        pytest.skip("CLAIMWRIGHT_TEST_KUBECONFIG names no kubeconfig of a running API server")
    return Kube.from_kubeconfig(Path(path))


@pytest.fixture
def namespace(kube):
    name = f"dra-{uuid.uuid4().hex[:10]}"
    kube.create(NAMESPACES, {"metadata": {"name": name}})
    yield name
    kube.delete(NAMESPACES, name)


@pytest.fixture
def node(kube):
    name = f"dra-{uuid.uuid4().hex[:10]}"
    kube.create(NODES, {"metadata": {"name": name}})
    yield name
    kube.delete_collection(RESOURCE_SLICES, field_selector=f"spec.nodeName={name}")
    kube.delete(NODES, name)


def wait_until(condition, *, seconds=30.0):
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        pause.wait(0.02)


def test_the_server_says_its_version_and_health(kube):
    major, minor = kube.server_version()
    assert (major, minor) >= (1, 34)
    assert kube.raw("/readyz") == b"ok"


def test_objects_are_created_changed_patched_and_deleted(kube, namespace):
    body = {"metadata": {"name": "c"}, "data": {"a": "1"}}
    created = kube.create(CONFIG_MAPS, body, namespace=namespace)
    with pytest.raises(AlreadyExists):
        kube.create(CONFIG_MAPS, body, namespace=namespace)
    changed = kube.replace(CONFIG_MAPS, {**created, "data": {"a": "2"}})
    with pytest.raises(Conflict):
        kube.replace(CONFIG_MAPS, {**created, "data": {"a": "3"}})
    patches = {
        "merge": {"data": {"b": "1"}},
        "strategic": {"data": {"c": "1"}},
        "json": [{"op": "add", "path": "/data/d", "value": "1"}],
        "apply": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"e": "1"}},
    }
    for kind, patch in patches.items():
        kube.patch(CONFIG_MAPS, "c", patch, namespace=namespace, kind=kind, field_manager="test")
    found = kube.get(CONFIG_MAPS, "c", namespace=namespace)
    assert found["data"] == {"a": "2", "b": "1", "c": "1", "d": "1", "e": "1"}
    with pytest.raises(Conflict):
        kube.delete(CONFIG_MAPS, "c", namespace=namespace, uid=str(uuid.uuid4()))
    kube.delete(CONFIG_MAPS, "c", namespace=namespace, uid=changed["metadata"]["uid"])
    with pytest.raises(NotFound):
        kube.get(CONFIG_MAPS, "c", namespace=namespace)


def test_an_invalid_object_is_refused_with_its_field(kube, namespace):
    with pytest.raises(Invalid, match=r"spec.devices.requests\[0\].name"):
        kube.create(
            RESOURCE_CLAIMS,
            {"metadata": {"name": "c"}, "spec": {"devices": {"requests": [{"name": "Bad_Name"}]}}},
            namespace=namespace,
        )


def test_a_reflector_sees_what_happens(kube, namespace):
    told = []
    reflector = Reflector(
        kube,
        CONFIG_MAPS,
        namespace=namespace,
        field_selector="metadata.name=c",
        on_change=lambda kind, item: told.append((kind, item.get("data"))),
    )
    reflector.start()
    try:
        assert reflector.synced.wait(10)
        created = kube.create(
            CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"a": "1"}}, namespace=namespace
        )
        kube.replace(CONFIG_MAPS, {**created, "data": {"a": "2"}})
        kube.delete(CONFIG_MAPS, "c", namespace=namespace)
        wait_until(lambda: len(told) == 3)
    finally:
        begin = time.monotonic()
        reflector.stop()
    assert told == [("ADDED", {"a": "1"}), ("MODIFIED", {"a": "2"}), ("DELETED", {"a": "2"})]
    assert time.monotonic() - begin < 3


def full_pool(node, count):
    gpus = tuple(
        Device(
            f"gpu-{index}",
            {"uuid": f"GPU-{index}", "driverVersion": Version("580.126.20"), "mig": False, "numa": 0},
            {"memory": Quantity.parse("80Gi")},
            taints=(Taint("gpu.example.com/unhealthy", "NoSchedule"),) if index == 0 else (),
            consumes_counters=(CounterConsumption("set-0", {"memory": Quantity.parse("1Gi")}),)
            if index == 1
            else (),
        )
        for index in range(count)
    )
    return Pool(node, gpus, (CounterSet("set-0", {"memory": Quantity.parse("80Gi")}),))


def test_the_server_takes_what_the_limits_allow_and_refuses_what_they_do_not(kube, node):
    owner = None
    allowed = plan_slices(
        "gpu.example.com", Pool(node, (Device("a", {"x": "é" * 32}),), node_name=node), 1, owner
    )
    kube.create(RESOURCE_SLICES, allowed[0], dry_run=True)
    too_long = {**allowed[0], "spec": {**allowed[0]["spec"]}}
    too_long["spec"]["devices"] = [{"name": "a", "attributes": {"x": {"string": "é" * 33}}}]
    with pytest.raises(Invalid, match="64"):
        kube.create(RESOURCE_SLICES, too_long, dry_run=True)


def test_a_publisher_keeps_its_slices_through_wipes_edits_and_growth(kube, node):
    driver, errors = f"d{uuid.uuid4().hex[:8]}.example.com", []
    publisher = SlicePublisher(kube, driver, node_name=node, on_error=errors.append)
    publisher.update(full_pool(node, 100))
    publisher.start()

    def slices():
        found = kube.list(RESOURCE_SLICES, field_selector=f"spec.driver={driver}")["items"]
        return [Slice.from_object(item) for item in sorted(found, key=lambda item: item["metadata"]["name"])]

    def names():
        return [device.name for item in slices() for device in item.devices]

    try:
        assert publisher.wait_published(30)
        assert names() == [f"gpu-{index}" for index in range(100)]
        versions = [item.raw["metadata"]["resourceVersion"] for item in slices()]
        publisher.update(full_pool(node, 100))
        publisher._wake.set()
        assert publisher.wait_published(30)
        assert [item.raw["metadata"]["resourceVersion"] for item in slices()] == versions
        kube.delete_collection(RESOURCE_SLICES, field_selector=f"spec.nodeName={node},spec.driver={driver}")
        wait_until(lambda: len(names()) == 100)
        edited = dict(slices()[1].raw)
        edited["spec"] = {**edited["spec"], "devices": edited["spec"]["devices"][:3]}
        kube.replace(RESOURCE_SLICES, edited)
        wait_until(lambda: len(names()) == 100)
        publisher.update(full_pool(node, 200))
        assert publisher.wait_published(30)
        assert len(names()) == 200
        assert len({item.generation for item in slices()}) == 1
        assert [error for error in errors if not error.recoverable] == []
        publisher.withdraw()
        assert slices() == []
    finally:
        publisher.stop()
