"""The ComputeDomain controller as a process: its flags, its probes, its signals, and a standby beside it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from claimwright.dra.kube import DAEMON_SETS, LEASES
from claimwright.dra.testing import FakeApi
from claimwright.driver.computedomain.resources import COMPUTE_DOMAINS
from claimwright.driver.signals import DUMP
from claimwright.driver.testing import wait_until
from claimwright.driver.testing.domains import put_domain

PROGRAM = Path(sys.executable).with_name("claimwright")
ELECTION = {
    "LEADER_ELECTION_ENABLED": "true",
    "LEADER_ELECTION_LEASE_LOCK_NAMESPACE": "driver",
    "LEADER_ELECTION_LEASE_DURATION": "2s",
    "LEADER_ELECTION_RENEW_DEADLINE": "1500ms",
    "LEADER_ELECTION_RETRY_PERIOD": "0.1s",
}
pytestmark = pytest.mark.slow


def fetch(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Pod:
    """A process of the controller, and its log."""

    def __init__(self, folder: Path, api: FakeApi, name: str, **environment: str) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "driver", "compute-domain-controller", "--http-endpoint", "127.0.0.1:0"],
                env={
                    **os.environ,
                    "KUBECONFIG": str(api.kubeconfig(folder / "kubeconfig")),
                    "POD_NAME": name,
                    "NAMESPACE": "driver",
                    "IMAGE_NAME": "driver:1",
                    **environment,
                },
                stderr=log,
            )

    async def logged(self, pattern: str) -> re.Match[str]:
        return await wait_until(lambda: re.search(pattern, self.log.read_text()))

    async def page(self, path: str) -> tuple[int, str]:
        port = (await self.logged(r"HTTP on port (\d+)"))[1]
        return await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}{path}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as running:
        yield running


@pytest.fixture
def pods(tmp_path: Path, api: FakeApi) -> Iterator[list[Pod]]:
    started: list[Pod] = []
    yield started
    for pod in started:
        if pod.process.poll() is None:
            pod.process.kill()
            pod.process.wait(timeout=30)


def status(api: FakeApi) -> str:
    return next(
        ((item.get("status") or {}).get("status", "") for item in api.objects(COMPUTE_DOMAINS)), "no domain"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda each: each.name)
async def test_it_is_set_up_by_its_environment_and_ends_when_told(
    tmp_path: Path, api: FakeApi, pods: list[Pod], number: signal.Signals
) -> None:
    put_domain(api)
    pods.append(pod := Pod(tmp_path, api, "one", MAX_NODES_PER_IMEX_DOMAIN="9", LOG_VERBOSITY_CD_DAEMON="6"))
    await wait_until(lambda: status(api) == "Ready")

    (container,) = api.objects(DAEMON_SETS)[0]["spec"]["template"]["spec"]["containers"]
    values = {item["name"]: item.get("value") for item in container["env"]}
    assert (values["MAX_NODES_PER_IMEX_DOMAIN"], values["V"]) == ("9", "6")
    assert "maxNodesPerIMEXDomain:9" in pod.log.read_text()
    assert pod.end(number) == 0


async def test_probes_metrics_and_stacks_are_served(tmp_path: Path, api: FakeApi, pods: list[Pod]) -> None:
    unreadable = api.fail("GET", "/daemonsets", 403, times=None, reason="Forbidden")
    put_domain(api)
    pods.append(pod := Pod(tmp_path, api, "one", PPROF_PATH="/stacks"))
    await pod.logged("following daemonsets failed")

    assert await pod.page("/healthz") == (200, "ok\n")
    code, text = await pod.page("/readyz")
    assert (code, "daemonsets of driver cannot be read yet" in text) == (503, True)
    api.faults.remove(unreadable)
    await wait_until(lambda: status(api) == "Ready")
    assert await pod.page("/readyz") == (200, "ok\n")
    _, text = await pod.page("/metrics")
    assert 'nvidia_dra_compute_domain_info{status="Ready"} 1.0' in text
    assert 'nvidia_dra_compute_domain_info{status="NotReady"} 0.0' in text
    assert "thread worker-0" in (await pod.page("/stacks"))[1]
    assert (await pod.page("/else"))[0] == 404
    pod.process.send_signal(signal.SIGUSR2)
    await wait_until(lambda: DUMP.exists() and "thread worker-0" in DUMP.read_text())
    assert pod.end() == 0


async def test_a_standby_follows_a_leader_that_ends_at_once(
    tmp_path: Path, api: FakeApi, pods: list[Pod]
) -> None:
    slow = {**ELECTION, "LEADER_ELECTION_LEASE_DURATION": "600s", "LEADER_ELECTION_RENEW_DEADLINE": "500s"}
    pods.append(first := Pod(tmp_path, api, "first", **slow))
    await first.logged("leading as first-")
    pods.append(second := Pod(tmp_path, api, "second", **slow))
    await second.logged("is held by 'first-")
    assert (await second.page("/readyz"))[0] == 200
    assert "nvidia_dra_compute_domain_leading 0.0" in (await second.page("/metrics"))[1]

    pods.append(third := Pod(tmp_path, api, "third", **slow))
    await third.logged("is held by 'first-")
    assert third.end() == 0
    assert first.end() == 0
    await second.logged("leading as second-")
    put_domain(api)
    await wait_until(lambda: status(api) == "Ready")


async def test_a_standby_follows_a_leader_that_is_killed(
    tmp_path: Path, api: FakeApi, pods: list[Pod]
) -> None:
    pods.append(first := Pod(tmp_path, api, "first", **ELECTION))
    await first.logged("leading as first-")
    pods.append(second := Pod(tmp_path, api, "second", **ELECTION))
    await second.logged("is held by 'first-")
    first.end(signal.SIGKILL)
    put_domain(api)

    await second.logged("leading as second-")
    await wait_until(lambda: status(api) == "Ready")


async def test_a_leader_that_cannot_renew_ends_itself(tmp_path: Path, api: FakeApi, pods: list[Pod]) -> None:
    pods.append(pod := Pod(tmp_path, api, "one", **ELECTION))
    await pod.logged("leading as one-")
    api.fail("PUT", "/leases", 503, times=None)

    assert pod.process.wait(timeout=30) == 1
    assert "could not be renewed for 1.5 s" in pod.log.read_text()
    assert api.objects(LEASES)[0]["spec"]["holderIdentity"].startswith("one-")


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"LEADER_ELECTION_LEASE_DURATION": "15"}, "expected a time such as 15s"),
        ({**ELECTION, "LEADER_ELECTION_RETRY_PERIOD": "5s"}, "longer than the one before"),
        ({"IMEX_MODE": "hostManaged"}, "HostManagedIMEXDaemon=true"),
        ({"FEATURE_GATES": "Unknown=true"}, "unknown feature gate 'Unknown'"),
    ],
    ids=["no-unit", "times", "mode", "gate"],
)
def test_what_makes_no_sense_is_refused_at_start(
    tmp_path: Path, api: FakeApi, pods: list[Pod], environment: dict[str, str], says: str
) -> None:
    pods.append(pod := Pod(tmp_path, api, "one", **environment))

    assert pod.process.wait(timeout=30) == 2
    assert says in " ".join(pod.log.read_text().split())
    assert api.requests == []
