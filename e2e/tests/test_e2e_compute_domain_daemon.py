"""The ComputeDomain daemon as a process with the emulator's nvidia-imex, each with a bind-mounted hosts file.

Nodes are loopback addresses; what a pod would give by CDI and by its manifest comes as environment.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from claimwright.dra.kube import PODS
from claimwright.dra.testing import FakeApi
from claimwright.driver.computedomain.resources import CLIQUES, COMPUTE_DOMAINS, Member, clique_name
from claimwright.emulator.nvml import compiling

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace of its own needs root"),
]
CLIQUE_ID = "6c1b1f6e-6c8a-4e0e-9a55-0d9c1c9b2f10.7"
UID = "2f8a0d6e-7f0b-4b6f-9d3c-1f4f6f0f9a01"
NAME = clique_name(UID, CLIQUE_ID)
NAMESPACE = "driver"
OTHERS = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"
# As a pod has them: the hosts file is a bind mount, and /run is the container's own.
ARRANGE = 'mount --bind "$1" /etc/hosts; mount -t tmpfs tmpfs /run; shift; exec "$@"'


def wait_until(fact: Callable[[], Any], what: Callable[[], object] = lambda: "", seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, f"waited too long: {what()}"
        time.sleep(0.05)


@dataclass
class Node:
    """One daemon, and what its container would hold."""

    name: str
    address: str
    folder: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def hosts(self) -> Path:
        return self.folder / "hosts"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self) -> None:
        command = ["claimwright", "driver", "compute-domain-daemon", "run"]
        namespace = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-ec",
            ARRANGE,
            "sh",
            str(self.hosts),
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*namespace, *command], env=self.environment, stdout=log, stderr=log
            )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        process, self.process = self.process, None
        process.send_signal(number)
        return process.wait(timeout=20)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def imex(self) -> int | None:
        """The process of its nvidia-imex."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return next((int(pid) for pid in children), None)

    def check(self) -> subprocess.CompletedProcess[str]:
        """Ask as the probes of its pod do."""
        command = ["claimwright", "driver", "compute-domain-daemon", "check"]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=30, check=False
        )

    def table(self) -> dict[str, Any]:
        command = ["nvidia-imex-ctl", "-c", str(self.folder / "imexd.cfg"), "-N", "-j"]
        said = subprocess.run(
            command, env=self.environment, capture_output=True, timeout=20, check=False
        ).stdout
        with suppress(ValueError):
            return json.loads(said)  # type: ignore[no-any-return]
        return {"status": said.decode()}

    def close(self) -> None:
        if self.process is not None:
            imex = self.imex
            self.end(signal.SIGKILL)
            if imex is not None:
                os.kill(imex, signal.SIGKILL)


@dataclass
class Rack:
    """Daemons of one clique, and the API server that they share."""

    api: FakeApi
    folder: Path
    programs: Path
    nodes: list[Node] = field(default_factory=list)
    size: int = 3

    def __post_init__(self) -> None:
        self.subnet = f"127.{secrets.randbelow(100) + 100}.{secrets.randbelow(250)}"

    def add(self, **changed: str) -> Node:
        number = len(self.nodes)
        name, folder = f"node-{number}", self.folder / f"node-{number}"
        folder.mkdir()
        (folder / "hosts").write_text(OTHERS)
        pod = self.api.put(PODS, {"metadata": {"name": f"pod-{number}", "namespace": NAMESPACE}})["metadata"]
        address = f"{self.subnet}.{number + 1}"
        environment = {
            **os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}", "IMEXD_DIR": str(folder),
            "KUBECONFIG": str(self.api.kubeconfig(folder / "kubeconfig")), "CLIQUE_ID": CLIQUE_ID,
            "COMPUTE_DOMAIN_UUID": UID, "COMPUTE_DOMAIN_NAME": "training", "COMPUTE_DOMAIN_NAMESPACE": "user",
            "NODE_NAME": name, "POD_IP": address, "POD_UID": pod["uid"], "POD_NAME": pod["name"],
            "POD_NAMESPACE": NAMESPACE, "MAX_NODES_PER_IMEX_DOMAIN": str(self.size), **changed,
        }  # fmt: skip
        node = Node(name, address, folder, environment)
        self.nodes.append(node)
        return node

    def start(self, count: int) -> list[Node]:
        made = [self.add() for _ in range(count)]
        for node in made:
            node.start()
        return made

    @property
    def members(self) -> dict[str, Member]:
        rows = [row for record in self.api.objects(CLIQUES) for row in record.get("daemons") or ()]
        return {row["nodeName"]: Member.from_object(row) for row in rows}

    def await_state(self, state: str, *nodes: Node) -> None:
        for node in nodes:
            wait_until(partial(self._is, node, state), partial(self._story, node))

    def _is(self, node: Node, state: str) -> bool:
        return bool(node.table()["status"] == state)

    def _story(self, node: Node) -> object:
        return node.table(), node.log[-3000:]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nvidia-imex and nvidia-imex-ctl on a path; there are no GPUs, which it has to be told, as the real one."""
    compiling.compile_all()
    folder = tmp_path_factory.mktemp("bin")
    (folder / "nvidia-imex").write_text(f'#!/bin/sh\nexec {compiling.IMEX.path} "$@" --nogpu\n')
    (folder / "nvidia-imex").chmod(0o755)
    (folder / "nvidia-imex-ctl").symlink_to(compiling.IMEX_CTL.path)
    return folder


@pytest.fixture
def rack(tmp_path: Path, programs: Path) -> Iterator[Rack]:
    with FakeApi() as api:
        made = Rack(api, tmp_path, programs)
        yield made
        for node in made.nodes:
            node.close()


def test_daemons_find_each_other_and_their_imex_domain_comes_up(rack: Rack) -> None:
    nodes = rack.start(3)
    rack.await_state("UP", *nodes)
    assert all(" /etc/hosts " in Path(f"/proc/{node.pid}/mountinfo").read_text() for node in nodes)
    assert [node.check().returncode for node in nodes] == [0, 0, 0]
    assert sorted(member.index for member in rack.members.values()) == [0, 1, 2]
    names = {
        f"{member.address}\tcompute-domain-daemon-{member.index:04d}" for member in rack.members.values()
    }
    for node in nodes:
        text = node.hosts.read_text()
        assert text.startswith(OTHERS + "# Compute Domain Daemon mappings\n")
        assert set(text.removeprefix(OTHERS).splitlines()[1:]) == names
        own = rack.members[node.name].index
        assert f"Identified this node as ID {own}, " in node.log


def test_who_ends_is_gone_from_clique_and_peers_within_ten_seconds(rack: Rack) -> None:
    first, second, third = rack.start(3)
    rack.await_state("UP", first, second, third)
    imex = first.imex
    began = time.monotonic()
    assert first.end() == 0
    assert time.monotonic() - began < 10
    assert imex is not None
    assert not Path(f"/proc/{imex}").exists()
    assert sorted(rack.members) == ["node-1", "node-2"]
    assert (
        f"Successfully removed daemon with IP {first.address} from ComputeDomain user/training" in first.log
    )
    wait_until(lambda: first.address not in second.hosts.read_text())
    first.start()
    rack.await_state("UP", first, second, third)
    assert second.log.count("started nvidia-imex") == 1


def test_a_killed_nvidia_imex_is_started_again(rack: Rack) -> None:
    nodes = rack.start(2)
    wait_until(lambda: nodes[0].check().returncode == 0)
    before = nodes[0].imex
    assert before is not None
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: nodes[0].imex not in (None, before))
    wait_until(lambda: nodes[0].check().returncode == 0)
    assert "nvidia-imex ended with status -9, starts again in 1 s" in nodes[0].log


def test_a_daemon_that_was_killed_comes_back_to_its_place(rack: Rack) -> None:
    nodes = rack.start(3)
    rack.await_state("UP", *nodes)
    place = rack.members["node-0"].index
    nodes[0].close()
    assert rack.members["node-0"].index == place
    nodes[0].start()
    rack.await_state("UP", *nodes)
    assert rack.members["node-0"].index == place
    assert [node.log.count("started nvidia-imex") for node in nodes] == [2, 1, 1]


def test_another_place_gives_nvidia_imex_another_id(rack: Rack) -> None:
    rack.size = 4
    [node] = rack.start(1)
    wait_until(lambda: node.check().returncode == 0)
    record = rack.api.objects(CLIQUES)[0]
    taker = Member("elsewhere", f"{rack.subnet}.200", CLIQUE_ID, 0, ready=True).row(named="nodeName")
    rack.api.put(CLIQUES, {**record, "daemons": [taker]})
    wait_until(lambda: "Identified this node as ID 1, " in node.log, lambda: node.log)
    wait_until(lambda: node.check().returncode == 0)
    assert rack.members["node-0"].index == 1
    assert node.log.index("Identified this node as ID 0, ") < node.log.index("place 1 of 2")
    assert f"{node.address}\tcompute-domain-daemon-0001\n" in node.hosts.read_text()


def test_without_names_they_know_addresses_once_all_are_there(rack: Rack) -> None:
    gates = {"FEATURE_GATES": "ComputeDomainCliques=false,IMEXDaemonsWithDNSNames=false"}
    spec = {"numNodes": 2, "channel": {"resourceClaimTemplate": {"name": "training"}}}
    rack.api.put(
        COMPUTE_DOMAINS, {"metadata": {"name": "training", "namespace": "user", "uid": UID}, "spec": spec}
    )
    first = rack.add(**gates)
    first.start()
    wait_until(lambda: rack.api.objects(COMPUTE_DOMAINS)[0].get("status"))
    assert first.imex is None
    second = rack.add(**gates)
    second.start()
    rack.await_state("UP", first, second)
    assert first.table()["nodes"]["0"]["host"] == first.address
    assert first.hosts.read_text() == OTHERS
    assert [node.end() for node in (first, second)] == [0, 0]
    assert not rack.api.objects(COMPUTE_DOMAINS)[0]["status"].get("nodes")


def test_a_node_without_a_clique_waits_and_is_ready(rack: Rack) -> None:
    node = rack.add(CLIQUE_ID="")
    node.start()
    wait_until(lambda: "there is nothing to do" in node.log, lambda: node.log)
    assert node.check().returncode == 0
    assert node.imex is None
    assert node.end() == 0
    assert node.hosts.read_text() == OTHERS
    assert rack.api.objects(CLIQUES) == []


def test_a_container_that_did_not_get_its_claim_says_so(rack: Rack) -> None:
    node = rack.add(COMPUTE_DOMAIN_UUID="")
    node.start()
    assert node.process is not None
    assert node.process.wait(timeout=30) == 1
    assert "COMPUTE_DOMAIN_UUID is not set: CDI container edits did not apply" in node.log
    node.process = None


def test_a_probe_says_what_is_missing(rack: Rack) -> None:
    node = rack.add()
    said = node.check()
    assert said.returncode == 1
    assert 'nvidia-imex is not ready: "cannot read the configuration' in said.stderr
    without = {**node.environment, "PATH": str(Path(shutil.which("claimwright") or "").parent)}
    node.environment = without
    assert "nvidia-imex-ctl -c" in node.check().stderr


def test_an_nvidia_imex_that_cannot_listen_is_told_and_tried_again(rack: Rack) -> None:
    node = rack.add()
    with socket.create_server((node.address, 50000)):
        node.start()
        wait_until(
            lambda: "nvidia-imex ended with status 1, starts again in 1 s" in node.log, lambda: node.log
        )
        assert node.check().returncode == 1
    wait_until(lambda: node.check().returncode == 0, lambda: node.log)


def test_without_an_api_server_it_still_ends_in_time_with_its_nvidia_imex(rack: Rack) -> None:
    [node] = rack.start(1)
    wait_until(lambda: node.check().returncode == 0)
    imex = node.imex
    rack.api.fail("PATCH", ".", 503, times=None)
    began = time.monotonic()
    assert node.end() == 0
    assert 9 < time.monotonic() - began < 28  # a pod has 30 s
    assert not Path(f"/proc/{imex}").exists()
    assert "could not be removed within 10 s; the controller removes it later" in node.log
