"""The ComputeDomain plugin as a whole: its sockets, slices, probes and metrics, its start and its end."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from claimwright.dra.claims import Claim
from claimwright.dra.kube import NODES, RESOURCE_CLAIMS, RESOURCE_SLICES
from claimwright.dra.kubelet import PluginClient, wait_for_plugin
from claimwright.dra.testing import FakeApi
from claimwright.driver.computedomain.plugin import composition
from claimwright.driver.computedomain.plugin.clique_label import LABEL
from claimwright.driver.computedomain.plugin.composition import domain_plugin
from claimwright.driver.computedomain.plugin.patience import Patience
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.ports import FabricReading
from claimwright.driver.testing import gpu_reading, wait_until
from claimwright.driver.testing.domain_node import ATTACHED, CLIQUE, NODE, DomainNode

DRIVER = "compute-domain.nvidia.com"
NO_FABRIC = ("",)
HOST = ("--imex-mode=hostManaged", "--feature-gates=HostManagedIMEXDaemon=true")


class Life:
    """A node in a short folder, since paths of sockets are short, and plugins on it."""

    def __init__(self, folder: Path, api: FakeApi, *flags: str, **more: Any) -> None:
        self.api = api
        self.node = DomainNode(folder, api, flags=flags, **more)
        self.errors: list[Exception] = []

    def run(self, **changes: Any) -> Any:
        return domain_plugin(replace(self.node.settings, **changes), self.node.doors, self.errors.append)

    async def client(self) -> PluginClient:
        info = await wait_for_plugin(self.node.settings.registry_dir, DRIVER, timeout_seconds=30)
        return PluginClient(info.endpoint, "v1")

    def devices(self) -> list[str]:
        found = self.api.objects(RESOURCE_SLICES)
        return [device["name"] for item in found for device in item["spec"]["devices"]]

    def labels(self) -> dict[str, str]:
        (node,) = self.api.objects(NODES)
        return dict(node["metadata"].get("labels") or {})

    def close(self) -> None:
        self.node.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cw"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as api:
        yield api


@pytest.fixture
def life(folder: Path, api: FakeApi) -> Iterator[Life]:
    with closing(Life(folder, api)) as life:
        yield life


async def test_a_node_offers_a_channel_and_a_daemon(life: Life) -> None:
    async with life.run():
        await wait_until(life.devices)
        (item,) = life.api.objects(RESOURCE_SLICES)

    assert item["spec"]["driver"] == DRIVER
    assert item["spec"]["nodeName"] == item["spec"]["pool"]["name"] == NODE
    assert [(each["name"], each["attributes"]) for each in item["spec"]["devices"]] == [
        ("channel-0", {"type": {"string": "channel"}, "id": {"int": 0}}),
        ("daemon-0", {"type": {"string": "daemon"}, "id": {"int": 0}}),
    ]


async def test_a_host_managed_node_offers_no_daemon(folder: Path, api: FakeApi) -> None:
    with closing(Life(folder, api, *HOST)) as life:
        async with life.run():
            await wait_until(life.devices)

    assert life.devices() == ["channel-0"]


async def test_the_kubelet_prepares_and_releases_over_the_socket(life: Life) -> None:
    domain = life.node.domain("ring")
    life.node.daemon_says(domain)
    claim = life.node.channel("job", domain).reference
    async with life.run():
        client = await life.client()
        first, again = [(await client.prepare([claim]))[claim.uid] for _ in range(2)]
        label = life.node.label
        released = [(await client.release([claim]))[claim.uid] for _ in range(2)]
        await client.close()

    assert first == again
    assert [(each.device, each.pool, each.requests) for each in first] == [("channel-0", NODE, ("channel",))]  # type: ignore[union-attr]
    assert label == domain.uid
    assert released == ["", ""]
    assert life.node.label is None


async def test_quirk_18_the_kubelet_gets_a_text_for_every_claim(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composition, "Patience", partial(Patience, budget_seconds=0.0))
    claims = [life.node.channel(name, life.node.domain(f"{name}-ring")).reference for name in ("a", "b")]
    async with life.run():
        client = await life.client()
        answers = await client.prepare(claims)
        await client.close()

    assert all(isinstance(answer, str) and answer for answer in answers.values())
    assert {claim.uid for claim in claims} == set(answers)
    assert any(
        "current node not ready in ComputeDomain default/" in str(answer) for answer in answers.values()
    )


async def test_a_release_does_not_wait_for_a_prepare_that_waits(life: Life) -> None:
    claim = life.node.channel("job", life.node.domain("ring")).reference
    async with life.run():
        client = await life.client()
        preparing = asyncio.ensure_future(client.prepare([claim]))
        await wait_until(lambda: life.node.label)
        releasing = asyncio.ensure_future(client.release([claim]))
        while not releasing.done():
            life.node.clock.advance(1.0)
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(releasing), 0.05)
        answers, released = await preparing, await releasing
        await client.close()

    assert "the claim is being released" in str(answers[claim.uid])
    assert released[claim.uid] == ""
    assert life.node.label is None


async def test_a_stop_does_not_wait_for_a_prepare_that_waits_and_leaves_the_label(life: Life) -> None:
    domain = life.node.domain("ring")
    claim = life.node.channel("job", domain).reference
    async with life.run():
        client = await life.client()
        preparing = asyncio.ensure_future(client.prepare([claim]))
        await wait_until(lambda: life.node.label)
        asyncio.get_running_loop().call_later(0.2, life.node.clock.advance, 5.0)
    with suppress(Exception):
        await preparing
    await client.close()

    assert life.node.label == domain.uid


async def test_a_claim_that_waits_and_is_gone_is_released_by_the_next_start(life: Life) -> None:
    claim: Claim = life.node.channel("job", life.node.domain("ring"))
    started = await life.node.start()
    with pytest.raises(Exception, match="not ready"):
        await started.machine.prepare(started.planner.plan(claim))
    life.node.close()
    life.api.remove(RESOURCE_CLAIMS, "job", namespace="default")
    labelled = life.node.label
    async with life.run():
        await wait_until(lambda: life.node.label is None)

    assert labelled is not None


async def test_the_clique_is_a_label_while_the_plugin_runs(folder: Path, api: FakeApi) -> None:
    with closing(Life(folder, api, "--gpu-clique-label-enabled")) as life:
        async with life.run():
            await wait_until(lambda: LABEL in life.labels())
            first = life.labels()[LABEL]
            moved = replace(ATTACHED, clique_id=8)
            life.node.nvml.gpus = tuple(gpu_reading(minor, fabric=moved) for minor in range(4))
            await wait_until(lambda: life.node.clock.sleepers >= 2)
            life.node.clock.advance(600)
            await wait_until(lambda: life.labels()[LABEL] != first)
            second = life.labels()[LABEL]
        after = life.labels()

    assert first == CLIQUE
    assert second == CLIQUE[:-1] + "8"
    assert LABEL not in after


async def test_an_instance_that_hands_the_node_over_leaves_the_cliques_label_to_the_next(
    folder: Path, api: FakeApi
) -> None:
    """An update of the chart: pods that are to be near their clique must find it throughout."""
    with closing(Life(folder, api, "--gpu-clique-label-enabled")) as life:
        async with AsyncExitStack() as newer:
            async with life.run(pod_uid="older"):
                await wait_until(lambda: LABEL in life.labels())
                await newer.enter_async_context(life.run(pod_uid="newer"))
            handed_over = life.labels()
        after = life.labels()

    assert handed_over[LABEL] == CLIQUE
    assert LABEL not in after


async def test_metrics_tell_of_channels_under_the_community_drivers_names(
    life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    domain = life.node.domain("ring")
    life.node.daemon_says(domain)
    claim = life.node.channel("job", domain).reference
    async with life.run(http_endpoint="127.0.0.1:0", healthcheck_port=0):
        client = await life.client()
        await client.prepare([claim])
        await client.close()
        (port,) = (record.args[0] for record in caplog.records if record.msg.startswith("metrics on port"))
        text = await asyncio.to_thread(_scraped, port)

    assert f'nvidia_dra_prepared_devices{{device_type="channel",driver="{DRIVER}",node="{NODE}"}} 1.0' in text
    assert f'nvidia_dra_prepared_devices{{device_type="daemon",driver="{DRIVER}",node="{NODE}"}} 0.0' in text
    assert f'nvidia_dra_requests_total{{driver="{DRIVER}",operation="prepare"}} 1.0' in text
    assert any(record.msg.startswith("health service listens") for record in caplog.records)


def _scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def asked(api: FakeApi, since: int = 0) -> list[tuple[str, str]]:
    """Requests that are not about the slices, in order: verb and kind."""
    kinds = ("resourceclaims", "computedomains", "computedomaincliques", "nodes", "events")
    found = [
        (verb, next((kind for kind in kinds if f"/{kind}" in path), path))
        for verb, path in api.requests[since:]
    ]
    return [(verb, kind) for verb, kind in found if "resourceslices" not in kind]


async def test_an_idle_node_asks_for_nothing_and_a_channel_for_little(life: Life) -> None:
    domain = life.node.domain("ring")
    life.node.daemon_says(domain)
    claim = life.node.channel("job", domain).reference
    async with life.run():
        client = await life.client()
        await wait_until(life.devices)
        counts = [len(life.api.requests)]
        await client.prepare([claim])
        prepared = asked(life.api, counts[0])
        await client.prepare([claim])
        counts.append(len(life.api.requests))
        for _ in range(6):  # an hour
            await wait_until(lambda: life.node.clock.sleepers >= 2)
            life.node.clock.advance(600)
        await wait_until(lambda: life.node.clock.sleepers >= 2)
        idle = asked(life.api, counts[1])
        counts.append(len(life.api.requests))
        await client.release([claim])
        released = asked(life.api, counts[2])
        await client.close()

    assert asked(life.api, counts[0])[: len(prepared) + 1] == [*prepared, ("GET", "nodes")]
    assert prepared == [
        ("GET", "resourceclaims"),
        ("GET", "computedomains"),
        ("GET", "nodes"),
        ("PATCH", "nodes"),
        ("GET", "computedomains"),
        ("GET", "computedomaincliques"),
    ]
    assert idle == []
    assert released == [("GET", "nodes"), ("GET", "nodes"), ("PATCH", "nodes")]


async def test_a_node_that_holds_nothing_is_left_as_it_was(life: Life) -> None:
    async with life.run():
        await wait_until(life.devices)

    assert not life.node.settings.plugin_dir.exists()
    assert list(life.node.cdi.iterdir()) == []


@pytest.mark.parametrize(
    ("version", "flags", "refused"),
    [
        ("570.86.15", (), True),
        ("570.158.01", (), False),
        ("580.126.20", (), False),
        ("570.86.15", ("--feature-gates=ComputeDomainCliques=false,IMEXDaemonsWithDNSNames=false",), False),
        ("570.86.15", HOST, False),
        ("570.86.15", NO_FABRIC, False),
    ],
)
async def test_a_driver_whose_imex_knows_no_names_is_refused_at_start(
    folder: Path, api: FakeApi, version: str, flags: tuple[str, ...], refused: bool
) -> None:
    more = {"fabric": None} if flags == NO_FABRIC else {}
    with closing(Life(folder, api, *(flag for flag in flags if flag), **more)) as life:
        life.node.nvml.driver_version = version
        if refused:
            with pytest.raises(NodeUnusable, match=r"older than 570\.158\.01"):
                async with life.run():
                    pass
        else:
            async with life.run():
                pass


async def test_a_fabric_without_channels_is_refused_at_start(life: Life) -> None:
    life.node.host.files[PurePosixPath("/proc/devices")] = "Character devices:\n195 nvidia\n\nBlock devices:"
    with pytest.raises(NodeUnusable, match="no line for nvidia-caps-imex-channels"):
        async with life.run():
            pass


async def test_gpus_that_are_not_attached_yet_end_the_start(folder: Path, api: FakeApi) -> None:
    with closing(Life(folder, api)) as life:
        waiting = FabricReading(ATTACHED.cluster_uuid, 7, state=2)
        life.node.nvml.gpus = (gpu_reading(0, fabric=waiting),)
        with pytest.raises(NodeUnusable, match="registration in progress"):
            async with life.run():
                pass
