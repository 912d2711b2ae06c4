"""The parts of the ComputeDomain controller alone: who is in a domain, what is looked at when, who leads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimwright.dra.kube import LEASES
from claimwright.dra.testing import FakeApi
from claimwright.driver.computedomain.controller import (
    Controller,
    Election,
    ElectionSettings,
    LeadershipLost,
)
from claimwright.driver.computedomain.controller.membership import (
    DaemonPod,
    is_ready,
    members_of,
    pods_of,
    stale_rows,
)
from claimwright.driver.computedomain.controller.work_queue import WorkQueue
from claimwright.driver.computedomain.resources import Clique, ComputeDomain, Member
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.testing import HandClock
from claimwright.driver.testing.domains import controller_settings, put_domain

NODES = st.sampled_from(["n1", "n2", "n3"])
ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2"])
CLIQUE_IDS = st.sampled_from(["c.1", "c.2"])
MEMBERS = st.builds(Member, NODES, ADDRESSES, CLIQUE_IDS, st.integers(0, 3), st.booleans())
PODS = st.lists(
    st.builds(
        DaemonPod, NODES, ADDRESSES, st.none() | st.just("") | CLIQUE_IDS, st.booleans(), st.booleans()
    ),
    unique_by=lambda pod: pod.node,
    max_size=3,
)
CLIQUES = st.lists(
    st.builds(
        Clique,
        CLIQUE_IDS,
        st.just("uid"),
        st.lists(MEMBERS, unique_by=lambda row: row.node, max_size=3).map(tuple),
    ),
    unique_by=lambda clique: clique.name,
    max_size=2,
)


@given(CLIQUES, PODS)
def test_a_member_has_a_pod_and_is_ready_only_if_that_is(
    cliques: list[Clique], pods: list[DaemonPod]
) -> None:
    members = members_of(cliques, pods)

    places = {pod.node: pod for pod in pods}
    assert len({member.node for member in members}) == len(members)
    assert {member.node for member in members} <= places.keys()
    assert all(places[member.node].ready for member in members if member.ready)
    assert all((member.index == -1) == (member.clique == "") for member in members)


@given(CLIQUES, PODS)
def test_rows_are_stale_or_count(cliques: list[Clique], pods: list[DaemonPod]) -> None:
    for clique in cliques:
        stale = stale_rows(clique, pods)
        counted = {member.node for member in members_of([clique], pods) if member.index >= 0}
        alone = {pod.node for pod in pods if pod.clique == ""}
        assert stale | counted == {row.node for row in clique.members}
        assert not (stale & counted)
        assert not (counted & alone)


@given(CLIQUES, PODS, st.randoms())
def test_the_order_of_what_is_read_does_not_matter(
    cliques: list[Clique], pods: list[DaemonPod], chance: Any
) -> None:
    # A node in two cliques whose pod has not told yet is the one case that only the pod can decide.
    told = [replace(pod, clique=pod.clique or "") for pod in pods]
    before = members_of(cliques, told)
    chance.shuffle(cliques)
    chance.shuffle(told)

    assert members_of(cliques, told) == before


def test_a_pod_without_a_node_or_with_containers_that_ended_counts_for_nothing() -> None:
    items: list[dict[str, Any]] = [
        {"metadata": {}, "spec": {}},
        {"metadata": {}, "spec": {"nodeName": "n1"}, "status": {"phase": "Failed"}},
        {"metadata": {}, "spec": {"nodeName": "n2"}},
    ]

    assert [pod.node for pod in pods_of(items)] == ["n2"]


@pytest.mark.parametrize(
    ("wanted", "ready", "answer"),
    [(0, [], True), (1, [], False), (1, [True], True), (1, [True, False], False), (2, [True], False)],
)
def test_a_domain_is_ready_with_enough_nodes_that_are_all_well(
    wanted: int, ready: list[bool], answer: bool
) -> None:
    domain = ComputeDomain("team", "a", "uid", "channel", num_nodes=wanted)
    members = [Member(f"n{index}", "", "", -1, each) for index, each in enumerate(ready)]

    assert is_ready(domain, members) is answer


def test_a_key_is_taken_once_and_again_when_it_was_added_in_between() -> None:
    queue = WorkQueue()
    queue.add("a")
    queue.add("a")
    assert queue.take() == "a"
    queue.add("a")
    queue.add("b")
    assert queue.take() == "b"  # a is still worked on
    queue.done("a")
    assert queue.take() == "a"
    queue.done("a")
    queue.close()
    assert queue.take() is None


def test_a_failed_key_comes_back_later_and_later_and_not_before_others() -> None:
    clock = HandClock()
    queue = WorkQueue(clock.now)
    pauses = []
    queue.add("bad")
    for _ in range(12):
        assert queue.take() == "bad"
        queue.done("bad", failed=True)
        queue.add("good")
        assert queue.take() == "good"
        queue.done("good")
        pauses.append(queue._later["bad"] - clock.now())
        clock.advance(pauses[-1])
    assert pauses[0] <= 0.1
    assert pauses[5] > pauses[0]
    assert all(15 <= pause <= 30 for pause in pauses[-2:])
    queue.take()
    queue.done("bad")
    queue.add("bad")
    queue.take()
    queue.done("bad", failed=True)
    assert queue._later["bad"] - clock.now() <= 0.1


def test_a_closed_queue_sends_waiting_workers_home() -> None:
    queue = WorkQueue()
    workers = [threading.Thread(target=queue.take) for _ in range(3)]
    for worker in workers:
        worker.start()
    queue.close()
    for worker in workers:
        worker.join(10)
        assert not worker.is_alive()


def test_nothing_is_decided_before_everything_was_read() -> None:
    with FakeApi() as api:
        put_domain(api)
        api.fail("GET", "/computedomaincliques", 500, times=None)
        controller = Controller(api.kube(), controller_settings())
        controller.start()
        try:
            deadline = time.monotonic() + 20
            while len(controller.unread()) > 1:
                assert time.monotonic() < deadline
            assert controller.unread() == ["computedomaincliques of driver cannot be read yet"]
            assert controller.dead() == []
        finally:
            controller.stop()
        assert api.writes() == []


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as running:
        yield running


TIMES = ElectionSettings("driver", "lease", lease_seconds=0.6, renew_seconds=0.3, retry_seconds=0.02)


async def within(waiting: Any, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        await waiting


def lease(api: FakeApi) -> dict[str, Any]:
    (found,) = api.objects(LEASES)
    return found["spec"]


async def test_one_leads_and_the_next_follows_as_soon_as_it_resigns(api: FakeApi) -> None:
    settings = replace(TIMES, lease_seconds=600, renew_seconds=500)
    first, second = (Election(api.kube(), settings, name) for name in ("one", "two"))
    await within(first.lead())
    waiting = asyncio.create_task(second.lead())
    await within(first._holds())
    assert lease(api)["holderIdentity"] == first.identity
    assert not waiting.done()
    await first.resign()
    await within(waiting)

    assert lease(api)["holderIdentity"] == second.identity
    assert lease(api)["leaseTransitions"] >= 1


async def test_one_that_was_killed_is_followed_when_its_lease_has_ended(api: FakeApi) -> None:
    await within(Election(api.kube(), TIMES, "killed").lead())
    clock = HandClock()
    next_one = Election(api.kube(), TIMES, "next", now=clock.now)
    assert not await next_one._holds()
    clock.advance(TIMES.lease_seconds)
    assert not await next_one._holds()
    clock.advance(0.1)
    assert await next_one._holds()


async def test_one_that_renews_is_never_followed_however_its_clock_goes(api: FakeApi) -> None:
    leader, clock = Election(api.kube(), TIMES, "leader"), HandClock()
    other = Election(api.kube(), TIMES, "other", now=clock.now)
    for _ in range(5):
        assert await leader._holds()
        assert not await other._holds()
        clock.advance(TIMES.lease_seconds * 10)


async def test_one_that_cannot_renew_ends_before_its_lease_does(api: FakeApi) -> None:
    leader = Election(api.kube(), TIMES, "leader")
    await within(leader.lead())
    api.fail("*", "/leases", 500, times=None)

    with pytest.raises(LeadershipLost, match=r"could not be renewed for 0\.3 s"):
        await within(leader.keep())


async def test_one_whose_lease_another_holds_ends_at_once(api: FakeApi) -> None:
    leader = Election(api.kube(), replace(TIMES, lease_seconds=600, renew_seconds=500), "leader")
    await within(leader.lead())
    (stored,) = api.objects(LEASES)
    api.put(LEASES, {**stored, "spec": {**stored["spec"], "holderIdentity": "thief"}})

    with pytest.raises(LeadershipLost, match="'thief' leads now"):
        await within(leader.keep())
    await leader.resign()
    assert lease(api)["holderIdentity"] == "thief"


async def test_of_many_that_start_at_once_one_leads(api: FakeApi) -> None:
    many = [Election(api.kube(), TIMES, f"c{number}") for number in range(8)]
    held = await asyncio.gather(*(each._holds() for each in many))

    assert sum(held) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"imex_mode": "both"}, "--imex-mode 'both'"),
        ({"imex_mode": "hostManaged"}, "HostManagedIMEXDaemon=true"),
        ({"imex_isolation": "channel"}, "--imex-isolation 'channel'"),
        ({"max_nodes": 0}, "--max-nodes-per-imex-domain 0"),
        ({"http_endpoint": "nowhere"}, "--http-endpoint 'nowhere'"),
        ({"metrics_path": "metrics"}, "--metrics-path 'metrics'"),
        ({"profile_path": "x"}, "--pprof-path 'x'"),
        ({"election": replace(TIMES, renew_seconds=1.0)}, "longer than the one before"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_their_flag(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(NodeUnusable, match=says):
        controller_settings(**changes).check()


def test_daemons_get_the_gates_that_are_not_at_their_defaults() -> None:
    gates = FeatureGates.parse("MPSSupport=true,AllBeta=true")
    pods = controller_settings(feature_gates=gates).daemon_pods

    assert pods.feature_gates == "MPSSupport=true"
    assert FeatureGates.parse(pods.feature_gates) == gates
