"""Everything is killed at once, with pods running on GPUs; the two `down` commands clear what is left."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from claimwright import cluster as clusters
from claimwright.cluster.local.journal import Journal
from claimwright.e2e import deployment
from claimwright.e2e.kubernetes_door import Kubernetes
from claimwright.e2e.real import driver_on, probe_image
from claimwright.e2e.scenario import gpu_pod
from claimwright.e2e.workspace import Workspace
from claimwright.emulator import running

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="real nodes need root: namespaces, mounts and cgroups"),
]
CLAIMWRIGHT = [sys.executable, "-m", "claimwright.cli.main"]
TEMPLATE = """
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: one-gpu}
spec: {spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu.nvidia.com}}]}}}
"""


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of this test's own, which names every process that belongs to it."""
    folder = Path(tempfile.mkdtemp(prefix="cw-k-"))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_a_killed_world_is_cleared_by_down(state: Path) -> None:
    name = f"killed-{uuid.uuid4().hex[:6]}"
    before = machine(state, name)
    clusters.up(clusters.ClusterSpec(name=name, nodes=1))
    cluster = clusters.load(name)
    emulated = running.up("hgx-h100", name=name, mount_namespace=cluster.nodes[0].mount_namespace)
    clusters.import_image(cluster, probe_image(state))
    kubernetes = Kubernetes(cluster.kubeconfig)
    deployment.install(kubernetes)
    driver = driver_on(cluster, emulated, kubernetes, state)
    driver.start()
    driver.wait_registered()
    workspace = Workspace(kubernetes, "killed")
    workspace.apply(TEMPLATE)
    workspace.apply([gpu_pod("holder", "one-gpu")])
    workspace.running("holder")
    kubernetes.close()

    kill(driver.plugin_pid, emulated.pid, *cluster.components.values())
    driver.stop()

    assert claimwright("node", "down", name) == 0
    assert claimwright("cluster", "down", name) == 0
    assert machine(state, name) == before
    assert left(state) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_cluster_command_killed_at_a_random_moment_is_cleared_by_down(state: Path, seed: int) -> None:
    name = f"midway-{uuid.uuid4().hex[:6]}"
    before = machine(state, name)
    moment = random.Random(seed).uniform(0.2, 6.0)
    up = subprocess.Popen([*CLAIMWRIGHT, "cluster", "up", "--name", name], stderr=subprocess.DEVNULL)

    with suppress(subprocess.TimeoutExpired):
        up.wait(moment)
    kill(up.pid)
    up.wait(10)

    code = claimwright("cluster", "down", name)
    assert code == 0 or not (state / "claimwright/clusters" / name).exists(), (
        "killed before it had made anything"
    )
    assert machine(state, name) == before
    assert left(state) == []


def claimwright(*words: str) -> int:
    return subprocess.run([*CLAIMWRIGHT, *words], timeout=120, check=False).returncode


def kill(*pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def machine(state: Path, name: str) -> tuple[list[str], list[str], list[str]]:
    """What this machine shows of the cluster: mounts below `state`, its short folder, its cgroups."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(state) in line]
    made = Journal.for_folder(state / "claimwright/clusters" / name)
    folders = [made.alias] if os.path.lexists(made.alias) else []
    groups = sorted(str(path) for path in Path("/sys/fs/cgroup").rglob(made.cgroup.lstrip("/")))
    return mounts, folders, groups


def left(state: Path) -> list[str]:
    """What is left after a while: processes that name the state folder, and what is in it of clusters and nodes."""
    deadline = time.monotonic() + 10
    while (found := _processes(state)) and time.monotonic() < deadline:
        time.sleep(0.1)
    kept = [
        str(path) for kind in ("clusters", "nodes") for path in (state / "claimwright" / kind).glob("[!.]*")
    ]
    return found + kept


def _processes(state: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            if process.pid != os.getpid() and str(state).encode() in environment:
                found.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
    return found
