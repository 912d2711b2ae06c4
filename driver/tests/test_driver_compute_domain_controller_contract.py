"""The ComputeDomain controller on a real API server: schema, finalizers, applied rows, events, leases."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from claimwright.dra.kube import (
    DAEMON_SETS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    RESOURCE_CLAIM_TEMPLATES,
    SERVICE_ACCOUNTS,
    Kube,
    NotFound,
    Resource,
    Unavailable,
)
from claimwright.driver.computedomain.controller import Controller, Election, ElectionSettings
from claimwright.driver.computedomain.resources import (
    CLIQUE,
    CLIQUES,
    COMPUTE_DOMAINS,
    DOMAIN,
    Member,
    clique_name,
    daemon_name,
)
from claimwright.driver.testing.definitions import install_definitions
from claimwright.driver.testing.domains import controller_settings

Value = TypeVar("Value")
FABRIC = "3f2c8a52-5f3a-4c5e-9d7e-0c1f2a3b4c5d.1"
pytestmark = pytest.mark.contract


def wait(fact: Callable[[], Value], *, seconds: float = 30.0) -> Value:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not (found := fact()):
        assert time.monotonic() < deadline, "the fact did not come true in time"
        pause.wait(0.05)
    return found


class Mortal(Kube):
    """A client whose process is killed at a write: just before it is sent, or just after."""

    lives = 1_000_000
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


@dataclass
class Cluster:
    """Two namespaces, the team's and the driver's, and what users, kubelets and daemons do in them."""

    kube: Kube
    team: str
    driver: str

    @contextmanager
    def controlling(self, *, kube: Kube | None = None, **settings: Any) -> Iterator[Controller]:
        controller = Controller(kube or self.kube, controller_settings(namespace=self.driver, **settings))
        controller.start()
        try:
            yield controller
        finally:
            controller.stop()

    def ask(self, name: str = "a", *, nodes: int = 0) -> str:
        spec = {"numNodes": nodes, "channel": {"resourceClaimTemplate": {"name": f"{name}-channel"}}}
        made = self.kube.create(
            COMPUTE_DOMAINS, {"metadata": {"name": name}, "spec": spec}, namespace=self.team
        )
        return str(made["metadata"]["uid"])

    def node(self, name: str, uid: str) -> str:
        """Create a node with the label, and a pod on it that a kubelet calls Ready."""
        full = f"{self.driver}-{name}"
        self.kube.create(NODES, {"metadata": {"name": full, "labels": {DOMAIN: uid}}})
        pod = {
            "metadata": {"name": full, "labels": {DOMAIN: uid, CLIQUE: FABRIC}},
            "spec": {"nodeName": full, "containers": [{"name": "daemon", "image": "driver:1"}]},
        }
        self.kube.create(PODS, pod, namespace=self.driver)
        ready = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
        self.kube.patch(PODS, full, {"status": ready}, namespace=self.driver, subresource="status")
        return full

    def apply(self, uid: str, *rows: Member, manager: str) -> dict[str, Any]:
        body = {
            "apiVersion": CLIQUES.api_version,
            "kind": CLIQUES.kind,
            "metadata": {"name": clique_name(uid, FABRIC), "labels": {DOMAIN: uid, CLIQUE: FABRIC}},
            "daemons": [row.row(named="nodeName") for row in rows],
        }
        name = clique_name(uid, FABRIC)
        return self.kube.patch(
            CLIQUES, name, body, namespace=self.driver, kind="apply", field_manager=manager
        )

    def rows(self, uid: str) -> list[str]:
        found = self.kube.get(CLIQUES, clique_name(uid, FABRIC), namespace=self.driver)
        return [row["nodeName"] for row in found.get("daemons") or ()]

    def status(self, name: str = "a") -> tuple[str, list[str]]:
        found = self.kube.get(COMPUTE_DOMAINS, name, namespace=self.team).get("status") or {}
        return found.get("status", ""), [row["name"] for row in found.get("nodes") or ()]

    def delete(self, name: str = "a") -> None:
        with suppress(NotFound):
            self.kube.delete(COMPUTE_DOMAINS, name, namespace=self.team)

    def left(self) -> list[str]:
        places: list[tuple[Resource, str | None]] = [
            (COMPUTE_DOMAINS, self.team), (RESOURCE_CLAIM_TEMPLATES, self.team),
            (RESOURCE_CLAIM_TEMPLATES, self.driver), (DAEMON_SETS, self.driver), (CLIQUES, self.driver),
        ]  # fmt: skip
        found = [
            (resource.plural, item)
            for resource, namespace in places
            for item in self.kube.list(resource, namespace=namespace)["items"]
        ]
        nodes = self.kube.list(NODES, label_selector=DOMAIN)["items"]
        mine = [("nodes", item) for item in nodes if item["metadata"]["name"].startswith(self.driver)]
        return [f"{plural}/{item['metadata']['name']}" for plural, item in (*found, *mine)]

    def end_pods(self) -> None:
        for item in self.kube.list(PODS, namespace=self.driver)["items"]:
            self.kube.delete(PODS, item["metadata"]["name"], namespace=self.driver, grace_seconds=0)


@pytest.fixture(scope="module")
def kube() -> Kube:
    given = os.environ.get("CLAIMWRIGHT_TEST_KUBECONFIG")
    if not given:
        pytest.skip("CLAIMWRIGHT_TEST_KUBECONFIG names no API server")
    found = Kube.from_kubeconfig(Path(given))
    install_definitions(found)
    return found


@pytest.fixture
def cluster(kube: Kube) -> Iterator[Cluster]:
    made = Cluster(kube, *(f"cd-{part}-{uuid.uuid4().hex[:8]}" for part in ("team", "driver")))
    for name in (made.team, made.driver):
        kube.create(NAMESPACES, {"metadata": {"name": name}})
    # Its own controller makes this account late, or never where none runs; pods are refused without it.
    with suppress(Exception):
        kube.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, namespace=made.driver)
    yield made
    made.end_pods()
    for item in kube.list(COMPUTE_DOMAINS, namespace=made.team)["items"]:
        made.delete(item["metadata"]["name"])
    with made.controlling():
        wait(lambda: made.left() == [])
    for item in kube.list(NODES)["items"]:
        if item["metadata"]["name"].startswith(made.driver):
            kube.delete(NODES, item["metadata"]["name"])
    for name in (made.team, made.driver):
        kube.delete(NAMESPACES, name)


def test_a_domain_lives_and_leaves_nothing(cluster: Cluster) -> None:
    uid = cluster.ask(nodes=2)
    with cluster.controlling():
        wait(lambda: cluster.status() == ("NotReady", []))
        nodes = [cluster.node(name, uid) for name in ("n1", "n2")]
        for index, node in enumerate(nodes):
            cluster.apply(uid, Member(node, "10.0.0.1", FABRIC, index, ready=True), manager=node)
        wait(lambda: cluster.status() == ("Ready", nodes))
        assert cluster.kube.get(DAEMON_SETS, daemon_name(uid), namespace=cluster.driver)
        cluster.kube.delete(COMPUTE_DOMAINS, "a", namespace=cluster.team)
        cluster.end_pods()
        wait(lambda: cluster.left() == [])


def test_a_dead_row_is_taken_out_and_the_others_stay_their_daemons_own(cluster: Cluster) -> None:
    uid = cluster.ask()
    with cluster.controlling():
        alive, dead = (cluster.node(name, uid) for name in ("n1", "n2"))
        for index, node in enumerate((alive, dead)):
            cluster.apply(uid, Member(node, "10.0.0.1", FABRIC, index, ready=True), manager=node)
        wait(lambda: cluster.status() == ("Ready", [alive, dead]))
        cluster.kube.delete(PODS, dead, namespace=cluster.driver, grace_seconds=0)
        wait(lambda: cluster.rows(uid) == [alive])
        wait(lambda: cluster.status() == ("Ready", [alive]))
    # Without force: the controller has not made itself the owner of anybody's row.
    cluster.apply(uid, Member(alive, "10.0.0.2", FABRIC, 0, ready=False), manager=alive)
    cluster.apply(uid, manager=alive)
    assert cluster.rows(uid) == []


def test_somebody_elses_template_is_left_alone_and_an_event_says_so(cluster: Cluster) -> None:
    request = {"name": "r", "exactly": {"deviceClassName": "theirs.example.com"}}
    theirs = {"metadata": {"name": "a-channel"}, "spec": {"spec": {"devices": {"requests": [request]}}}}
    cluster.kube.create(RESOURCE_CLAIM_TEMPLATES, theirs, namespace=cluster.team)
    uid = cluster.ask()
    with cluster.controlling():
        wait(lambda: cluster.status() == ("NotReady", []))
        (event,) = wait(lambda: cluster.kube.list(EVENTS, namespace=cluster.team)["items"])
        assert (event["reason"], event["regarding"]["uid"]) == ("NameTaken", uid)
        cluster.kube.delete(RESOURCE_CLAIM_TEMPLATES, "a-channel", namespace=cluster.team)
        wait(lambda: cluster.status() == ("Ready", []))


def test_a_new_image_reaches_the_daemon_set(cluster: Cluster) -> None:
    uid = cluster.ask()
    with cluster.controlling():
        wait(lambda: cluster.status() == ("Ready", []))
    with cluster.controlling(image_name="driver:2"):

        def image() -> str:
            found = cluster.kube.get(DAEMON_SETS, daemon_name(uid), namespace=cluster.driver)
            return str(found["spec"]["template"]["spec"]["containers"][0]["image"])

        wait(lambda: image() == "driver:2")


def test_an_idle_controller_writes_nothing(cluster: Cluster) -> None:
    uid = cluster.ask(nodes=1)
    node = cluster.node("n1", uid)
    cluster.apply(uid, Member(node, "10.0.0.1", FABRIC, 0, ready=True), manager=node)
    with cluster.controlling():
        wait(lambda: cluster.status() == ("Ready", [node]))
    counting = Mortal(cluster.kube._transport.credentials)
    with cluster.controlling(kube=counting) as second:
        wait(lambda: b"duration_seconds_count 0" not in second.metrics.exposition())
    assert counting.lives == Mortal.lives


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
def test_killed_at_any_write_the_next_controller_finishes(cluster: Cluster, answered: bool) -> None:
    lives, done = 0, False
    while not done:
        lives += 1
        name = f"d{lives}"
        cluster.ask(name)
        done = live_and_die(cluster, lives, lambda name=name: cluster.status(name)[0] == "Ready", answered)
        with cluster.controlling():
            wait(lambda name=name: cluster.status(name)[0] == "Ready")
        assert len(cluster.left()) == 4
        cluster.delete(name)
        done &= live_and_die(cluster, lives, lambda: cluster.left() == [], answered)
        with cluster.controlling():
            wait(lambda: cluster.left() == [])
    assert lives > 5


def live_and_die(cluster: Cluster, lives: int, fact: Callable[[], object], answered: bool) -> bool:
    """Run a controller that is killed at a write; True when its work was done before."""
    kube = Mortal(cluster.kube._transport.credentials)
    kube.lives, kube.answered = lives, answered
    with cluster.controlling(kube=kube):
        wait(lambda: kube.lives <= 0 or fact())
    return kube.lives > 0


async def test_a_lease_is_held_and_given_up(cluster: Cluster) -> None:
    settings = ElectionSettings(cluster.driver, "lease", lease_seconds=600, renew_seconds=500)
    first, second = (Election(cluster.kube, settings, name) for name in ("one", "two"))
    await first.lead()
    assert not await second._holds()
    assert await first._holds()
    await first.resign()
    await second.lead()

    found = cluster.kube.get(LEASES, "lease", namespace=cluster.driver)["spec"]
    assert (found["holderIdentity"], found["leaseTransitions"]) == (second.identity, 1)
