"""Channels and daemons of ComputeDomains: what a claim gets, what it waits for, and what it is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from claimwright.dra.cdi import load_specs
from claimwright.dra.claims import Claim
from claimwright.dra.kube import NODES
from claimwright.dra.testing import FakeApi
from claimwright.driver.computedomain.plugin.driver import DomainDriver
from claimwright.driver.computedomain.plugin.patience import Patience
from claimwright.driver.computedomain.plugin.planning import DEVICE_TYPES
from claimwright.driver.computedomain.resources import COMPUTE_DOMAINS, DOMAIN, ComputeDomain, Member
from claimwright.driver.entries import State
from claimwright.driver.errors import ClaimRefused, NotYet, StepFailed, StepRefused
from claimwright.driver.metrics import Metrics
from claimwright.driver.ports import Finished
from claimwright.driver.testing import wait_until
from claimwright.driver.testing.domain_node import CLIQUE, NAMESPACE, NODE, DomainNode, StartedPlugin

HOST = ("--imex-mode=hostManaged", "--feature-gates=HostManagedIMEXDaemon=true")


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


async def prepare(started: StartedPlugin, claim: Claim) -> Sequence[str]:
    """Prepare a claim and return the CDI ids of its one device."""
    (held,) = (await started.machine.prepare(started.planner.plan(claim))).devices
    return held.cdi_ids


def ready_domain(node: DomainNode, name: str = "ring") -> ComputeDomain:
    domain = node.domain(name)
    node.daemon_says(domain)
    return domain


def driver_of(node: DomainNode, started: StartedPlugin) -> DomainDriver:
    return DomainDriver(
        started.planner,
        started.machine,
        Metrics(node.settings.driver, NODE, DEVICE_TYPES),
        Patience(node.clock, seconds=node.clock.now),
        on_failure=lambda *_: None,
        held=nullcontext,
    )


# What a channel is.


async def test_a_channel_is_one_node_by_the_kernels_numbers_and_the_label_of_its_domain(
    node: DomainNode,
) -> None:
    started, domain = await begin(node), ready_domain(node)
    claim = node.channel("job", domain)

    ids = await prepare(started, claim)
    edits = load_specs([node.cdi]).resolve(ids)
    label = node.label
    await started.machine.release(claim.uid)

    assert ids == (f"k8s.compute-domain.nvidia.com/claim={claim.uid}-channel-0",)
    assert [
        (each.path, each.type, each.major, each.minor, each.file_mode) for each in edits.device_nodes
    ] == [("/dev/nvidia-caps-imex-channels/channel0", "c", 235, 0, 0o666)]
    assert label == domain.uid
    assert node.label is None
    assert node.world()["cdi"] == ["k8s.compute-domain.nvidia.com-device_base.json"]


@pytest.mark.parametrize(("mode", "count"), [("Single", 1), ("All", 2048), (None, 1)])
async def test_all_channels_are_2048_nodes(node: DomainNode, mode: str | None, count: int) -> None:
    started, domain = await begin(node), ready_domain(node)

    ids = await prepare(started, node.channel("job", domain, allocationMode=mode))
    nodes = load_specs([node.cdi]).resolve(ids).device_nodes

    assert [each.path for each in nodes] == [
        f"/dev/nvidia-caps-imex-channels/channel{number}" for number in range(count)
    ]
    assert [each.minor for each in nodes] == list(range(count))


async def test_a_node_without_a_fabric_joins_its_domain_and_gives_no_device(
    tmp_path: Path, api: FakeApi
) -> None:
    with closing(DomainNode(tmp_path, api, fabric=None)) as node:
        started, domain = await begin(node), node.domain("single")
        claim = node.channel("job", domain)
        with pytest.raises(NotYet, match="has not entered it into the domain's status"):
            await prepare(started, claim)
        node.daemon_says(domain)
        ids, label, world = await prepare(started, claim), node.label, node.world()

    assert ids == ()
    assert label == domain.uid
    assert world["cdi"] == ["k8s.compute-domain.nvidia.com-device_base.json"]


async def test_a_kernel_without_channels_is_named(node: DomainNode) -> None:
    started, domain = await begin(node), ready_domain(node)
    node.host.files[PurePosixPath("/proc/devices")] = "Character devices:\n195 nvidia\n\nBlock devices:"

    with pytest.raises(StepFailed, match="no line for nvidia-caps-imex-channels"):
        await prepare(started, node.channel("job", domain))
    assert node.label is None


# Waiting for the domain.


async def test_a_channel_waits_with_its_label_until_the_daemon_of_this_node_is_ready(
    node: DomainNode,
) -> None:
    started, domain = await begin(node), node.domain("ring")
    claim = node.channel("job", domain)
    reasons = []
    for ready in (None, False):
        if ready is not None:
            node.daemon_says(domain, ready=ready)
        with pytest.raises(NotYet) as failed:
            await prepare(started, claim)
        reasons.append(str(failed.value))
    waiting, label = started.machine.entry(claim.uid), node.label
    node.daemon_says(domain)
    ids = await prepare(started, claim)

    assert "current node not ready in ComputeDomain default/ring" in reasons[0]
    assert "has not entered it into clique" in reasons[0]
    assert "its daemon at 10.0.0.5 is not ready" in reasons[1]
    assert f"DaemonSet computedomain-daemon-{domain.uid} in namespace {NAMESPACE}" in reasons[1]
    assert waiting is not None
    assert waiting.state is State.WAITING
    assert label == domain.uid
    assert len(ids) == 1


async def test_quirk_18_each_claim_that_is_not_ready_in_time_is_answered_with_what_it_waits_for(
    node: DomainNode,
) -> None:
    started = await begin(node)
    driver = driver_of(node, started)
    channel = node.channel("job", node.domain("ring"))
    refused = node.daemon("thief", node.domain("elsewhere"), namespace="default")
    began = node.clock.now()

    calling = asyncio.ensure_future(driver.prepare([channel, refused]))
    while not calling.done():
        await wait_until(lambda: node.clock.sleepers or calling.done())
        node.clock.advance(1.0)
    answers = await calling

    assert set(answers) == {channel.uid, refused.uid}
    assert str(answers[channel.uid]).startswith("error preparing devices for claim default/job:")
    assert "current node not ready in ComputeDomain default/ring" in str(answers[channel.uid])
    assert "the kubelet tries again" in str(answers[channel.uid])
    assert "only the controller makes such claims" in str(answers[refused.uid])
    assert 30 <= node.clock.now() - began < 45
    assert node.label == channel_domain(channel)


def channel_domain(claim: Claim) -> str:
    (config,) = claim.configs_of("compute-domain.nvidia.com")
    return str(config.parameters["domainID"])


async def test_a_daemon_is_prepared_while_a_channel_of_its_domain_waits_for_it_in_the_same_call(
    node: DomainNode,
) -> None:
    started, domain = await begin(node), node.domain("ring")
    driver = driver_of(node, started)
    channel, daemon = node.channel("job", domain), node.daemon("daemon", domain)

    calling = asyncio.ensure_future(driver.prepare([channel, daemon]))
    await wait_until(lambda: (entry := started.machine.entry(daemon.uid)) and entry.state is State.PREPARED)
    await wait_until(lambda: node.clock.sleepers)
    node.daemon_says(domain)
    node.clock.advance(2.0)
    answers = await asyncio.wait_for(calling, 30)

    assert [device.device for device in answers[channel.uid]] == ["channel-0"]
    assert [device.device for device in answers[daemon.uid]] == ["daemon-0"]


async def test_a_claim_that_is_to_be_released_does_not_wait(node: DomainNode) -> None:
    started = await begin(node)
    driver = driver_of(node, started)
    claim = node.channel("job", node.domain("ring"))
    calling = asyncio.ensure_future(driver.prepare([claim]))
    await wait_until(lambda: node.clock.sleepers)
    driver.stop_waiting([claim.reference])
    node.clock.advance(2.0)

    answers = await asyncio.wait_for(calling, 30)
    released = await driver.release([claim.reference])

    assert "the claim is being released" in str(answers[claim.uid])
    assert released == {claim.uid: None}
    assert node.label is None
    assert started.machine.entries == ()


@pytest.mark.parametrize("what", ["computedomains", "nodes", "computedomaincliques"])
async def test_an_api_server_that_does_not_answer_is_waited_for(node: DomainNode, what: str) -> None:
    started, domain = await begin(node), ready_domain(node)
    claim = node.channel("job", domain)
    fault = node.api.fail("GET", f"/{what}", 503, times=None)
    with pytest.raises(NotYet, match="the API server does not tell about"):
        await prepare(started, claim)
    node.api.faults.remove(fault)

    assert len(await prepare(started, claim)) == 1


async def test_a_node_that_changed_meanwhile_is_labelled_all_the_same(node: DomainNode) -> None:
    started, domain = await begin(node), ready_domain(node)
    node.api.fail("PATCH", "/nodes/node-a", 409, reason="Conflict", times=2)

    await prepare(started, node.channel("job", domain))

    assert node.label == domain.uid


async def test_a_label_that_somebody_removed_is_set_again_when_the_kubelet_asks_again(
    node: DomainNode,
) -> None:
    started, domain = await begin(node), ready_domain(node)
    claim = node.channel("job", domain)
    first = await prepare(started, claim)
    node.api.put(NODES, {"metadata": {"name": NODE}})
    second = await prepare(started, claim)

    assert first == second
    assert node.label == domain.uid


async def test_a_prepared_channel_needs_no_api_server(node: DomainNode) -> None:
    started, domain = await begin(node), ready_domain(node)
    claim = node.channel("job", domain)
    first = await prepare(started, claim)
    node.api.fail("*", "", 503, times=None)

    assert await prepare(started, claim) == first


# One domain a node, one channel claim a node.


async def test_quirk_19_a_second_channel_claim_is_refused_by_naming_who_holds_it_and_what_to_do(
    node: DomainNode,
) -> None:
    started, domain = await begin(node), ready_domain(node)
    first, second = node.channel("first", domain), node.channel("second", domain)
    await prepare(started, first)

    with pytest.raises(ClaimRefused) as refused:
        await prepare(started, second)
    await started.machine.release(first.uid)
    after = await prepare(started, second)

    said = str(refused.value)
    assert f"requested device channel-0 is already allocated to different claim {first.uid}" in said
    assert "claim default/first holds this node's channel" in said
    assert f"for ComputeDomain default/ring ({domain.uid})" in said
    assert "run on another node" in said
    assert len(after) == 1


@pytest.mark.parametrize("kind", ["channel", "daemon"])
async def test_what_a_claim_has_that_is_about_to_go_is_waited_for(node: DomainNode, kind: str) -> None:
    """A pod that is deleted by force, and its successor: a minute passes before the kubelet asks a second time."""
    started, domain = await begin(node), ready_domain(node)
    driver = driver_of(node, started)
    make = node.channel if kind == "channel" else node.daemon
    first, second = make("first", domain), make("second", domain)
    await driver.prepare([first])

    calling = asyncio.ensure_future(driver.prepare([second]))
    await wait_until(lambda: node.clock.sleepers)
    await driver.release([first.reference])
    node.clock.advance(2.0)
    answers = await asyncio.wait_for(calling, 30)

    assert [device.device for device in answers[second.uid]] == [f"{kind}-0"]


async def test_a_node_that_leaves_another_domain_is_waited_for(node: DomainNode) -> None:
    started, domain = await begin(node), ready_domain(node)
    driver, claim = driver_of(node, started), node.channel("job", domain)
    node.api.put(NODES, {"metadata": {"name": NODE, "labels": {DOMAIN: "gone"}}})

    calling = asyncio.ensure_future(driver.prepare([claim]))
    await wait_until(lambda: node.clock.sleepers)
    node.api.put(NODES, {"metadata": {"name": NODE}})
    node.clock.advance(2.0)
    answers = await asyncio.wait_for(calling, 30)

    assert [device.device for device in answers[claim.uid]] == ["channel-0"]
    assert node.label == domain.uid


async def test_quirk_19_a_node_of_another_domain_is_refused_by_naming_that_domain_and_what_to_do(
    node: DomainNode,
) -> None:
    started, domain, other = await begin(node), ready_domain(node), node.domain("other")
    node.api.put(NODES, {"metadata": {"name": NODE, "labels": {DOMAIN: other.uid}}})

    with pytest.raises(StepRefused) as refused:
        await prepare(started, node.channel("job", domain))

    said = str(refused.value)
    assert "label already exists for a different ComputeDomain" in said
    assert f"node {NODE} belongs to ComputeDomain default/other ({other.uid})" in said
    assert "have this pod run on another node, or delete the pods of default/other on this one" in said
    assert node.label == other.uid
    assert started.machine.entries == ()


async def test_quirk_19_a_label_of_a_domain_that_is_gone_is_told_how_to_remove(node: DomainNode) -> None:
    started, domain = await begin(node), ready_domain(node)
    node.api.put(NODES, {"metadata": {"name": NODE, "labels": {DOMAIN: "gone"}}})

    with pytest.raises(StepRefused, match=f"kubectl label node {NODE} {DOMAIN}-"):
        await prepare(started, node.channel("job", domain))


async def test_two_claims_at_once_leave_one_with_the_channel(node: DomainNode) -> None:
    started, domain = await begin(node), ready_domain(node)
    claims = [node.channel(f"job-{number}", domain) for number in range(6)]
    plans = [started.planner.plan(claim) for claim in claims]

    done = await asyncio.gather(*map(started.machine.prepare, plans), return_exceptions=True)

    assert sum(isinstance(each, ClaimRefused) for each in done) == 5
    assert len(started.machine.entries) == 1


async def test_admin_access_looks_at_a_channel_that_another_claim_holds_and_changes_nothing(
    node: DomainNode,
) -> None:
    started, domain = await begin(node), ready_domain(node)
    holder, admin = node.channel("holder", domain), node.channel("admin", domain)
    await prepare(started, holder)
    for result in admin.raw["status"]["allocation"]["devices"]["results"]:
        result["adminAccess"] = True
    admin = Claim.from_object(admin.raw)
    writes = len(node.api.writes())

    ids = await prepare(started, admin)
    nodes = load_specs([node.cdi]).resolve(ids).device_nodes
    await started.machine.release(admin.uid)

    assert [each.path for each in nodes] == ["/dev/nvidia-caps-imex-channels/channel0"]
    assert len(node.api.writes()) == writes
    assert node.label == domain.uid
    assert [entry.uid for entry in started.machine.entries] == [holder.uid]


# What is refused.


async def test_a_claim_of_another_namespace_gets_nothing_of_a_domain(node: DomainNode) -> None:
    started, domain = await begin(node), ready_domain(node)
    before = node.world()

    with pytest.raises(
        ClaimRefused, match=r"ComputeDomain default/ring .* is of another namespace"
    ) as refused:
        await prepare(started, node.channel("thief", domain, namespace="elsewhere"))

    assert "create a ComputeDomain in elsewhere" in str(refused.value)
    assert ("PATCH", "/api/v1/nodes/node-a") not in node.api.writes()
    assert node.world() == before
    assert started.machine.entries == ()


async def test_a_domain_that_does_not_exist_is_refused_before_the_node_is_labelled(node: DomainNode) -> None:
    started, domain = await begin(node), node.domain("ring")
    node.api.remove(COMPUTE_DOMAINS, "ring", namespace="default")

    with pytest.raises(ClaimRefused, match=f"ComputeDomain with uid {domain.uid} not found"):
        await prepare(started, node.channel("job", domain))
    assert ("PATCH", "/api/v1/nodes/node-a") not in node.api.requests


@pytest.mark.parametrize(
    ("device", "kind", "fields", "says"),
    [
        (
            "channel-0",
            "Channel",
            {"unexpectedField": 1},
            'strict decoding error: unknown field "unexpectedField"',
        ),
        ("channel-0", "Channel", {"domainID": ""}, "domainID cannot be empty"),
        ("channel-0", "Channel", {"domainID": "../etc"}, "is no uid"),
        ("channel-0", "Channel", {"allocationMode": "Every"}, "unknown allocation mode"),
        ("channel-0", "Daemon", {}, "has no ComputeDomainChannelConfig"),
        ("channel-2048", "Channel", {}, "allocatable not found for device 'channel-2048'"),
        ("channel-00", "Channel", {}, "allocatable not found"),
        ("daemon-1", "Daemon", {}, "allocatable not found"),
        ("gpu-0", "Channel", {}, "this node has channel-0 and daemon-0"),
        ("channel-0", None, {}, "has no ComputeDomainChannelConfig, which names the ComputeDomain"),
    ],
)
async def test_what_a_claim_says_wrong_is_refused_by_name(
    node: DomainNode, device: str, kind: str | None, fields: dict[str, Any], says: str
) -> None:
    started = await begin(node)
    body = {
        "apiVersion": "resource.nvidia.com/v1beta1",
        "kind": f"ComputeDomain{kind}Config",
        "domainID": node.domain("ring").uid,
        **fields,
    }

    with pytest.raises(ClaimRefused) as refused:
        started.planner.plan(node.claim("job", device, body if kind else None, namespace=NAMESPACE))

    assert says in str(refused.value)


# Daemons.


async def test_a_daemon_gets_the_drivers_nodes_its_folder_and_its_words(node: DomainNode) -> None:
    started, domain = await begin(node), node.domain("ring")
    claim = node.daemon("daemon", domain)

    ids = await prepare(started, claim)
    edits = load_specs([node.cdi]).resolve(ids)
    folder = node.settings.domains_dir / domain.uid
    (folder / "nodes.cfg").write_text("left by nvidia-imex")
    await started.machine.release(claim.uid)

    assert ids == (
        "k8s.compute-domain.nvidia.com/device=all",
        f"k8s.compute-domain.nvidia.com/claim={claim.uid}-daemon-0",
    )
    assert {
        "COMPUTE_DOMAIN_NAME=ring",
        "COMPUTE_DOMAIN_NAMESPACE=default",
        f"COMPUTE_DOMAIN_UUID={domain.uid}",
        f"CLIQUE_ID={CLIQUE}",
    } <= set(edits.env)
    assert {each.container_path: each.host_path for each in edits.mounts}["/imexd"] == str(folder)
    paths = {each.path for each in edits.device_nodes}
    assert {"/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia3", "/dev/nvidia-caps/nvidia-cap3"} <= paths
    assert "/usr/bin/nvidia-imex" in {each.container_path for each in edits.mounts}
    assert not folder.exists()


async def test_a_daemon_without_a_fabric_has_an_empty_clique_and_no_capability(
    tmp_path: Path, api: FakeApi
) -> None:
    with closing(DomainNode(tmp_path, api, fabric=None)) as node:
        del node.host.devices[PurePosixPath("/dev/nvidia-caps/nvidia-cap3")]
        started = await begin(node)
        ids = await prepare(started, node.daemon("d", node.domain("ring")))
        edits = load_specs([node.cdi]).resolve(ids)

    assert "CLIQUE_ID=" in edits.env
    assert "/dev/nvidia-caps/nvidia-cap3" not in {each.path for each in edits.device_nodes}


async def test_a_daemon_of_a_workloads_namespace_is_refused_as_it_would_get_every_gpu(
    node: DomainNode,
) -> None:
    started = await begin(node)

    with pytest.raises(ClaimRefused, match="namespace default, expected claimwright: only the controller"):
        await prepare(started, node.daemon("thief", node.domain("ring"), namespace="default"))
    assert node.world()["domains"] == []


async def test_a_kernel_that_does_not_tell_the_capability_leaves_nothing_behind(node: DomainNode) -> None:
    started, domain = await begin(node), node.domain("ring")
    before = node.world()
    del node.host.files[PurePosixPath("/proc/driver/nvidia/capabilities/fabric-imex-mgmt")]

    with pytest.raises(StepFailed, match="fabric-imex-mgmt names no device file"):
        await prepare(started, node.daemon("daemon", domain))
    assert node.world() == before


async def test_the_spec_for_daemons_replaces_that_of_the_community_driver(node: DomainNode) -> None:
    old = node.cdi / "k8s.compute-domain.nvidia.com-device_base.yaml"
    old.write_text("cdiVersion: 0.5.0\nkind: k8s.compute-domain.nvidia.com/device\ndevices: []\n")
    await begin(node)
    spec = json.loads((node.cdi / "k8s.compute-domain.nvidia.com-device_base.json").read_text())

    assert not old.exists()
    assert spec["kind"] == "k8s.compute-domain.nvidia.com/device"
    assert [device["name"] for device in spec["devices"]] == ["all"]


# Restarts.


async def test_claims_that_are_prepared_or_wait_survive_a_kill(node: DomainNode) -> None:
    started, domain = await begin(node), node.domain("ring")
    channel, daemon = node.channel("job", domain), node.daemon("daemon", domain)
    answer = await prepare(started, daemon)
    with pytest.raises(NotYet):
        await prepare(started, channel)
    node.close()

    again = await begin(node)
    kept = {entry.uid: entry.state for entry in again.machine.entries}
    label, folders = node.label, node.world()["domains"]
    node.daemon_says(domain)

    assert kept == {daemon.uid: State.PREPARED, channel.uid: State.WAITING}
    assert label == domain.uid
    assert folders == [domain.uid]
    assert await prepare(again, daemon) == answer
    assert len(await prepare(again, channel)) == 1


async def test_a_journal_that_is_lost_is_rebuilt_from_cdi_files_and_claims(node: DomainNode) -> None:
    started, domain = await begin(node), ready_domain(node)
    channel, daemon = node.channel("job", domain), node.daemon("daemon", domain)
    answers = [await prepare(started, channel), await prepare(started, daemon)]
    node.close()
    node.settings.journal.write_bytes(b"rubbish\nand more\n")

    again = await begin(node)
    same = [await prepare(again, channel), await prepare(again, daemon)]
    await again.machine.release(channel.uid)

    assert again.problem is not None
    assert same == answers
    assert node.label is None


async def test_claims_that_a_reboot_ended_wait_for_the_kubelet_and_keep_the_label(node: DomainNode) -> None:
    started, domain = await begin(node), ready_domain(node)
    channel, daemon = node.channel("job", domain), node.daemon("daemon", domain)
    answers = [await prepare(started, channel), await prepare(started, daemon)]
    node.close()
    for path in node.cdi.iterdir():  # /var/run is in memory
        path.unlink()
    node.boot = "another"

    again = await begin(node)
    states, label = {entry.state for entry in again.machine.entries}, node.label
    same = [await prepare(again, channel), await prepare(again, daemon)]
    load_specs([node.cdi]).resolve([cdi_id for ids in same for cdi_id in ids])
    await again.machine.release(channel.uid)

    assert states == {State.WAITING}
    assert label == domain.uid
    assert same == answers
    assert node.label is None


async def test_the_label_of_a_domain_that_is_being_deleted_is_left_to_its_controller(
    node: DomainNode,
) -> None:
    started, domain = await begin(node), ready_domain(node)
    held, late = node.channel("job", domain), node.channel("late", domain)
    first = await prepare(started, held)
    (item,) = node.api.objects(COMPUTE_DOMAINS)
    item["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    node.api.put(COMPUTE_DOMAINS, item)
    node.api.put(NODES, {"metadata": {"name": NODE}})
    again = await prepare(started, held)
    label = node.label
    await started.machine.release(held.uid)

    assert again == first
    assert label is None
    with pytest.raises(ClaimRefused, match=r"default/ring .* is being deleted"):
        await prepare(started, late)


async def test_a_claim_that_waits_is_refused_once_its_domain_is_being_deleted(node: DomainNode) -> None:
    started, domain = await begin(node), node.domain("ring")
    claim = node.channel("job", domain)
    with pytest.raises(NotYet):
        await prepare(started, claim)
    (item,) = node.api.objects(COMPUTE_DOMAINS)
    item["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    node.api.put(COMPUTE_DOMAINS, item)

    with pytest.raises(ClaimRefused, match="is being deleted"):
        await prepare(started, claim)
    assert node.label is None
    assert started.machine.entries == ()


async def test_without_cliques_the_status_of_the_domain_tells_who_is_ready(
    tmp_path: Path, api: FakeApi
) -> None:
    with closing(DomainNode(tmp_path, api, flags=("--feature-gates=ComputeDomainCliques=false",))) as node:
        started, domain = await begin(node), node.domain("ring")
        claim = node.channel("job", domain)
        with pytest.raises(NotYet, match="has not entered it into the domain's status"):
            await prepare(started, claim)
        (item,) = api.objects(COMPUTE_DOMAINS)
        row = Member(NODE, "10.0.0.5", CLIQUE, 0, ready=True).row(named="name")
        api.put(COMPUTE_DOMAINS, {**item, "status": {"nodes": [row]}})

        assert len(await prepare(started, claim)) == 1


async def test_folders_of_no_claim_are_removed_once_their_domain_is_gone(node: DomainNode) -> None:
    domain = node.domain("ring")
    left, running = (node.settings.domains_dir / uid for uid in ("gone", domain.uid))
    for folder in (left, running):
        folder.mkdir(parents=True)
        (folder / "imexd.cfg").touch()
    fault = node.api.fail("GET", "/computedomains", 503, times=None)
    await begin(node)
    kept = left.exists()
    node.api.faults.remove(fault)
    await begin(node)

    assert kept
    assert not left.exists()
    assert (running / "imexd.cfg").exists()


# Where the host runs nvidia-imex.


@pytest.fixture
def host_node(tmp_path: Path, api: FakeApi) -> Iterator[DomainNode]:
    with closing(DomainNode(tmp_path, api, flags=HOST)) as node:
        node.processes.answers["nvidia-imex-ctl"] = Finished(0, "READY\n")
        yield node


async def test_the_hosts_nvidia_imex_is_asked_and_the_node_gets_no_label(host_node: DomainNode) -> None:
    started, domain = await begin(host_node), host_node.domain("ring")
    claim = host_node.channel("job", domain, device="channel-7", allocationMode="All")

    ids = await prepare(started, claim)
    nodes = load_specs([host_node.cdi]).resolve(ids).device_nodes
    await started.machine.release(claim.uid)

    assert [each.path for each in nodes] == ["/dev/nvidia-caps-imex-channels/channel7"]
    assert host_node.processes.commands == [("nvidia-imex-ctl", "-q", "--u=/etc/nvidia-imex/imex_ctrl.sock")]
    assert host_node.label is None
    assert host_node.api.writes() == []


@pytest.mark.parametrize("says", ["NOT_READY", "INITIALIZING", "", "Failed to connect: READYNESS unknown"])
async def test_a_host_that_is_not_ready_is_waited_for(host_node: DomainNode, says: str) -> None:
    started, claim = await begin(host_node), host_node.channel("job", host_node.domain("ring"))
    host_node.processes.answers["nvidia-imex-ctl"] = Finished(1, says)
    with pytest.raises(NotYet, match="the host's nvidia-imex on node node-a is not ready"):
        await prepare(started, claim)
    host_node.processes.answers["nvidia-imex-ctl"] = Finished(0, "READY\n")

    assert len(await prepare(started, claim)) == 1


async def test_a_host_without_the_program_is_told_so(host_node: DomainNode) -> None:
    (host_node.doors.root.readable / "usr/bin/nvidia-imex-ctl").unlink()
    started = await begin(host_node)

    with pytest.raises(StepFailed, match="nvidia-imex-ctl not found under driver root"):
        await prepare(started, host_node.channel("job", host_node.domain("ring")))


async def test_a_host_without_a_fabric_is_not_asked(tmp_path: Path, api: FakeApi) -> None:
    with closing(DomainNode(tmp_path, api, flags=HOST, fabric=None)) as node:
        started = await begin(node)
        ids = await prepare(started, node.channel("job", node.domain("ring")))

    assert ids == ()
    assert node.processes.commands == []


async def test_a_host_managed_node_keeps_namespaces_apart_and_runs_no_daemons(host_node: DomainNode) -> None:
    started, domain = await begin(host_node), host_node.domain("ring")

    with pytest.raises(ClaimRefused, match="another namespace"):
        await prepare(started, host_node.channel("thief", domain, namespace="elsewhere"))
    with pytest.raises(ClaimRefused, match="--imex-mode hostManaged"):
        await prepare(started, host_node.daemon("daemon", domain))
