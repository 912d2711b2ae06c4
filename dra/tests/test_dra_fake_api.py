"""The fake API itself: what tests of all rooms take for granted of it."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request

import pytest

from claimwright.dra.kube import (
    EVENTS,
    NODES,
    PODS,
    RESOURCE_CLAIMS,
    AlreadyExists,
    Conflict,
    Kube,
    KubeError,
    NotFound,
    Reflector,
    Resource,
    Unavailable,
)
from claimwright.dra.testing import FakeApi, Refused, allocated_claim
from claimwright.dra.testing.objects import key_of
from claimwright.dra.testing.store import Selection, Store

CORE_EVENTS = Resource("", "v1", "events", "Event", namespaced=True)
BOUND = {
    "metadata": {"name": "p", "namespace": "ns"},
    "spec": {"nodeName": "node-a", "terminationGracePeriodSeconds": 7},
}


@pytest.fixture
def api():
    with FakeApi() as running:
        yield running


def test_a_bound_pod_stays_marked_until_it_is_deleted_without_grace(api):
    kube = api.kube()
    api.put(PODS, BOUND)
    kube.delete(PODS, "p", namespace="ns")
    kube.delete(PODS, "p", namespace="ns", grace_seconds=3)
    metadata = kube.get(PODS, "p", namespace="ns")["metadata"]
    assert metadata["deletionTimestamp"]
    assert metadata["deletionGracePeriodSeconds"] == 7
    kube.delete(PODS, "p", namespace="ns", grace_seconds=0)
    assert api.objects(PODS) == []


def test_somebody_else_removes_at_once_or_with_the_pods_own_grace(api):
    api.put(PODS, BOUND)
    api.remove(PODS, "p", namespace="ns", grace_seconds=None)
    assert api.objects(PODS)[0]["metadata"]["deletionGracePeriodSeconds"] == 7
    api.remove(PODS, "p", namespace="ns")
    with pytest.raises(Refused, match='pods "p" not found'):
        api.remove(PODS, "p", namespace="ns")


def test_an_object_and_its_status_are_written_apart(api):
    kube = api.kube()
    api.put(PODS, {**BOUND, "status": {"phase": "Pending"}})
    read = kube.get(PODS, "p", namespace="ns")
    kube.replace(PODS, {**read, "spec": {"x": 1}, "status": {"phase": "Lost"}})
    assert api.objects(PODS)[0]["status"] == {"phase": "Pending"}
    read = kube.get(PODS, "p", namespace="ns")
    kube.replace_status(PODS, {**read, "spec": {"x": 2}, "status": {"phase": "Running"}})
    assert api.objects(PODS)[0]["spec"] == {"x": 1}
    assert api.objects(PODS)[0]["status"] == {"phase": "Running"}


@pytest.mark.parametrize(
    ("kind", "types"), [("merge", ["Ready"]), ("strategic", ["PIDPressure", "Ready"])], ids=str
)
def test_only_a_strategic_patch_merges_lists(api, kind, types):
    pressure = {"type": "PIDPressure", "status": "False"}
    api.put(NODES, {"metadata": {"name": "n"}, "status": {"conditions": [pressure], "phase": "x"}})
    body = {"status": {"conditions": [{"type": "Ready", "status": "True"}], "phase": None}}
    answer = api.kube().patch(NODES, "n", body, subresource="status", kind=kind)
    assert [condition["type"] for condition in answer["status"]["conditions"]] == types
    assert "phase" not in answer["status"]


def test_a_patch_for_another_uid_or_of_an_unknown_kind_changes_nothing(api):
    before = api.put(NODES, {"metadata": {"name": "n"}})
    with pytest.raises(Conflict, match="has uid"):
        api.kube().patch(NODES, "n", {"metadata": {"uid": "other"}})
    with pytest.raises(KubeError, match="json-patch"):
        api.kube().patch(NODES, "n", {"spec": {}}, kind="json", field_manager="me")
    assert api.objects(NODES) == [before]


def test_a_write_that_changes_nothing_is_no_change(api):
    before = api.put(NODES, {"metadata": {"name": "n"}, "spec": {"x": 1}})
    assert api.kube().replace(NODES, before) == before
    assert api.kube().patch(NODES, "n", {"spec": {"x": 1}}) == before


def test_events_of_two_groups_are_two_collections(api):
    for resource in (EVENTS, CORE_EVENTS):
        api.kube().create(resource, {"metadata": {"generateName": "e-"}}, namespace="ns")
    assert (len(api.objects(EVENTS)), len(api.objects(CORE_EVENTS))) == (1, 1)


@pytest.mark.parametrize(
    ("selector", "names"),
    [("spec.nodeName=a", ["p"]), ("spec.nodeName!=a", ["q", "r"]), ("spec.nodeName==b,status.x=", ["q"])],
)
def test_field_selectors_choose(api, selector, names):
    for name, spec in (("p", {"nodeName": "a"}), ("q", {"nodeName": "b"}), ("r", {})):
        api.put(PODS, {"metadata": {"name": name, "namespace": "ns"}, "spec": spec})
    found = api.kube().list(PODS, field_selector=selector)["items"]
    assert [item["metadata"]["name"] for item in found] == names


@pytest.mark.parametrize("selector", ["a in (b)", "!a=b", "a=b=c"])
def test_a_label_selector_that_it_does_not_know_is_refused_and_not_ignored(api, selector):
    api.put(PODS, BOUND)
    with pytest.raises(KubeError, match="the fake API knows labels"):
        api.kube().delete_collection(PODS, namespace="ns", label_selector=selector)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("a", ["p", "q"]),
        ("!a", ["r"]),
        ("a=1", ["p"]),
        ("a==1", ["p"]),
        ("a!=1", ["q", "r"]),
        ("a,a!=1", ["q"]),
    ],
)
def test_objects_are_chosen_by_their_labels(api, selector, names):
    for name, labels in (("p", {"a": "1"}), ("q", {"a": "2"}), ("r", {})):
        api.put(PODS, {"metadata": {"name": name, "namespace": "ns", "labels": labels}})
    found = api.kube().list(PODS, label_selector=selector)["items"]
    assert [item["metadata"]["name"] for item in found] == names


def test_a_watch_by_labels_tells_of_an_object_that_leaves_as_deleted(api):
    kube, told = api.kube(), []
    seen = threading.Event()

    def note(kind, item):
        told.append((kind, item["metadata"]["name"]))
        seen.set()

    api.put(NODES, {"metadata": {"name": "n", "labels": {"a": "1"}}})
    reflector = Reflector(kube, NODES, label_selector="a", on_change=note)
    reflector.start()
    try:
        assert reflector.synced.wait(10)
        for labels in ({"a": None}, {"a": "2"}):
            seen.clear()
            kube.patch(NODES, "n", {"metadata": {"labels": labels}})
            assert seen.wait(10)
    finally:
        reflector.stop()
    assert told == [("ADDED", "n"), ("DELETED", "n"), ("ADDED", "n")]


def test_a_finalizer_keeps_an_object_until_it_is_taken_away(api):
    kube = api.kube()
    api.put(NODES, {"metadata": {"name": "n", "finalizers": ["a/b", "c/d"]}})
    kube.delete(NODES, "n")
    marked = kube.get(NODES, "n")["metadata"]["deletionTimestamp"]
    kube.patch(NODES, "n", {"metadata": {"finalizers": ["c/d"]}})
    assert kube.get(NODES, "n")["metadata"]["deletionTimestamp"] == marked
    kube.patch(NODES, "n", {"metadata": {"finalizers": []}})
    with pytest.raises(NotFound):
        kube.get(NODES, "n")


def test_a_patch_may_insist_on_a_version(api):
    kube = api.kube()
    old = api.put(NODES, {"metadata": {"name": "n"}})["metadata"]["resourceVersion"]
    kube.patch(NODES, "n", {"metadata": {"resourceVersion": old, "labels": {"a": "1"}}})
    with pytest.raises(Conflict):
        kube.patch(NODES, "n", {"metadata": {"resourceVersion": old, "labels": {"a": "2"}}})


def test_what_tests_get_is_theirs_to_change(api):
    claim = allocated_claim("c", "gpu.example.com", [("gpu", "node-a", "gpu-0")])
    stored = api.put(RESOURCE_CLAIMS, claim)
    claim["spec"].clear()
    stored["status"].clear()
    api.objects(RESOURCE_CLAIMS)[0]["metadata"].clear()
    kept = api.kube().get(RESOURCE_CLAIMS, "c", namespace="default")
    assert kept["spec"]
    assert kept["status"]
    assert kept["metadata"]["uid"] == claim["metadata"]["uid"]


def test_faults_of_any_method_stay_until_they_are_taken_back(api):
    kube = api.kube()
    api.fail("*", "", 503, times=None)
    for _ in range(3):
        with pytest.raises(Unavailable, match="injected"):
            kube.list(NODES)
    with pytest.raises(Unavailable):
        kube.create(NODES, {"metadata": {"name": "n"}})
    api.faults.clear()
    assert kube.list(NODES)["items"] == []


def test_a_watch_from_version_0_begins_with_what_there_is_and_ends_in_time(api):
    api.put(NODES, {"metadata": {"name": "n"}})
    with api.kube().watch(NODES, resource_version="0", timeout_seconds=1) as watch:
        assert [(event.type, event.object["metadata"]["name"]) for event in watch] == [("ADDED", "n")]


def test_a_watch_tells_every_change_after_its_version_in_order(api):
    kube = api.kube()
    version = kube.list(PODS)["metadata"]["resourceVersion"]
    api.put(PODS, BOUND)
    api.put(NODES, {"metadata": {"name": "n"}})
    api.remove(PODS, "p", namespace="ns", grace_seconds=None)
    api.remove(PODS, "p", namespace="ns")
    with kube.watch(PODS, resource_version=version, field_selector="spec.nodeName=node-a") as watch:
        assert [next(watch).type for _ in range(3)] == ["ADDED", "MODIFIED", "DELETED"]


def test_old_changes_are_forgotten_and_the_last_ones_can_be_watched():
    store = Store(changes_kept=10)
    key = key_of(NODES, "n")
    versions = [int(store.put(key, {"metadata": {}})["metadata"]["resourceVersion"]) for _ in range(100)]

    events = list(store.follow(Selection(key.collection), versions[-11], 0))
    with pytest.raises(Refused, match="too old resource version"):
        next(store.follow(Selection(key.collection), versions[0], 0))

    assert [event.version for event in events] == versions[-10:]


def test_rubbish_is_a_bad_request(api):
    request = urllib.request.Request(f"{api.url}/api/v1/nodes", data=b"{", method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=5)
    caught.value.close()
    assert caught.value.code == 400


def test_a_kubeconfig_leads_to_it(api, tmp_path):
    kube = Kube.from_kubeconfig(api.kubeconfig(tmp_path / "config"))
    assert kube.server_version() >= (1, 34)
    with pytest.raises(NotFound):
        kube.get(NODES, "n")
    kube.create(NODES, {"metadata": {"name": "n"}})
    with pytest.raises(AlreadyExists):
        kube.create(NODES, {"metadata": {"name": "n"}})


CLIQUES = Resource("example.com", "v1", "cliques", "Clique", namespaced=True)


def apply_row(kube: Kube, node: str | None, manager: str, **metadata: object) -> dict:
    """Apply the row of a node, or none, with an owner of the manager's."""
    owners = [{"uid": manager, "name": manager, "kind": "Pod", "apiVersion": "v1"}]
    body = {"metadata": {"labels": {"of": "all"}, "ownerReferences": owners, **metadata}}
    rows = {"daemons": [{"nodeName": node, "index": 0}]} if node else {}
    return kube.patch(
        CLIQUES, "c", {**body, **rows}, namespace="ns", kind="apply", field_manager=manager, force=True
    )


def test_rows_that_two_managers_apply_stand_beside_each_other_and_go_alone(api):
    kube = api.kube()
    apply_row(kube, "node-a", "a")
    both = apply_row(kube, "node-b", "b")
    one = apply_row(kube, None, "a")
    none = apply_row(kube, None, "b")
    assert [row["nodeName"] for row in both["daemons"]] == ["node-a", "node-b"]
    assert one["daemons"] == [{"nodeName": "node-b", "index": 0}]
    assert not none.get("daemons")
    assert none["metadata"]["labels"] == {"of": "all"}
    assert [each["uid"] for each in none["metadata"]["ownerReferences"]] == ["a", "b"]


def test_what_two_managers_apply_stays_until_both_let_it_go(api):
    kube = api.kube()
    apply_row(kube, "node-a", "a")
    apply_row(kube, "node-a", "b")
    one = apply_row(kube, None, "a")
    assert [row["nodeName"] for row in one["daemons"]] == ["node-a"]
    assert not apply_row(kube, None, "b").get("daemons")


def test_an_apply_that_changes_nothing_is_no_write_and_one_for_another_uid_is_refused(api):
    kube = api.kube()
    first = apply_row(kube, "node-a", "a")
    again = apply_row(kube, "node-a", "a", uid=first["metadata"]["uid"])
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    with pytest.raises(Conflict):
        apply_row(kube, None, "a", uid="another")
    api.remove(CLIQUES, "c", namespace="ns")
    with pytest.raises(Conflict):
        apply_row(kube, None, "a", uid=first["metadata"]["uid"])
    assert api.objects(CLIQUES) == []
