"""The controller of ComputeDomains from outside: what it makes, tells and takes away, and what no failure changes."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import pytest

from claimwright.dra.kube import (
    DAEMON_SETS,
    EVENTS,
    NODES,
    PODS,
    RESOURCE_CLAIM_TEMPLATES,
    Kube,
    NotFound,
    Resource,
    Unavailable,
)
from claimwright.dra.testing import FakeApi
from claimwright.driver.computedomain.controller import Controller
from claimwright.driver.computedomain.resources import (
    CLIQUES,
    COMPUTE_DOMAINS,
    DOMAIN,
    HOST_MANAGED,
    TARGET,
    Member,
    daemon_name,
)
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.testing.domains import (
    FABRIC,
    NAMESPACE,
    controller_settings,
    put_daemon,
    put_domain,
    put_rows,
)

Value = TypeVar("Value")
OWNED = (DAEMON_SETS, RESOURCE_CLAIM_TEMPLATES, CLIQUES)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as running:
        yield running


@contextmanager
def controlling(api: FakeApi, *, kube: Kube | None = None, **settings: Any) -> Iterator[Controller]:
    controller = Controller(kube or api.kube(), controller_settings(**settings))
    controller.start()
    try:
        yield controller
    finally:
        controller.stop()


def wait(fact: Callable[[], Value], *, seconds: float = 20.0) -> Value:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not (found := fact()):
        assert time.monotonic() < deadline, "the fact did not come true in time"
        pause.wait(0.01)
    return found


@contextmanager
def deaf(api: FakeApi, plural: str) -> Iterator[None]:
    """Keep changes of a kind from the controller, until the end and a moment of its own after that."""
    asked = rf"/{plural}\?.*watch=true"
    begun = sum(bool(re.search(asked, path)) for _, path in api.requests)
    fault = api.fail("GET", asked, 500, times=None)
    api.drop_watches()
    wait(lambda: sum(bool(re.search(asked, path)) for _, path in api.requests) > begun)
    yield
    api.faults.remove(fault)


def domain(api: FakeApi, name: str = "a") -> dict[str, Any]:
    return next(item for item in api.objects(COMPUTE_DOMAINS) if item["metadata"]["name"] == name)


def status(api: FakeApi, name: str = "a") -> tuple[str, tuple[str, ...]]:
    """Return the status, and the nodes that are Ready."""
    found = domain(api, name).get("status") or {"status": "", "nodes": []}
    return found["status"], tuple(row["name"] for row in found["nodes"] if row["status"] == "Ready")


def names(api: FakeApi, resource: Resource) -> list[str]:
    return [item["metadata"]["name"] for item in api.objects(resource)]


def left(api: FakeApi) -> list[str]:
    """Name all that may be left of domains."""
    labelled = [
        item["metadata"]["name"]
        for item in api.objects(NODES)
        if DOMAIN in item["metadata"].get("labels", {})
    ]
    return [*names(api, COMPUTE_DOMAINS), *(name for each in OWNED for name in names(api, each)), *labelled]


def fields(item: dict[str, Any]) -> dict[str, Any]:
    (config,) = item["spec"]["spec"]["devices"]["config"]
    return config["opaque"]["parameters"]


def reasons(api: FakeApi) -> list[str]:
    return [item["reason"] for item in api.objects(EVENTS)]


def test_a_domain_gets_daemons_and_a_template_and_is_held(api: FakeApi) -> None:
    uid = put_domain(api, mode="All")

    with controlling(api):
        wait(lambda: status(api) == ("Ready", ()))

    assert domain(api)["metadata"]["finalizers"] == [DOMAIN]
    assert names(api, DAEMON_SETS) == [daemon_name(uid)]
    daemons, workload = api.objects(RESOURCE_CLAIM_TEMPLATES)
    assert (daemons["metadata"]["namespace"], daemons["metadata"]["name"]) == (NAMESPACE, daemon_name(uid))
    assert (workload["metadata"]["namespace"], workload["metadata"]["name"]) == ("team", "channel")
    assert fields(workload)["allocationMode"] == "All"


def test_a_domain_takes_five_writes_and_its_end_eight_or_few_more(api: FakeApi) -> None:
    put_domain(api)
    with controlling(api):
        wait(lambda: status(api) == ("Ready", ()))
        made = len(api.writes())
        api.kube().delete(COMPUTE_DOMAINS, "a", namespace="team")
        wait(lambda: left(api) == [])

    # A look at a cache that has not heard of the last write yet writes once more, and is refused by the version.
    assert 5 <= made <= 7  # finalizer, daemon set, two templates, status
    assert 8 <= len(api.writes()) - made <= 12  # the user's, two for each object, finalizer


def test_a_second_look_writes_nothing(api: FakeApi) -> None:
    uid = put_domain(api, nodes=1)
    put_daemon(api, uid, "n1", clique=FABRIC)
    put_rows(api, uid, "n1")
    with controlling(api):
        wait(lambda: status(api) == ("Ready", ("n1",)))
    written = len(api.writes())

    with controlling(api) as second:
        wait(lambda: b"reconcile_duration_seconds_count 0" not in second.metrics.exposition())

    assert api.writes()[written:] == []


def test_a_domain_is_ready_when_all_its_nodes_are(api: FakeApi) -> None:
    uid = put_domain(api, nodes=2)
    with controlling(api):
        wait(lambda: status(api) == ("NotReady", ()))
        put_daemon(api, uid, "n1", clique=FABRIC)
        put_daemon(api, uid, "n2", clique="")  # without a fabric
        put_rows(api, uid, "n1")
        wait(lambda: status(api) == ("Ready", ("n2", "n1")))
        rows = {row["name"]: row for row in domain(api)["status"]["nodes"]}
        put_daemon(api, uid, "n2", clique="", ready=False)
        wait(lambda: status(api) == ("NotReady", ("n1",)))

    assert (rows["n1"]["cliqueID"], rows["n1"]["index"]) == (FABRIC, 0)
    assert (rows["n2"]["cliqueID"], rows["n2"]["index"]) == ("", -1)


def test_a_row_that_says_ready_is_not_believed_when_its_pod_is_not(api: FakeApi) -> None:
    uid = put_domain(api, nodes=1)
    put_rows(api, uid, "n1", ready=True)
    put_daemon(api, uid, "n1", clique=FABRIC, ready=False)

    with controlling(api):
        wait(lambda: domain(api).get("status", {}).get("nodes"))

    assert status(api) == ("NotReady", ())


def test_the_row_of_a_daemon_that_was_killed_is_taken_out(api: FakeApi) -> None:
    uid = put_domain(api)
    for node in ("n1", "n2"):
        put_daemon(api, uid, node, clique=FABRIC)
    put_rows(api, uid, "n1", "n2")
    with controlling(api):
        wait(lambda: status(api) == ("Ready", ("n1", "n2")))
        api.remove(PODS, "daemon-n1", namespace=NAMESPACE)
        wait(lambda: [row["nodeName"] for row in api.objects(CLIQUES)[0]["daemons"]] == ["n2"])
        wait(lambda: status(api) == ("Ready", ("n2",)))


def put_status(api: FakeApi, *nodes: str, ready: bool = True) -> None:
    """Write rows into the status of the domain, as daemons do without cliques."""
    rows = [
        Member(node, "10.0.0.1", FABRIC, index, ready).row(named="name") for index, node in enumerate(nodes)
    ]
    api.put(COMPUTE_DOMAINS, {**domain(api), "status": {"status": "NotReady", "nodes": rows}})


def test_without_cliques_the_rows_in_the_status_count_and_stay_as_written(api: FakeApi) -> None:
    uid = put_domain(api, nodes=2)
    put_daemon(api, uid, "n1", clique=FABRIC)
    put_daemon(api, uid, "n2", clique=FABRIC, ready=False)
    put_daemon(api, uid, "n3", clique="")
    put_status(api, "n1", "n2", "gone")
    with controlling(api, feature_gates=FeatureGates.parse("ComputeDomainCliques=false")):
        wait(
            lambda: status(api) == ("NotReady", ("n3", "n1", "n2"))
        )  # n2's pod is not ready: its row is its own
        put_daemon(api, uid, "n2", clique=FABRIC)
        wait(lambda: status(api) == ("Ready", ("n3", "n1", "n2")))
        api.remove(PODS, "daemon-n1", namespace=NAMESPACE)
        wait(lambda: status(api) == ("Ready", ("n3", "n2")))


def test_a_row_in_the_status_stays_whose_pod_was_not_heard_of_yet(api: FakeApi) -> None:
    uid = put_domain(api)
    with controlling(api, feature_gates=FeatureGates.parse("ComputeDomainCliques=false")):
        wait(lambda: status(api) == ("Ready", ()))
        with deaf(api, "pods"):
            put_daemon(api, uid, "n1", clique=FABRIC)
            put_status(api, "n1")
            wait(lambda: status(api) == ("Ready", ("n1",)))


def test_a_row_stays_whose_pod_was_not_heard_of_yet(api: FakeApi) -> None:
    uid = put_domain(api)
    with controlling(api):
        wait(lambda: status(api) == ("Ready", ()))
        with deaf(api, "pods"):
            put_daemon(api, uid, "n1", clique=FABRIC)
            put_rows(api, uid, "n1")
            # It has looked at the pods themselves before it believed its cache.
            asked = f"/pods?labelSelector=resource.nvidia.com%2FcomputeDomain%3D{uid}"
            wait(lambda: any(asked in path for _, path in api.requests))
            assert [row["nodeName"] for row in api.objects(CLIQUES)[0]["daemons"]] == ["n1"]
        wait(lambda: status(api) == ("Ready", ("n1",)))


def test_somebody_elses_template_is_left_alone_and_the_domain_says_so(api: FakeApi) -> None:
    theirs = {"metadata": {"name": "channel", "namespace": "team"}, "spec": {"theirs": True}}
    api.put(RESOURCE_CLAIM_TEMPLATES, theirs)
    put_domain(api)
    with controlling(api):
        wait(lambda: status(api) == ("NotReady", ()))
        (event,) = wait(lambda: api.objects(EVENTS))
        assert next(
            item["spec"]
            for item in api.objects(RESOURCE_CLAIM_TEMPLATES)
            if item["metadata"]["name"] == "channel"
        ) == {"theirs": True}
        api.remove(RESOURCE_CLAIM_TEMPLATES, "channel", namespace="team")
        wait(lambda: status(api) == ("Ready", ()))
        wait(lambda: reasons(api).count("Recovered"))

    assert (event["reason"], event["type"], event["regarding"]["name"]) == ("NameTaken", "Warning", "a")
    assert "ResourceClaimTemplate team/channel was not made for a ComputeDomain" in event["note"]
    assert sorted(reasons(api)) == ["NameTaken", "Recovered"]


def test_of_two_domains_that_name_one_template_the_second_waits(api: FakeApi) -> None:
    first = put_domain(api, "a")
    with controlling(api):
        wait(lambda: status(api) == ("Ready", ()))
        second = put_domain(api, "b")
        wait(lambda: status(api, "b") == ("NotReady", ()))
        (event,) = wait(lambda: api.objects(EVENTS))
        assert first in event["note"]
        api.kube().delete(COMPUTE_DOMAINS, "a", namespace="team")
        wait(lambda: status(api, "b") == ("Ready", ()))

    (workload,) = (
        item for item in api.objects(RESOURCE_CLAIM_TEMPLATES) if item["metadata"]["name"] == "channel"
    )
    assert fields(workload)["domainID"] == second


@pytest.mark.parametrize("resource", [DAEMON_SETS, RESOURCE_CLAIM_TEMPLATES], ids=lambda each: each.plural)
def test_what_somebody_deletes_comes_back(api: FakeApi, resource: Resource) -> None:
    put_domain(api)
    with controlling(api):
        wait(lambda: status(api) == ("Ready", ()))
        old = api.objects(resource)[-1]["metadata"]
        api.kube().delete(resource, old["name"], namespace=old["namespace"])
        wait(
            lambda: any(
                item["metadata"]["name"] == old["name"] and item["metadata"]["uid"] != old["uid"]
                for item in api.objects(resource)
            )
        )


def test_labels_and_finalizers_that_somebody_takes_away_come_back(api: FakeApi) -> None:
    put_domain(api)
    with controlling(api):
        wait(lambda: status(api) == ("Ready", ()))
        bare = {"metadata": {"finalizers": ["x/y"], "labels": {TARGET: None}}}
        api.kube().patch(RESOURCE_CLAIM_TEMPLATES, "channel", bare, namespace="team")
        found = wait(
            lambda: [
                item["metadata"]
                for item in api.objects(RESOURCE_CLAIM_TEMPLATES)
                if item["metadata"]["name"] == "channel" and TARGET in item["metadata"]["labels"]
            ]
        )
    assert found[0]["finalizers"] == ["x/y", DOMAIN]


def test_a_deleted_domain_leaves_nothing_and_goes_last(api: FakeApi) -> None:
    uid = put_domain(api)
    for node in ("n1", "n2"):
        put_daemon(api, uid, node, clique=FABRIC)
    put_rows(api, uid, "n1", "n2")
    with controlling(api):
        wait(lambda: status(api) == ("Ready", ("n1", "n2")))
        before = len(api.writes())
        api.kube().delete(COMPUTE_DOMAINS, "a", namespace="team")
        wait(lambda: names(api, COMPUTE_DOMAINS) == [])
        # The daemons end later, and the last thing that they touch goes with the last of them.
        for node in ("n1", "n2"):
            api.remove(PODS, f"daemon-{node}", namespace=NAMESPACE)
        wait(lambda: left(api) == [])

    paths = [path for method, path in api.writes()[before:] if method in ("PATCH", "DELETE")]
    # The first is the user's own.
    assert paths[1].endswith("/resourceclaimtemplates/channel")
    last = max(index for index, path in enumerate(paths) if path.endswith("/computedomains/a"))
    assert all("cliques" in path for path in paths[last + 1 :])


def test_a_domain_that_goes_does_not_wait_for_pods_of_a_dead_node(api: FakeApi) -> None:
    uid = put_domain(api)
    put_daemon(api, uid, "n1", clique=FABRIC)
    with controlling(api):
        wait(lambda: names(api, DAEMON_SETS))
        api.kube().delete(COMPUTE_DOMAINS, "a", namespace="team")
        wait(lambda: names(api, COMPUTE_DOMAINS) == [])

    assert names(api, PODS) == ["daemon-n1"]
    assert left(api) == []


def test_a_template_that_another_team_labelled_does_not_hold_the_domain(api: FakeApi) -> None:
    uid = put_domain(api)
    labels = {DOMAIN: uid, TARGET: "Workload"}
    metadata = {"name": "trap", "namespace": "others", "labels": labels, "finalizers": ["theirs/for-ever"]}
    api.put(RESOURCE_CLAIM_TEMPLATES, {"metadata": metadata, "spec": {}})
    with controlling(api):
        wait(lambda: status(api) == ("Ready", ()))
        api.kube().delete(COMPUTE_DOMAINS, "a", namespace="team")
        wait(lambda: left(api) == ["trap"])


def put_traces(api: FakeApi, uid: str) -> None:
    for resource, namespace, target in (
        (DAEMON_SETS, NAMESPACE, None),
        (RESOURCE_CLAIM_TEMPLATES, NAMESPACE, "Daemon"),
        (RESOURCE_CLAIM_TEMPLATES, "team", "Workload"),
    ):
        labels = {DOMAIN: uid} | ({TARGET: target} if target else {})
        metadata = {"name": f"trace-{uid}", "namespace": namespace, "labels": labels, "finalizers": [DOMAIN]}
        api.put(resource, {"metadata": metadata, "spec": {}})
    api.put(NODES, {"metadata": {"name": f"node-{uid}", "labels": {DOMAIN: uid, "other": "label"}}})
    put_rows(api, uid, f"node-{uid}")


def test_traces_of_a_domain_that_nobody_knows_are_removed(api: FakeApi) -> None:
    put_traces(api, "gone")
    theirs = {"name": "theirs", "namespace": "team", "labels": {DOMAIN: "gone"}}
    api.put(RESOURCE_CLAIM_TEMPLATES, {"metadata": theirs, "spec": {}})
    with controlling(api):
        wait(lambda: left(api) == ["theirs"])

    assert api.objects(NODES)[0]["metadata"]["labels"] == {"other": "label"}


def test_traces_that_come_late_are_removed_as_they_come(api: FakeApi) -> None:
    put_domain(api)
    with controlling(api):
        wait(lambda: status(api) == ("Ready", ()))
        kept = left(api)
        put_traces(api, "late")
        wait(lambda: left(api) == kept)


def test_a_domain_that_the_cache_has_not_seen_keeps_what_it_has(api: FakeApi) -> None:
    with controlling(api):
        wait(lambda: api.watches >= 6)
        with deaf(api, "computedomains"):
            uid = put_domain(api)
            put_traces(api, uid)
            wait(lambda: sum("/computedomains?limit" in path for _, path in api.requests) >= 2)
            assert len([name for name in left(api) if uid in name]) == 5
        wait(lambda: status(api)[0])


def test_a_node_that_is_in_another_domain_now_keeps_its_label(api: FakeApi) -> None:
    uid = put_domain(api, "a", template="one")
    other = put_domain(api, "b", template="two")
    put_daemon(api, uid, "n1")
    with controlling(api):
        wait(lambda: status(api) == ("Ready", ("n1",)))
        with deaf(api, "nodes"):
            api.put(NODES, {"metadata": {"name": "n1", "labels": {DOMAIN: other}}})
            api.kube().delete(COMPUTE_DOMAINS, "a", namespace="team")
            wait(lambda: [path for method, path in api.writes() if method == "PATCH" and "/nodes/" in path])
        wait(lambda: names(api, COMPUTE_DOMAINS) == ["b"])

    assert api.objects(NODES)[0]["metadata"]["labels"] == {DOMAIN: other}


def test_with_imex_on_the_host_there_is_a_template_only(api: FakeApi) -> None:
    uid = put_domain(api, nodes=3, mode="All")
    put_traces(api, uid)  # of a time when the driver ran the daemons
    gates = FeatureGates.parse("HostManagedIMEXDaemon=true")
    with controlling(api, imex_mode=HOST_MANAGED, feature_gates=gates):
        wait(lambda: status(api) == ("Ready", ()))
        wait(lambda: not names(api, DAEMON_SETS) and f"node-{uid}" not in left(api))

    made = {item["metadata"]["name"]: item for item in api.objects(RESOURCE_CLAIM_TEMPLATES)}
    assert fields(made["channel"])["allocationMode"] == "Single"
    assert daemon_name(uid) not in made


def test_daemons_in_a_namespace_of_before_are_used_and_stay_as_they_are(api: FakeApi) -> None:
    uid = put_domain(api)
    old = {"name": "of-before", "namespace": "old", "labels": {DOMAIN: uid}, "finalizers": [DOMAIN]}
    api.put(DAEMON_SETS, {"metadata": old, "spec": {"of": "before"}})
    with controlling(api, additional_namespaces=("old",)):
        wait(lambda: status(api) == ("Ready", ()))

    (kept,) = api.objects(DAEMON_SETS)
    assert kept["spec"] == {"of": "before"}
    places = {item["metadata"]["namespace"] for item in api.objects(RESOURCE_CLAIM_TEMPLATES)}
    assert places == {"old", "team"}


def test_a_new_image_reaches_the_daemon_set(api: FakeApi) -> None:
    put_domain(api)
    with controlling(api):
        wait(lambda: status(api) == ("Ready", ()))
    with controlling(api, image_name="driver:2"):
        wait(
            lambda: (
                api.objects(DAEMON_SETS)[0]["spec"]["template"]["spec"]["containers"][0]["image"]
                == "driver:2"
            )
        )


def test_an_api_server_that_was_away_is_caught_up_with(api: FakeApi) -> None:
    uid = put_domain(api, nodes=1)
    with controlling(api):
        wait(lambda: status(api) == ("NotReady", ()))
        down = api.fail("*", "", 503, times=None)
        api.drop_watches(forget=True)
        put_daemon(api, uid, "n1", clique=FABRIC)
        put_rows(api, uid, "n1")
        wait(lambda: sum("watch=true" in path for _, path in api.requests) > 12)
        api.faults.remove(down)
        wait(lambda: status(api) == ("Ready", ("n1",)), seconds=40)


def test_what_is_forbidden_is_told_at_the_domain_and_tried_again(api: FakeApi) -> None:
    quota = api.fail("POST", "/daemonsets", 403, times=None, reason="Forbidden")
    put_domain(api)
    with controlling(api):
        (event,) = wait(lambda: api.objects(EVENTS))
        api.faults.remove(quota)
        wait(lambda: names(api, DAEMON_SETS))

    assert (event["reason"], event["type"]) == ("Failed", "Warning")
    assert "daemonsets" in event["note"]


def test_two_controllers_at_once_make_and_remove_the_same(api: FakeApi) -> None:
    with controlling(api), controlling(api):
        uid = put_domain(api)
        put_daemon(api, uid, "n1", clique=FABRIC)
        put_rows(api, uid, "n1")
        wait(lambda: status(api) == ("Ready", ("n1",)))
        assert sorted(names(api, RESOURCE_CLAIM_TEMPLATES)) == ["channel", daemon_name(uid)]
        api.kube().delete(COMPUTE_DOMAINS, "a", namespace="team")
        api.remove(PODS, "daemon-n1", namespace=NAMESPACE)
        wait(lambda: left(api) == [])


class Mortal(Kube):
    """A client whose process is killed at a write: just before it is sent, or just after."""

    lives = 0
    answered = False

    def _json(self, method: str, path: str, *arguments: Any, **named: Any) -> dict[str, Any]:
        if method == "GET":
            return super()._json(method, path, *arguments, **named)
        self.lives -= 1
        if self.lives == 0 and self.answered:
            super()._json(method, path, *arguments, **named)
        if self.lives <= 0:
            raise Unavailable(0, "Killed", f"{method} {path}: this process is dead")
        return super()._json(method, path, *arguments, **named)


def mortal(api: FakeApi, lives: int, *, answered: bool) -> Mortal:
    kube = Mortal(api.kube()._transport.credentials)
    kube.lives, kube.answered = lives, answered
    return kube


def live_and_die(api: FakeApi, lives: int, fact: Callable[[], object], *, answered: bool) -> bool:
    """Run a controller that is killed at a write; True when its work was done before."""
    kube = mortal(api, lives, answered=answered)
    with controlling(api, kube=kube):
        wait(lambda: kube.lives <= 0 or fact())
    return kube.lives > 0


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
def test_killed_at_any_write_the_next_controller_finishes(answered: bool) -> None:
    lives, done = 0, False
    while not done:
        lives += 1
        with FakeApi() as api:
            uid = put_domain(api, nodes=1)
            put_daemon(api, uid, "n1", clique=FABRIC)
            put_rows(api, uid, "n1", "n2")
            made = live_and_die(api, lives, lambda: _whole(api), answered=answered)
            with controlling(api):
                wait(lambda: _whole(api))
            with suppress(NotFound):
                api.kube().delete(COMPUTE_DOMAINS, "a", namespace="team")
            api.remove(PODS, "daemon-n1", namespace=NAMESPACE)
            removed = live_and_die(api, lives, lambda: left(api) == [], answered=answered)
            with controlling(api):
                wait(lambda: left(api) == [])
            done = made and removed
    assert lives > 6


def _whole(api: FakeApi) -> bool:
    rows = [row["nodeName"] for item in api.objects(CLIQUES) for row in item["daemons"]]
    templates = [item["metadata"]["finalizers"] for item in api.objects(RESOURCE_CLAIM_TEMPLATES)]
    return (
        status(api) == ("Ready", ("n1",))
        and rows == ["n1"]
        and templates == [[DOMAIN]] * 2
        and len(names(api, DAEMON_SETS)) == 1
    )
