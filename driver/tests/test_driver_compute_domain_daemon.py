"""Daemons of one clique that share one object (quirk 20): on a fake API server, and on a real one as contract tests."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from claimwright.dra.kube import (
    CUSTOM_RESOURCE_DEFINITIONS,
    NAMESPACES,
    PODS,
    AlreadyExists,
    Kube,
    KubeError,
    NotFound,
    Unavailable,
)
from claimwright.dra.testing import FakeApi
from claimwright.driver.adapters import WallClock
from claimwright.driver.computedomain.controller import Controller
from claimwright.driver.computedomain.daemon.running import Daemon
from claimwright.driver.computedomain.daemon.settings import DaemonSettings
from claimwright.driver.computedomain.resources import (
    CLIQUE,
    CLIQUES,
    COMPUTE_DOMAINS,
    DOMAIN,
    Member,
    clique_name,
)
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.testing import ScriptedImex, wait_until
from claimwright.driver.testing.domains import controller_settings

CLIQUE_ID = "6c1b1f6e-6c8a-4e0e-9a55-0d9c1c9b2f10.7"
CRDS = Path(__file__).parents[1] / "chart/crds"
CONTAINER = {"name": "imex", "image": "none.invalid/none"}


@dataclass
class Domain:
    """One domain with its clique and as many nodes as a test asks for."""

    kube: Kube
    namespace: str
    folder: Path
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    max_nodes: int = 18
    bound: bool = False
    daemons: list[RunningDaemon] = field(default_factory=list)

    @property
    def name(self) -> str:
        return clique_name(self.uid, CLIQUE_ID)

    @property
    def record(self) -> dict[str, Any] | None:
        with suppress(NotFound):
            return self.kube.get(CLIQUES, self.name, namespace=self.namespace)
        return None

    @property
    def rows(self) -> dict[str, Member]:
        found = (self.record or {}).get("daemons") or ()
        return {row["nodeName"]: Member.from_object(row) for row in found}

    @property
    def places(self) -> dict[str, int]:
        return {node: member.index for node, member in self.rows.items()}

    def pod(self, node: str) -> dict[str, Any]:
        # Bound only where a controller looks: without a kubelet, bound pods are swept after a while.
        bound = {"nodeName": node} if self.bound else {}
        metadata = {"name": f"pod-{node}-{uuid.uuid4().hex[:5]}", "labels": {DOMAIN: self.uid}}
        body = {"metadata": metadata, "spec": {"containers": [CONTAINER], **bound}}
        return self.kube.create(PODS, body, namespace=self.namespace)

    def daemon(self, number: int, *, kube: Kube | None = None, **changed: Any) -> RunningDaemon:
        """Prepare the daemon of a node, with a pod of its own."""
        node = f"node-{number:02d}"
        pod = self.pod(node)["metadata"]
        folder = self.folder / pod["name"]
        folder.mkdir()
        (folder / "hosts").write_text("127.0.0.1\tlocalhost\n")
        given = {
            "domain_uid": self.uid, "domain_name": "training", "domain_namespace": "user", "clique": CLIQUE_ID,
            "node": node, "pod": pod["name"], "pod_uid": pod["uid"], "pod_namespace": self.namespace,
            "pod_ip": f"10.0.0.{number + 1}", "max_nodes": self.max_nodes, "folder": folder,
            "hosts": folder / "hosts", **changed,
        }  # fmt: skip
        made = RunningDaemon(DaemonSettings(**given), kube or self.kube)
        self.daemons.append(made)
        return made

    async def start(self, count: int) -> list[RunningDaemon]:
        """Start that many at once."""
        made = [self.daemon(number) for number in range(count)]
        for each in made:
            each.start()
        return made

    async def settled(self) -> None:
        """Wait until each running daemon knows all others where they are, and nvidia-imex runs as its row says."""
        running = [each for each in self.daemons if each.task is not None]
        for each in running:
            await wait_until(lambda each=each: each.sees(running), timeout_seconds=60)

    async def close(self) -> None:
        await asyncio.gather(*(each.stop() for each in self.daemons))


class RunningDaemon:
    def __init__(self, settings: DaemonSettings, kube: Kube) -> None:
        self.settings, self.kube, self.imex = settings, kube, ScriptedImex()
        self.task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    def start(self) -> None:
        self._stop.clear()
        self.task = asyncio.create_task(
            Daemon(self.settings, self.kube, self.imex, WallClock()).run(self._stop)
        )

    async def stop(self) -> None:
        task, self.task = self.task, None
        if task is not None:
            self._stop.set()
            await task

    async def kill(self) -> None:
        """End it as a crash does: nothing is taken back."""
        task, self.task = self.task, None
        assert task is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Daemon, "_leave", lambda _self: asyncio.sleep(0))
            task.cancel()
            await asyncio.wait([task])

    @property
    def peers(self) -> dict[str, str]:
        """Address by name, as nvidia-imex finds it."""
        lines = self.settings.hosts.read_text().splitlines()
        named = {line.split()[1]: line.split()[0] for line in lines if "compute-domain-daemon-" in line}
        return {name: address for name, address in named.items() if address != "127.0.0.2"}

    @property
    def place(self) -> int | None:
        own = [name for name, address in self.peers.items() if address == self.settings.pod_ip]
        return int(own[0].rpartition("-")[2]) if own else None

    def sees(self, everybody: list[RunningDaemon]) -> bool:
        return self.imex.runs and sorted(self.peers.values()) == sorted(
            each.settings.pod_ip for each in everybody
        )

    def be_ready(self, *, ready: bool = True) -> None:
        conditions = [{"type": "Ready", "status": str(ready)}]
        body = {"status": {"conditions": conditions}}
        self.kube.patch(
            PODS,
            self.settings.pod,
            body,
            namespace=self.settings.pod_namespace,
            subresource="status",
            kind="merge",
        )


@pytest.fixture
def fake() -> Iterator[FakeApi]:
    with FakeApi() as api:
        yield api


@pytest.fixture
async def domain(fake: FakeApi, tmp_path: Path) -> Any:
    made = Domain(fake.kube(), "driver", tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def real(tmp_path: Path) -> Any:
    """A domain on the API server that CLAIMWRIGHT_TEST_KUBECONFIG names."""
    given = os.environ.get("CLAIMWRIGHT_TEST_KUBECONFIG")
    if not given:
        pytest.skip("CLAIMWRIGHT_TEST_KUBECONFIG names no API server")
    kube = Kube.from_kubeconfig(Path(given))
    namespace = f"cdd-{uuid.uuid4().hex[:8]}"
    for path in CRDS.glob("*.yaml"):
        with suppress(AlreadyExists):
            kube.create(CUSTOM_RESOURCE_DEFINITIONS, yaml.safe_load(path.read_text()))
    await wait_until(lambda: is_served(kube))
    kube.create(NAMESPACES, {"metadata": {"name": namespace}})
    made = Domain(kube, namespace, tmp_path)
    yield made
    await made.close()
    kube.delete(NAMESPACES, namespace)


def is_served(kube: Kube) -> bool:
    try:
        for kind in (CLIQUES, COMPUTE_DOMAINS):
            kube.list(kind, namespace="default")
    except KubeError:
        return False
    return True


def managers(record: Mapping[str, Any]) -> Counter[str]:
    return Counter(entry["manager"] for entry in record["metadata"]["managedFields"])


async def test_the_first_daemon_makes_the_clique_and_later_ones_join_it(domain: Domain) -> None:
    for number in range(3):
        domain.daemon(number).start()
        await domain.settled()
    record = domain.record
    assert record is not None
    assert record["metadata"]["labels"] == {DOMAIN: domain.uid, CLIQUE: CLIQUE_ID}
    assert [each["uid"] for each in record["metadata"]["ownerReferences"]] == [
        each.settings.pod_uid for each in domain.daemons
    ]
    assert domain.rows["node-01"] == Member("node-01", "10.0.0.2", CLIQUE_ID, 1, ready=False)
    assert domain.places == {"node-00": 0, "node-01": 1, "node-02": 2}
    assert [each.imex.history.count("start") for each in domain.daemons] == [1, 1, 1]


async def test_the_pod_carries_its_clique_also_where_there_is_none(domain: Domain) -> None:
    with_one, without = domain.daemon(0), domain.daemon(1, clique="")
    for each in (with_one, without):
        each.start()

    def label(of: RunningDaemon) -> str | None:
        pod = domain.kube.get(PODS, of.settings.pod, namespace=domain.namespace)
        return (pod["metadata"].get("labels") or {}).get(CLIQUE)

    await wait_until(lambda: label(with_one) == CLIQUE_ID and label(without) == "")
    await wait_until(lambda: with_one.imex.runs)
    await without.stop()
    assert without.imex.history == []
    assert list(domain.rows) == ["node-00"]


async def test_the_row_is_ready_while_the_pod_is(domain: Domain) -> None:
    [daemon] = await domain.start(1)
    await domain.settled()
    for ready in (True, False, True):
        daemon.be_ready(ready=ready)
        await wait_until(lambda ready=ready: domain.rows["node-00"].ready is ready)
    assert daemon.imex.history == ["start"]


async def test_a_daemon_that_ends_takes_out_its_own_row_only(
    domain: Domain, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await domain.start(2)
    await domain.settled()
    caplog.set_level("INFO")
    await first.stop()
    assert list(domain.rows) == ["node-01"]
    assert "Successfully removed daemon with IP 10.0.0.1 from ComputeDomain user/training" in caplog.text
    assert first.imex.history[-1] == "stop"
    await wait_until(lambda: sorted(second.peers.values()) == ["10.0.0.2"])
    assert "stop" not in second.imex.history


async def test_a_killed_daemon_comes_back_to_its_place(domain: Domain) -> None:
    first, second = await domain.start(2)
    await domain.settled()
    places = domain.places
    await first.kill()
    assert domain.places == places
    first.start()
    await domain.settled()
    assert domain.places == places
    assert second.imex.history.count("start") == 1


async def test_a_place_that_was_left_is_given_to_the_next(domain: Domain) -> None:
    daemons = await domain.start(3)
    await domain.settled()
    left = domain.places["node-01"]
    await daemons[1].stop()
    domain.daemon(7).start()
    await wait_until(lambda: domain.places.get("node-07") == left)


async def test_a_successor_on_the_node_keeps_the_row_that_its_forerunner_lets_go(domain: Domain) -> None:
    old = domain.daemon(0)
    old.start()
    await domain.settled()
    new = domain.daemon(0, pod_ip="10.0.0.99")
    domain.kube.patch(
        PODS,
        old.settings.pod,
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
        namespace=domain.namespace,
    )
    new.start()
    await wait_until(lambda: domain.rows["node-00"].address == "10.0.0.99")
    await old.stop()
    assert domain.rows["node-00"].address == "10.0.0.99"
    assert domain.places == {"node-00": 0}


async def test_a_row_that_somebody_removes_is_written_again_at_its_place(
    fake: FakeApi, domain: Domain
) -> None:
    first, _ = await domain.start(2)
    await domain.settled()
    places, record = domain.places, domain.record
    assert record is not None
    rows = [row for row in record["daemons"] if row["nodeName"] != "node-00"]
    fake.put(CLIQUES, {**record, "daemons": rows})
    await wait_until(lambda: domain.places == places)
    assert first.imex.history.count("start") == 1


async def test_a_clique_that_somebody_deletes_is_made_again(fake: FakeApi, domain: Domain) -> None:
    await domain.start(2)
    await domain.settled()
    places = domain.places
    fake.remove(CLIQUES, domain.name, namespace=domain.namespace)
    await wait_until(lambda: domain.places == places)


async def test_a_clique_deleted_while_nobody_watched_is_made_again(fake: FakeApi, domain: Domain) -> None:
    await domain.start(1)
    await domain.settled()
    down = fake.fail("GET", "computedomaincliques", 503, times=None)
    fake.drop_watches(forget=True)
    fake.remove(CLIQUES, domain.name, namespace=domain.namespace)
    fake.faults.remove(down)
    await wait_until(lambda: domain.places == {"node-00": 0})


async def test_a_clique_that_went_with_its_domain_is_not_brought_back_by_leaving(
    fake: FakeApi, domain: Domain
) -> None:
    [daemon] = await domain.start(1)
    await domain.settled()
    pod = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    domain.kube.patch(PODS, daemon.settings.pod, pod, namespace=domain.namespace)
    fake.remove(CLIQUES, domain.name, namespace=domain.namespace)
    await daemon.stop()
    assert domain.record is None


async def test_rubbish_in_the_clique_is_survived(fake: FakeApi, domain: Domain) -> None:
    rubbish = [None, "x", {"nodeName": "bad", "index": "many"}, {"nodeName": "evil", "ipAddress": "1.1.1.1\n2.2.2.2 x",
               "cliqueID": CLIQUE_ID, "index": 1, "status": "Ready"}]  # fmt: skip
    [daemon] = await domain.start(1)
    await domain.settled()
    record = domain.record
    assert record is not None
    fake.put(CLIQUES, {**record, "daemons": [*record["daemons"], *rubbish]})
    daemon.be_ready()
    # The fake server cannot merge into a list of rubbish either: the write fails, and the daemon lives.
    await asyncio.sleep(0.05)
    fake.put(CLIQUES, record)
    await wait_until(lambda: domain.rows["node-00"].ready)
    assert daemon.imex.history == ["start"]
    assert list(daemon.peers.values()) == ["10.0.0.1"]


async def test_without_the_api_server_peers_go_on_and_news_come_when_it_is_back(
    fake: FakeApi, domain: Domain
) -> None:
    first, second = await domain.start(2)
    await domain.settled()
    down = [fake.fail(method, ".", 0, times=None) for method in ("GET", "PATCH")]
    fake.drop_watches()
    first.imex.end(1)
    await wait_until(lambda: first.imex.history[-1] == "start")
    for each in down:
        fake.faults.remove(each)
    second.be_ready()
    await wait_until(lambda: domain.rows["node-01"].ready)
    assert second.imex.history.count("start") == 1


async def test_a_start_without_the_api_server_waits_for_it(fake: FakeApi, domain: Domain) -> None:
    daemon = domain.daemon(0)
    down = [fake.fail(method, ".", 503, times=None) for method in ("GET", "PATCH")]
    daemon.start()
    await wait_until(lambda: sum(method == "GET" for method, _ in fake.requests) >= 4)
    assert daemon.imex.history == []
    for each in down:
        fake.faults.remove(each)
    await domain.settled()


async def test_leaving_is_tried_again_until_the_api_server_takes_it(fake: FakeApi, domain: Domain) -> None:
    [daemon] = await domain.start(1)
    await domain.settled()
    fake.fail("PATCH", "computedomaincliques", 503, times=3)
    await daemon.stop()
    assert domain.rows == {}


async def test_a_daemon_too_many_says_so_and_joins_when_there_is_a_place(
    domain: Domain, caplog: pytest.LogCaptureFixture
) -> None:
    domain.max_nodes = 2
    first, _ = await domain.start(2)
    await domain.settled()
    late = domain.daemon(5)
    late.start()
    await wait_until(lambda: "all 2 places of the clique are taken, by node-00, node-01" in caplog.text)
    assert late.imex.history == []
    await first.stop()
    await wait_until(lambda: late.imex.runs)
    assert sorted(domain.places.values()) == [0, 1]


def in_status(
    number: int, domain: Domain, gates: str = "ComputeDomainCliques=false", **changed: Any
) -> RunningDaemon:
    """Prepare a daemon whose row is in the status of its domain."""
    given = {"feature_gates": FeatureGates.parse(gates), "domain_namespace": domain.namespace, **changed}
    return domain.daemon(number, **given)


def compute_domain(domain: Domain, nodes: int = 0) -> None:
    """Create the object, whose uid the domain gets."""
    spec = {"numNodes": nodes, "channel": {"resourceClaimTemplate": {"name": "training"}}}
    made = domain.kube.create(
        COMPUTE_DOMAINS, {"metadata": {"name": "training"}, "spec": spec}, namespace=domain.namespace
    )
    domain.uid = made["metadata"]["uid"]


def status_of(domain: Domain) -> dict[str, Any]:
    found = domain.kube.get(COMPUTE_DOMAINS, "training", namespace=domain.namespace)
    return found.get("status") or {}


async def rows_in_the_status(domain: Domain) -> None:
    compute_domain(domain)
    first, second, elsewhere = (
        in_status(0, domain),
        in_status(1, domain),
        in_status(2, domain, clique="other.1"),
    )
    for each in (first, second, elsewhere):
        each.start()
    await wait_until(lambda: first.sees([first, second]) and second.sees([first, second]))
    await wait_until(lambda: elsewhere.sees([elsewhere]))
    rows = {row["name"]: row for row in status_of(domain)["nodes"]}
    assert sorted((rows["node-00"]["index"], rows["node-01"]["index"])) == [0, 1]
    assert rows["node-02"]["index"] == 0  # places are those of a clique
    first.be_ready()
    await wait_until(
        lambda: {row["name"]: row["status"] for row in status_of(domain)["nodes"]}["node-00"] == "Ready"
    )
    await first.stop()
    assert sorted(row["name"] for row in status_of(domain)["nodes"]) == ["node-01", "node-02"]
    assert domain.record is None
    await second.stop()
    await elsewhere.stop()
    assert not status_of(domain).get("nodes")


async def rows_with_a_controller(domain: Domain) -> None:
    """Daemons and controller write one status; neither undoes, nor holds on to, what the other wrote."""
    domain.bound = True
    compute_domain(domain, nodes=2)
    controller = Controller(
        domain.kube,
        controller_settings(
            namespace=domain.namespace, feature_gates=FeatureGates.parse("ComputeDomainCliques=false")
        ),
    )
    controller.start()
    try:
        first, second, third = (in_status(number, domain) for number in range(3))
        for each in (first, second):
            each.start()
        for each in (first, second):
            each.be_ready()
        await wait_until(
            lambda: status_of(domain).get("status") == "Ready" and len(status_of(domain)["nodes"]) == 2
        )
        first.be_ready(ready=False)
        await wait_until(lambda: status_of(domain)["status"] == "NotReady")
        third.start()
        await third.stop()
        await first.stop()
        await wait_until(lambda: [row["name"] for row in status_of(domain)["nodes"]] == ["node-01"])
        assert status_of(domain)["nodes"][0]["ipAddress"] == "10.0.0.2"
    finally:
        await asyncio.to_thread(controller.stop)


async def test_without_cliques_daemons_and_controller_share_the_status(domain: Domain) -> None:
    await rows_with_a_controller(domain)


async def test_without_cliques_rows_are_in_the_status_of_the_domain(domain: Domain) -> None:
    await rows_in_the_status(domain)


async def test_without_names_nvidia_imex_starts_once_all_nodes_are_there(domain: Domain) -> None:
    compute_domain(domain, nodes=2)
    gates = "ComputeDomainCliques=false,IMEXDaemonsWithDNSNames=false"
    first, second = (in_status(number, domain, gates) for number in range(2))
    first.start()
    await wait_until(lambda: status_of(domain).get("nodes"))
    assert first.imex.history == []
    second.start()
    await wait_until(lambda: first.imex.runs and second.imex.runs)
    lists = [(each.settings.folder / "nodes.cfg").read_text() for each in (first, second)]
    assert lists == ["10.0.0.1\n10.0.0.2\n"] * 2
    assert first.imex.history == ["start"]


async def test_another_domain_of_the_name_is_left_alone(fake: FakeApi, domain: Domain) -> None:
    compute_domain(domain)
    stranger = in_status(0, domain, domain_uid="of one that is gone")
    stranger.start()
    await wait_until(lambda: any("computedomains/" in target for _, target in fake.writes()))
    await stranger.stop()
    assert not status_of(domain).get("nodes")


async def eighteen_settle(domain: Domain) -> None:
    daemons = await domain.start(18)
    await domain.settled()
    assert sorted(domain.places.values()) == list(range(18))
    assert [each.place for each in daemons] == [domain.places[each.settings.node] for each in daemons]
    # Who had written an index first kept it: nobody started nvidia-imex under one that was not to stay.
    assert [each.imex.history.count("start") for each in daemons] == [1] * 18


async def test_eighteen_daemons_at_once_get_eighteen_places(fake: FakeApi, domain: Domain) -> None:
    await eighteen_settle(domain)
    writes = [target for method, target in fake.writes() if "computedomaincliques" in target]
    # One for each node, and one more for each that met another; all at once is the worst there is.
    assert 18 <= len(writes) <= 2 * 18 + 6


class CountingKube(Kube):
    """Counts what is written to cliques, and what of it is refused."""

    written = 0
    refused = 0

    def patch(self, resource: Any, *given: Any, **more: Any) -> dict[str, Any]:
        CountingKube.written += resource is CLIQUES
        try:
            return super().patch(resource, *given, **more)
        except KubeError:
            CountingKube.refused += resource is CLIQUES
            raise


@pytest.mark.contract
@pytest.mark.slow
async def test_eighteen_daemons_on_a_real_api_server_never_conflict(real: Domain) -> None:
    real.kube = CountingKube.from_kubeconfig(Path(os.environ["CLAIMWRIGHT_TEST_KUBECONFIG"]))
    CountingKube.written = CountingKube.refused = 0
    await eighteen_settle(real)
    joined = CountingKube.written
    for each in real.daemons:
        each.be_ready()
    await wait_until(lambda: all(member.ready for member in real.rows.values()))
    ready = CountingKube.written - joined
    await real.close()
    left = CountingKube.written - joined - ready
    logging.getLogger(__name__).info("writes: %d to join, %d to be ready, %d to leave", joined, ready, left)
    assert CountingKube.refused == 0
    assert 18 <= joined <= 2 * 18 + 6
    assert (ready, left) == (18, 18)
    assert real.rows == {}


@pytest.mark.contract
@pytest.mark.slow
async def test_a_real_api_server_keeps_each_row_for_its_manager(real: Domain) -> None:
    first, second = await real.start(2)
    await real.settled()
    record = real.record
    assert record is not None
    assert managers(record) == Counter(f"compute-domain-daemon-{each.settings.node}" for each in real.daemons)
    assert record["metadata"]["labels"] == {DOMAIN: real.uid, CLIQUE: CLIQUE_ID}
    await first.stop()
    assert list(real.rows) == ["node-01"]
    real.kube.delete(CLIQUES, real.name, namespace=real.namespace)
    await wait_until(lambda: list(real.rows) == ["node-01"])
    real.kube.delete(PODS, second.settings.pod, namespace=real.namespace, grace_seconds=0)
    # The pods that own it are gone or going: a clique nobody is in does not come back.
    with suppress(NotFound):
        real.kube.delete(CLIQUES, real.name, namespace=real.namespace)
    await second.stop()
    await wait_until(lambda: real.record is None)


@pytest.mark.contract
async def test_a_real_api_server_creates_no_clique_for_one_who_leaves(real: Domain) -> None:
    [daemon] = await real.start(1)
    await real.settled()
    record = real.record
    assert record is not None
    await daemon.stop()
    real.kube.delete(CLIQUES, real.name, namespace=real.namespace)
    body = {"metadata": {"name": real.name, "namespace": real.namespace, "uid": record["metadata"]["uid"]}}
    with pytest.raises(KubeError) as refused:
        real.kube.patch(
            CLIQUES, real.name, body, namespace=real.namespace, kind="apply", field_manager="m", force=True
        )
    assert not isinstance(refused.value, Unavailable)
    assert real.record is None


@pytest.mark.contract
async def test_a_real_api_server_keeps_rows_in_the_status_of_the_domain(real: Domain) -> None:
    await rows_in_the_status(real)


@pytest.mark.contract
async def test_on_a_real_api_server_daemons_and_controller_share_the_status(real: Domain) -> None:
    await rows_with_a_controller(real)
