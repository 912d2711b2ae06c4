"""The community driver's ComputeDomain plugin is followed by ours, under running pods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from claimwright.dra.claims import Claim
from claimwright.dra.kube import NODES, RESOURCE_CLAIMS
from claimwright.dra.testing import FakeApi
from claimwright.driver.computedomain.resources import DOMAIN
from claimwright.driver.entries import State
from claimwright.driver.testing import checkpoints
from claimwright.driver.testing.domain_node import BOOT, NODE, DomainNode, StartedPlugin


@pytest.fixture
def node(tmp_path: Path) -> Iterator[DomainNode]:
    with FakeApi() as api, closing(DomainNode(tmp_path, api)) as node:
        yield node


async def begin(node: DomainNode) -> StartedPlugin:
    started = await node.start()
    await started.machine.recover()
    node.sweep(started)
    return started


def cdi_id(claim: Claim, device: str) -> str:
    return f"k8s.compute-domain.nvidia.com/claim={claim.uid}-{device}"


def entry(claim: Claim, kind: str, domain: str) -> dict[str, Any]:
    device = checkpoints.device(f"{kind}-0", cdi_id(claim, f"{kind}-0"), pool=NODE, request=kind)
    group = checkpoints.group(kind, {"id": 0}, device, Type=kind, ComputeDomain=domain)
    named = {"name": claim.reference.name, "namespace": claim.reference.namespace}
    return {**checkpoints.completed(claim.raw["status"], group), **named}


def leave_behind(
    node: DomainNode, claims: dict[str, dict[str, Any]], label: str, *, version: int = 2
) -> None:
    """Leave what the community driver leaves: checkpoint, CDI specs, the label of the node."""
    file = node.settings.plugin_dir / "checkpoint.json"
    file.write_bytes(checkpoints.checkpoint(claims, boot_id=BOOT, version=version))
    for uid in claims:
        name = f"k8s.compute-domain.nvidia.com-claim_{uid}.yaml"
        (node.cdi / name).write_text("cdiVersion: 0.5.0\nkind: k8s.compute-domain.nvidia.com/claim\n")
    node.api.put(NODES, {"metadata": {"name": NODE, "labels": {DOMAIN: label}}})


@pytest.mark.parametrize("version", [1, 2])
async def test_a_channel_and_a_daemon_go_on_and_are_released_as_ours(node: DomainNode, version: int) -> None:
    domain = node.domain("ring")
    node.daemon_says(domain)
    channel, daemon = node.channel("job", domain), node.daemon("daemon", domain)
    (node.settings.domains_dir / domain.uid).mkdir(parents=True)
    leave_behind(
        node,
        {
            channel.uid: entry(channel, "channel", domain.uid),
            daemon.uid: entry(daemon, "daemon", domain.uid),
        },
        domain.uid,
        version=version,
    )

    started = await begin(node)
    states = {each.uid: each.state for each in started.machine.entries}
    (held,) = (await started.machine.prepare(started.planner.plan(channel))).devices
    label = node.label
    for claim in (channel, daemon):
        await started.machine.release(claim.uid)

    assert states == {channel.uid: State.PREPARED, daemon.uid: State.PREPARED}
    assert held.cdi_ids == (cdi_id(channel, "channel-0"),)
    assert label == domain.uid
    assert node.label is None
    assert node.world()["domains"] == []
    assert node.world()["cdi"] == ["k8s.compute-domain.nvidia.com-device_base.json"]


async def test_what_is_gone_is_released_and_what_had_begun_waits(node: DomainNode) -> None:
    domain = node.domain("ring")
    gone, begun = node.channel("gone", domain), node.daemon("begun", domain)
    node.api.remove(RESOURCE_CLAIMS, "gone", namespace="default")
    started_one = {**checkpoints.started(begun.raw["status"], "begun"), "namespace": "claimwright"}
    leave_behind(node, {gone.uid: entry(gone, "channel", domain.uid), begun.uid: started_one}, domain.uid)

    started = await begin(node)

    assert {each.uid: each.state for each in started.machine.entries} == {begun.uid: State.WAITING}
    assert node.label is None


async def test_an_aborted_claim_holds_nothing(node: DomainNode) -> None:
    domain = node.domain("ring")
    claim = node.channel("job", domain)
    aborted = {**entry(claim, "channel", domain.uid), "checkpointState": "PrepareAborted"}
    leave_behind(node, {claim.uid: {**aborted, "abortedAt": "2026-01-01T00:00:00Z"}}, domain.uid)

    started = await begin(node)

    assert started.machine.entries == ()
    assert started.problem is None


async def test_a_checkpoint_that_cannot_be_trusted_is_set_aside_and_the_claims_are_rebuilt(
    node: DomainNode,
) -> None:
    domain = node.domain("ring")
    claim = node.channel("job", domain)
    leave_behind(node, {claim.uid: entry(claim, "channel", domain.uid)}, domain.uid)
    file = node.settings.plugin_dir / "checkpoint.json"
    file.write_bytes(file.read_bytes().replace(b"channel-0", b"channel-1"))

    started = await begin(node)

    assert started.problem is not None
    assert [each.uid for each in started.machine.entries] == [claim.uid]
    assert not file.exists()
