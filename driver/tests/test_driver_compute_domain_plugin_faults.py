"""An API server that fails at any moment, and two plugins on one node: nothing is left, and nobody is cut off."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claimwright.dra.claims import Claim, ClaimReference
from claimwright.dra.kube import NODES
from claimwright.dra.kubelet import PluginClient
from claimwright.dra.plugin import dra_socket
from claimwright.dra.testing import FakeApi
from claimwright.dra.testing.faults import Fault
from claimwright.driver.computedomain.plugin.composition import domain_plugin
from claimwright.driver.computedomain.plugin.domains import Domains
from claimwright.driver.computedomain.resources import COMPUTE_DOMAINS, DOMAIN
from claimwright.driver.entries import State
from claimwright.driver.errors import DriverError, NotYet, StepRefused
from claimwright.driver.testing import wait_until
from claimwright.driver.testing.domain_node import NAMESPACE, NODE, DomainNode, StartedPlugin


class Nth(Fault):
    """Hits one request only: number `n` from now on."""

    def __init__(self, n: int, status: int) -> None:
        super().__init__("*", "", status, reason="Conflict" if status == 409 else "InternalError")
        self.left = n

    def hits(self, method: str, path: str) -> bool:
        self.left -= 1
        return self.left == -1


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as api:
        yield api


@pytest.fixture
def node(tmp_path: Path, api: FakeApi) -> Iterator[DomainNode]:
    with closing(DomainNode(tmp_path, api)) as node:
        yield node


async def begin(node: DomainNode) -> StartedPlugin:
    started = await node.start()
    await started.machine.recover()
    node.sweep(started)
    return started


async def live(started: StartedPlugin, claim: Claim) -> None:
    """Have a claim prepared and released, as a kubelet that asks again."""
    for _ in range(3):
        with suppress(DriverError):
            await started.machine.prepare(started.planner.plan(claim))
            break
    entry = started.machine.entry(claim.uid)
    assert entry is not None
    assert entry.state is State.PREPARED
    for _ in range(3):
        with suppress(DriverError):
            await started.machine.release(claim.uid)
            break


@pytest.mark.parametrize("status", [0, 403, 409, 500, 503])
@pytest.mark.parametrize("kind", ["channel", "daemon"])
async def test_a_request_that_fails_at_any_point_costs_an_attempt_and_leaves_nothing(
    node: DomainNode, kind: str, status: int
) -> None:
    started, domain = await begin(node), node.domain("ring")
    node.daemon_says(domain)
    claim = node.channel("job", domain) if kind == "channel" else node.daemon("job", domain)
    before, requests = node.world(), len(node.api.requests)
    await live(started, claim)
    requests = len(node.api.requests) - requests
    assert requests > (4 if kind == "channel" else 0)

    for number in range(requests):
        node.api.faults[:] = [Nth(number, status)]
        await live(started, claim)
        assert node.world() == before, f"request {number}"
        assert started.machine.entries == (), f"request {number}"


async def test_a_release_without_the_api_server_is_tried_again_until_the_label_is_gone(
    node: DomainNode,
) -> None:
    started, domain = await begin(node), node.domain("ring")
    node.daemon_says(domain)
    claim = node.channel("job", domain)
    await started.machine.prepare(started.planner.plan(claim))
    fault = node.api.fail("*", "", 503, times=None)
    with pytest.raises(NotYet, match="the API server does not tell about node node-a"):
        await started.machine.release(claim.uid)
    entry, files = started.machine.entry(claim.uid), node.world()["cdi"]
    node.api.faults.remove(fault)
    await started.machine.release(claim.uid)

    assert entry is not None
    assert entry.state is State.RELEASING
    assert files == ["k8s.compute-domain.nvidia.com-device_base.json"]
    assert node.label is None


async def test_a_node_that_left_the_cluster_is_released_all_the_same(node: DomainNode) -> None:
    started, domain = await begin(node), node.domain("ring")
    node.daemon_says(domain)
    claim = node.channel("job", domain)
    await started.machine.prepare(started.planner.plan(claim))
    node.api.remove(NODES, NODE)
    await started.machine.release(claim.uid)

    assert started.machine.entries == ()


@pytest.mark.parametrize("gone", [False, True], ids=["domain there", "domain gone"])
async def test_a_label_that_another_domain_took_meanwhile_is_left_to_it(node: DomainNode, gone: bool) -> None:
    started, domain = await begin(node), node.domain("ring")
    node.daemon_says(domain)
    claim = node.channel("job", domain)
    await started.machine.prepare(started.planner.plan(claim))
    node.api.put(NODES, {"metadata": {"name": NODE, "labels": {DOMAIN: "other"}}})
    if gone:
        node.api.remove(COMPUTE_DOMAINS, "ring", namespace="default")
    await started.machine.release(claim.uid)

    assert node.label == "other"


def test_a_label_that_somebody_sets_between_a_look_and_a_write_is_not_overwritten(node: DomainNode) -> None:
    domain, other = node.domain("ring"), node.domain("other")
    kube = node.api.kube()

    class Racing:
        """Another one labels the node right after it was looked at."""

        list, patch = kube.list, kube.patch

        def get(self, *asked: Any, **more: Any) -> Any:
            found = kube.get(*asked, **more)
            node.api.put(NODES, {"metadata": {"name": NODE, "labels": {DOMAIN: other.uid}}})
            return found

    domains = Domains(Racing(), NODE, NAMESPACE)  # type: ignore[arg-type]
    with pytest.raises(StepRefused, match="belongs to ComputeDomain default/other"):
        domains.join(domain.uid)

    assert node.label == other.uid


# Two plugins on one node, as in a rolling update.


@pytest.fixture
def short(api: FakeApi) -> Iterator[DomainNode]:
    folder = Path(tempfile.mkdtemp(prefix="cw"))  # paths of sockets are short
    try:
        with closing(DomainNode(folder, api)) as node:
            yield node
    finally:
        shutil.rmtree(folder)


def plugin(node: DomainNode, pod: str) -> Any:
    return domain_plugin(replace(node.settings, pod_uid=pod), node.doors, lambda _error: None)


def client(node: DomainNode, pod: str) -> PluginClient:
    return PluginClient(str(dra_socket(node.settings.plugin_dir, pod)), "v1")


async def test_a_claim_that_waits_at_one_instance_goes_on_at_the_next_one(short: DomainNode) -> None:
    domain = short.domain("ring")
    claim: ClaimReference = short.channel("job", domain).reference
    async with plugin(short, "old"):
        old = client(short, "old")
        preparing = asyncio.ensure_future(old.prepare([claim]))
        await wait_until(lambda: short.label)
        await wait_until(lambda: b"waiting" in short.settings.journal.read_bytes())
        async with plugin(short, "new"):
            new = client(short, "new")
            short.clock.advance(2.0)
            given_up = await asyncio.wait_for(preparing, 30)
            label = short.label
            short.daemon_says(domain)
            answers = await new.prepare([claim])
            released = await old.release([claim])
            await new.close()
            await old.close()

    assert "another instance of the driver has this node now" in str(given_up[claim.uid])
    assert label == domain.uid
    assert [device.device for device in answers[claim.uid]] == ["channel-0"]  # type: ignore[union-attr]
    assert released == {claim.uid: ""}
    assert short.label is None
