"""The real process on real sockets: what the kubelet sees, and what survives `kill -9`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from claimwright.dra.cdi import load_specs
from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.dra.kube import EVENTS, NODES, RESOURCE_CLAIMS, RESOURCE_SLICES
from claimwright.dra.kubelet import PluginClient, wait_for_plugin
from claimwright.dra.testing import FakeApi
from claimwright.driver.signals import DUMP
from claimwright.driver.testing import StubNode, allocated_gpus, build_stub_node, wait_until

DRIVER = "gpu.nvidia.com"
PROGRAM = Path(sys.executable).with_name("claimwright")
pytestmark = pytest.mark.slow


class Plugin:
    """A node, an API server, and processes of the driver on it."""

    def __init__(self, folder: Path, api: FakeApi, library: Path) -> None:
        self.folder, self.api = folder, api
        self.node = StubNode(folder)
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "log"
        subprocess.run(["cp", "-a", f"{library}/.", folder], check=True, timeout=30)
        self.kubeconfig = api.kubeconfig(folder / "kubeconfig")
        api.put(NODES, {"metadata": {"name": "node-a"}})

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "driver", "gpu-plugin", *arguments],
                env={
                    **os.environ,
                    **self.node.environment,
                    "KUBECONFIG": str(self.kubeconfig),
                    "NODE_NAME": "node-a",
                    **environment,
                },
                stderr=log,
            )
        return self._process

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(timeout=30)

    async def client(self, version: str = "v1") -> PluginClient:
        info = await wait_for_plugin(self.node.registry_dir, DRIVER, timeout_seconds=30)
        return PluginClient(info.endpoint, version)  # type: ignore[arg-type]

    def claim(self, name: str, *devices: str, **more: Any) -> ClaimReference:
        item = self.api.put(RESOURCE_CLAIMS, allocated_gpus(name, devices, pool="node-a", **more))
        return ClaimReference("default", name, ClaimUid(item["metadata"]["uid"]))

    @property
    def specs(self) -> list[Path]:
        return sorted(self.node.cdi_root.iterdir())

    async def logged(self, text: str) -> str:
        await wait_until(lambda: text in self.log.read_text())
        return self.log.read_text()

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=10)


@pytest.fixture(scope="session")
def stub_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stub")
    build_stub_node(folder)
    return folder


@pytest.fixture
def plugin(stub_folder: Path, request: pytest.FixtureRequest) -> Iterator[Plugin]:
    # Unix socket paths are short, and pytest's own folders are not.
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="cw"))
    try:
        with FakeApi() as api, contextlib.closing(Plugin(folder, api, stub_folder)) as started:
            yield started
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_a_claim_is_prepared_and_released_in_both_versions(plugin: Plugin, version: str) -> None:
    plugin.start()
    client = await plugin.client(version)
    claim = plugin.claim("a", "gpu-2")

    first = (await client.prepare([claim]))[claim.uid]
    again = (await client.prepare([claim]))[claim.uid]
    edits = load_specs([plugin.node.cdi_root]).resolve(first[0].cdi_ids)  # type: ignore[union-attr]
    released = [(await client.release([claim]))[claim.uid] for _ in range(2)]
    await client.close()

    assert first == again
    assert [(found.device, found.pool, found.requests) for found in first] == [
        ("gpu-2", "node-a", ("gpu-0",))
    ]  # type: ignore[union-attr]
    assert "/dev/nvidia2" in {node.path for node in edits.device_nodes}
    assert released == ["", ""]
    assert plugin.specs == []


async def test_one_bad_claim_does_not_touch_the_others(plugin: Plugin) -> None:
    plugin.start()
    client = await plugin.client()
    good, taken = plugin.claim("good", "gpu-0"), plugin.claim("taken", "gpu-0")
    unknown = plugin.claim("unknown", "gpu-77")
    stale = ClaimReference("default", "good2", ClaimUid("other"))
    plugin.claim("good2", "gpu-3")
    await client.prepare([good])

    second = plugin.claim("second", "gpu-1")
    answers = await client.prepare([second, taken, unknown, stale])
    await client.close()

    assert not isinstance(answers[second.uid], str)
    assert f"requested device gpu-0 is already allocated to different claim {good.uid}" in answers[taken.uid]
    assert "error preparing devices" in answers[unknown.uid]
    assert "allocatable not found for device 'gpu-77'" in answers[unknown.uid]
    assert "got replaced" in answers[stale.uid]
    assert len(plugin.specs) == 2


async def test_a_config_with_an_unknown_field_is_refused_in_the_known_words(plugin: Plugin) -> None:
    plugin.start()
    client = await plugin.client()
    parameters = {"apiVersion": "resource.nvidia.com/v1beta1", "kind": "GpuConfig", "unexpectedField": 1}
    config = {"source": "FromClaim", "opaque": {"driver": DRIVER, "parameters": parameters}}
    claim = plugin.claim("bad", "gpu-0", config=[config])

    answer = (await client.prepare([claim]))[claim.uid]
    await client.close()

    assert "error preparing devices" in answer
    assert 'strict decoding error: unknown field "unexpectedField"' in answer
    assert plugin.specs == []


async def test_eight_claims_at_once_and_one_claim_by_two_callers(plugin: Plugin) -> None:
    plugin.start()
    client, other = await plugin.client(), await plugin.client("v1beta1")
    claims = [plugin.claim(f"c{number}", f"gpu-{number}") for number in range(8)]

    answers = await asyncio.gather(*(door.prepare([claim]) for claim in claims for door in (client, other)))
    await asyncio.gather(*(client.release([claim]) for claim in claims))
    await client.close()
    await other.close()

    assert not any(isinstance(found, str) for answer in answers for found in answer.values())
    assert plugin.specs == []


async def test_prepared_claims_survive_kill_9_and_stale_ones_are_released(plugin: Plugin) -> None:
    plugin.start()
    client = await plugin.client()
    kept, stale = plugin.claim("kept", "gpu-0", "gpu-1"), plugin.claim("stale", "gpu-2")
    before = await client.prepare([kept])
    await client.prepare([stale])
    await client.close()
    plugin.end(signal.SIGKILL)
    plugin.api.remove(RESOURCE_CLAIMS, "stale", namespace="default")

    plugin.start()
    await plugin.logged(f"Checkpointed RC cleanup: unprepared stale claim: default/stale:{stale.uid}")
    client = await plugin.client()
    after = await client.prepare([kept])
    free = plugin.claim("free", "gpu-2")
    new = (await client.prepare([free]))[free.uid]
    await client.close()

    assert after == before
    assert not isinstance(new, str)
    assert len(plugin.specs) == 2


async def test_kill_9_in_the_middle_of_calls_loses_and_doubles_nothing(plugin: Plugin) -> None:
    claims = [plugin.claim(f"c{number}", f"gpu-{number}") for number in range(8)]
    answered: dict[str, Any] = {}
    for _ in range(3):
        process = plugin.start()
        client = await plugin.client()

        async def prepare(claim: ClaimReference, client: PluginClient = client) -> None:
            with contextlib.suppress(Exception):
                answered.setdefault(claim.uid, (await client.prepare([claim]))[claim.uid])

        calls = [asyncio.ensure_future(prepare(claim)) for claim in claims]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        process.kill()
        process.wait(timeout=10)
        await asyncio.gather(*calls)
        await client.close()

    plugin.start()
    client = await plugin.client()
    final = {claim.uid: (await client.prepare([claim]))[claim.uid] for claim in claims}
    specs = len(plugin.specs)
    for claim in claims:
        await client.release([claim])
    await client.close()

    assert not any(isinstance(found, str) for found in final.values())
    assert {uid: final[uid] for uid in answered} == answered
    assert specs == 8
    assert plugin.specs == []


async def test_a_driver_that_holds_no_claim_leaves_no_file_and_one_that_does_keeps_its_state(
    plugin: Plugin,
) -> None:
    plugin.start()
    client = await plugin.client()
    claim = plugin.claim("a", "gpu-0")
    before = await client.prepare([claim])
    await client.close()
    plugin.end()
    kept = sorted(path.name for path in (plugin.node.plugins_dir / DRIVER).iterdir())

    plugin.start()
    client = await plugin.client()
    after = await client.prepare([claim])
    await client.release([claim])
    await client.close()
    plugin.end()

    assert set(kept) >= {"claims.journal", "driver.lock"}
    assert after == before
    left = (plugin.node.plugins_dir, plugin.node.registry_dir, plugin.node.cdi_root)
    assert [list(folder.iterdir()) for folder in left] == [[], [], []]


async def test_a_corrupt_journal_is_survived_with_an_event(plugin: Plugin) -> None:
    plugin.start()
    client = await plugin.client()
    claim = plugin.claim("a", "gpu-0")
    before = await client.prepare([claim])
    await client.close()
    plugin.end()
    journal = plugin.node.plugins_dir / DRIVER / "claims.journal"
    journal.write_bytes(b"garbage\n" + journal.read_bytes())

    plugin.start()
    client = await plugin.client()
    after = await client.prepare([claim])
    await client.close()

    assert after == before
    assert plugin.api.objects(EVENTS)[0]["reason"] == "CheckpointCorrupted"
    assert list(journal.parent.glob("claims.journal.corrupt-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
async def test_a_signal_ends_it_with_status_0_and_no_socket_left(
    plugin: Plugin, number: signal.Signals
) -> None:
    plugin.start()
    await (await plugin.client()).close()

    status = plugin.end(number)

    assert status == 0
    assert not list(plugin.node.registry_dir.iterdir())
    assert not (plugin.node.plugins_dir / DRIVER / "dra.sock").exists()
    assert len(plugin.api.objects(RESOURCE_SLICES)) <= 1  # they stay: the kubelet decides when they go


async def test_slices_are_published_and_repaired(plugin: Plugin) -> None:
    plugin.start()
    slices = await wait_until(lambda: plugin.api.objects(RESOURCE_SLICES))
    plugin.api.remove(RESOURCE_SLICES, slices[0]["metadata"]["name"])
    again = await wait_until(lambda: plugin.api.objects(RESOURCE_SLICES))

    devices = again[0]["spec"]["devices"]
    assert [device["name"] for device in devices] == [f"gpu-{minor}" for minor in range(8)]
    assert devices[0]["attributes"]["resource.kubernetes.io/pcieRoot"] == {"string": "pci0000:15"}


async def test_metrics_and_health_answer(plugin: Plugin) -> None:
    plugin.start(HTTP_ENDPOINT="127.0.0.1:0", HEALTHCHECK_PORT="0")
    client = await plugin.client()
    claim = plugin.claim("a", "gpu-0")
    await client.prepare([claim])
    await client.prepare([plugin.claim("b", "gpu-0")])
    await client.close()
    log = await plugin.logged("metrics on port")
    port = log.partition("metrics on port ")[2].split()[0]
    health = log.partition("health service listens on port ")[2].split()[0]

    metrics = await asyncio.to_thread(_scrape, f"http://127.0.0.1:{port}/metrics")
    healthy = await asyncio.to_thread(_scrape, f"http://127.0.0.1:{port}/healthz")
    serving = await _check(health, b"\x0a\x08liveness")
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await _check(health, b"\x0a\x01x")
    (plugin.node.plugins_dir / DRIVER / "dra.sock").unlink()
    broken = await _check(health, b"")

    assert 'nvidia_dra_requests_total{driver="gpu.nvidia.com",operation="prepare"} 1.0' in metrics
    assert 'nvidia_dra_requests_total{driver="gpu.nvidia.com",operation="unprepare"} 0.0' in metrics
    assert (
        'nvidia_dra_request_duration_seconds_bucket{driver="gpu.nvidia.com",le="12.8",operation="prepare"}'
        in metrics
    )
    assert 'nvidia_dra_requests_inflight{driver="gpu.nvidia.com",operation="prepare"} 0.0' in metrics
    assert (
        'nvidia_dra_prepared_devices{device_type="gpu",driver="gpu.nvidia.com",node="node-a"} 1.0' in metrics
    )
    assert (
        'nvidia_dra_node_prepare_errors_total{driver="gpu.nvidia.com",error_type="prepare_devices"} 1.0'
        in metrics
    )
    assert (
        'nvidia_dra_node_unprepare_errors_total{driver="gpu.nvidia.com",error_type="lock_acquire"} 0.0'
        in metrics
    )
    assert healthy == "ok\n"
    assert (serving, broken) == (b"\x08\x01", b"\x08\x02")
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("endpoint", "path"), [("127.0.0.1:0", ""), ("", "/metrics")], ids=["no path", "no endpoint"]
)
async def test_metrics_need_an_endpoint_and_a_path(plugin: Plugin, endpoint: str, path: str) -> None:
    plugin.start("--http-endpoint", endpoint, "--metrics-path", path, HEALTHCHECK_PORT="0")
    await (await plugin.client()).close()
    log = await plugin.logged("health service listens on port ")
    plugin.end()

    assert "metrics on port" not in log + plugin.log.read_text()


def _scrape(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


async def _check(port: str, request: bytes) -> bytes:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            "/grpc.health.v1.Health/Check", request_serializer=bytes, response_deserializer=bytes
        )
        return bytes(await call(request, timeout=20))


async def test_usr2_writes_all_stacks_where_support_scripts_look(plugin: Plugin) -> None:
    process = plugin.start()
    await (await plugin.client()).close()
    before = DUMP.stat().st_mtime_ns if DUMP.exists() else 0
    process.send_signal(signal.SIGUSR2)
    await wait_until(lambda: DUMP.exists() and DUMP.stat().st_mtime_ns != before)

    text = DUMP.read_text()

    assert "main.RunPlugin" in text
    assert "thread MainThread" in text
    assert "task " in text


async def test_logs_are_json_with_configuration_gates_and_request_ids(plugin: Plugin) -> None:
    plugin.start("--logging-format", "json", FEATURE_GATES="HostManagedIMEXDaemon=true")
    client = await plugin.client()
    claim = plugin.claim("a", "gpu-0")
    await client.prepare([claim])
    await client.close()
    log = await plugin.logged("prepare of claim default/a succeeded")

    lines = [json.loads(line) for line in log.splitlines()]

    assert any(
        '"HostManagedIMEXDaemon": true' in line["msg"] and line["msg"].startswith("configuration")
        for line in lines
    )
    # Its effect is the ComputeDomain plugin's; both are told the same gates.
    assert not any("feature gate HostManagedIMEXDaemon is on, but" in line["msg"] for line in lines)
    done = next(line for line in lines if line["msg"].startswith("prepare of claim"))
    assert done["request_id"]
    assert done["claim_uid"] == claim.uid


async def test_a_second_process_waits_for_the_first_one(plugin: Plugin) -> None:
    first = plugin.start()
    await (await plugin.client()).close()
    plugin.start()
    first.terminate()
    first.wait(timeout=30)

    client = await plugin.client()
    claim = plugin.claim("a", "gpu-0")
    answer = (await client.prepare([claim]))[claim.uid]
    await client.close()

    assert not isinstance(answer, str)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "driver", *arguments],
        env={**{name: value for name, value in os.environ.items() if name != "NODE_NAME"}, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--node-name"),
        (["--node-name", "n", "extra"], "unexpected extra argument (extra)"),
        (["--node-name", "n", "--feature-gates", "Nope=true"], "unknown feature gate 'Nope'"),
        (
            ["--node-name", "n", "--consumable-shares", "3"],
            "--consumable-shares 3 needs feature gate ConsumableShares",
        ),
        (
            ["--node-name", "n", "--consumable-shares", "many"],
            "--consumable-shares 'many': expected disabled",
        ),
        (
            ["--node-name", "n", "--http-endpoint", "nowhere"],
            "--http-endpoint 'nowhere': expected [host]:port",
        ),
        (["--node-name", "n", "--healthcheck-port", "99999"], "--healthcheck-port 99999"),
        (["--node-name", "n", "--nvidia-driver-root", "relative"], "--nvidia-driver-root 'relative'"),
        (
            ["--node-name", "n", "--nvidia-driver-root", "/nonexistent"],
            "libnvidia-ml.so.1 not found under driver root",
        ),
    ],
)
def test_a_wrong_command_line_gives_one_clear_error(arguments: list[str], says: str) -> None:
    ended = run("gpu-plugin", *arguments)

    assert ended.returncode != 0
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_names_every_flag_of_the_community_driver() -> None:
    text = run("gpu-plugin", "--help").stdout

    for flag in [
        "node-name",
        "namespace",
        "cdi-root",
        "nvidia-driver-root",
        "host_driver-root",
        "container-driver-root",
        "host-root",
        "nvidia-cdi-hook-path",
        "image-name",
        "image-pull-secrets",
        "image-pull-policy",
        "service-account-name",
        "kubelet-registrar-directory-path",
        "kubelet-plugins-directory-path",
        "healthcheck-port",
        "additional-xids-to-ignore",
        "http-endpoint",
        "metrics-path",
        "consumable-shares",
        "kubeconfig",
        "feature-gates",
        "kube-api-qps",
        "kube-api-burst",
    ]:
        assert f"--{flag}" in text
