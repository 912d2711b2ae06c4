"""Real clusters on this machine: what they give, and that nothing stays of them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claimwright.cluster import (
    Cluster,
    ClusterSpec,
    ImageLink,
    ImageSpec,
    compose_image,
    down,
    errors,
    folders,
    import_image,
    list_clusters,
    load,
    processes,
    program_files,
    up,
)
from claimwright.cluster.local import cgroups
from claimwright.cluster.local.journal import Journal
from claimwright.cluster.local.privileges import why_no_nodes

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_no_nodes()), reason=f"{why_no_nodes()}"),
]
COMMAND = [sys.executable, "-m", "claimwright.cli.main", "cluster"]
SHELL = "claimwright.local/shell:1"


def await_true(question: Callable[[], object], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.1)


def kubectl(cluster: Cluster, *arguments: str, stdin: str = "") -> str:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not on PATH")
    done = subprocess.run(
        [program, "--kubeconfig", cluster.kubeconfig, *arguments], input=stdin, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def traces(folder: Path) -> list[str]:
    """Return everything that a cluster of this folder has left on the machine."""
    journal = Journal.for_folder(folder)
    left = [f"process {identity.pid}" for identity in processes.with_marker(str(folder))]
    left += [
        f"cgroup {tree.folder}{journal.cgroup}"
        for tree in cgroups.mounted()
        if (tree.folder / journal.cgroup[1:]).exists()
    ]
    left += [
        f"mount {line}"
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if str(folder) in line
    ]
    left += [f"path {path}" for path in (folder, Path(journal.alias)) if path.exists() or path.is_symlink()]
    return left


def namespaces_held(inodes: set[str]) -> set[str]:
    """Return which of these network and mount namespaces some process still holds."""
    held = set()
    for link in Path("/proc").glob("[0-9]*/ns/*"):
        try:
            held.add(str(link.readlink()))
        except OSError:
            continue
    return held & inodes


def pod(name: str, node: str) -> str:
    container = {
        "name": "c", "image": SHELL, "imagePullPolicy": "Never", "args": ["-c", "echo hello from $0; sleep 600", name],
    }  # fmt: skip
    spec = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        cluster = up(ClusterSpec(name="two", nodes=2))
        tar = tmp_path_factory.mktemp("image") / "shell.tar"
        files = {}
        for name in ("dash", "sleep", "cat", "ls"):
            files |= program_files(Path(shutil.which(name) or name).resolve())
        shell = str(Path(shutil.which("dash") or "dash").resolve())
        environment = {"PATH": "/usr/bin:/bin"}
        compose_image(ImageSpec(SHELL, {**files, "/sh": ImageLink(shell)}, ["/sh"], environment), tar)
        import_image(cluster, tar)
        yield cluster
        down("two")


@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_a_pod_runs_on_each_node_and_its_log_and_shell_are_reached_through_the_api_server(two_nodes, node):
    name = f"on-{node}"
    kubectl(two_nodes, "apply", "-f", "-", stdin=pod(name, node))
    kubectl(two_nodes, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    assert kubectl(two_nodes, "logs", name) == f"hello from {name}\n"
    assert kubectl(two_nodes, "exec", name, "--", "/sh", "-c", "echo $((6*7))") == "42\n"


def test_pods_of_different_nodes_have_addresses_of_their_node(two_nodes):
    for node in ("node-1", "node-2"):
        kubectl(two_nodes, "apply", "-f", "-", stdin=pod(f"at-{node}", node))
        kubectl(two_nodes, "wait", "--for=condition=Ready", f"pod/at-{node}", "--timeout=60s")
    found = kubectl(
        two_nodes, "get", "pods", "at-node-1", "at-node-2", "-o", "jsonpath={.items[*].status.podIP}"
    )
    first, second = found.split()
    assert (first.rsplit(".", 1)[0], second.rsplit(".", 1)[0]) == ("10.244.0", "10.244.1")


@pytest.mark.capability("000-23")
def test_dra_is_served_in_its_stable_version(two_nodes):
    assert "resource.k8s.io/v1\n" in kubectl(two_nodes, "api-versions")


def test_an_ordinary_client_inside_a_pod_network_reaches_the_kubernetes_service(two_nodes):
    node = two_nodes.nodes[0]
    code = "import socket; socket.create_connection(('10.96.0.1', 443), timeout=5); print('reached')"
    done = subprocess.run(
        [*node.enter, sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "reached\n"


def test_the_standard_paths_are_true_inside_a_node_and_known_outside(two_nodes):
    node = two_nodes.nodes[0]
    (node.kubelet_dir / "plugins_registry" / "probe").write_text("registry")
    (node.cdi_dir / "probe").write_text("cdi")
    (node.run_dir / "cdi").mkdir(exist_ok=True)
    (node.run_dir / "cdi" / "probe").write_text("run")
    paths = [
        "/var/lib/kubelet/plugins_registry/probe",
        "/etc/cdi/probe",
        "/var/run/cdi/probe",
        "/run/cdi/probe",
    ]
    done = subprocess.run(
        [*node.enter, "cat", *paths], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "registrycdirunrun"


def test_nodes_do_not_see_each_others_standard_folders(two_nodes):
    first, second = two_nodes.nodes
    subprocess.run(
        [*first.enter, "touch", "/run/only-here", "/dev/only-here", "/etc/only-here"], timeout=30, check=True
    )
    done = subprocess.run(
        [*second.enter, "ls", "/run", "/dev", "/etc"], capture_output=True, text=True, timeout=30, check=True
    )
    assert "only-here" not in done.stdout
    assert not any(Path(folder, "only-here").exists() for folder in ("/run", "/dev", "/etc"))


def test_a_node_has_a_hostname_and_a_device_folder_of_its_own(two_nodes):
    node = two_nodes.nodes[1]
    script = "hostname; ls /dev; echo x > /dev/null"
    done = subprocess.run(
        [*node.enter, "sh", "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    words = done.stdout.split()
    assert words[0] == "node-2"
    assert {"null", "kmsg", "ptmx", "shm"} <= set(words)
    assert "vda" not in words


def test_a_program_in_a_node_gets_its_callers_signals_and_status(two_nodes):
    script = (
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); "
        "print('up', flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [*two_nodes.nodes[0].enter, sys.executable, "-c", script], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.wait(10) == 7


def test_a_program_in_a_node_ends_when_its_caller_is_killed(two_nodes):
    node = two_nodes.nodes[0]
    with subprocess.Popen([*node.enter, "sleep", "98765"]) as process:
        await_true(lambda: _sleepers("98765", but=process.pid), "the start of the program")
        process.kill()
    await_true(lambda: not _sleepers("98765", but=process.pid), "its end")


def _sleepers(argument: str, *, but: int) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", argument.encode()] and path.parent.name != str(but):
            found.append(path.parent.name)
    return found


def test_the_hosts_kernel_settings_and_network_are_as_before(two_nodes):
    interfaces = {path.name for path in Path("/sys/class/net").iterdir()}
    assert not interfaces & {"cluster0", "pods0", "node1", "node2"}
    knob = Path("/proc/sys/vm/overcommit_memory")
    before = knob.read_text()
    subprocess.run([*two_nodes.nodes[0].enter, "sh", "-c", f"echo 2 > {knob}"], timeout=30, check=True)
    assert knob.read_text() == before


def test_a_loaded_cluster_is_the_one_that_was_started(two_nodes):
    assert load("two") == two_nodes
    assert list_clusters() == ["two"]


def test_the_name_of_a_running_cluster_is_taken(two_nodes):
    with pytest.raises(errors.ClusterExists, match="already runs"):
        up(ClusterSpec(name="two", nodes=0))
    assert load("two") == two_nodes


def test_the_credentials_are_readable_by_their_owner_only(two_nodes):
    secrets = [two_nodes.kubeconfig, two_nodes.node_kubeconfig, *two_nodes.folder.rglob("*.key")]
    assert {path.stat().st_mode & 0o077 for path in secrets} == {0}
    assert two_nodes.folder.stat().st_mode & 0o077 == 0


def test_down_leaves_nothing_of_a_cluster_with_running_pods(private_state, tmp_path):
    cluster = up(ClusterSpec(name="gone", nodes=1))
    pids = [cluster.nodes[0].pid, *cluster.components.values()]
    inodes = {
        str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for pid in pids for kind in ("net", "mnt", "pid")
    }
    inodes -= {str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("net", "mnt", "pid")}
    assert namespaces_held(inodes) == inodes
    down("gone")
    assert traces(cluster.folder) == []
    await_true(lambda: not namespaces_held(inodes), "the end of the namespaces", 5)
    assert list((private_state / "claimwright" / "clusters").iterdir()) == []


def test_two_clusters_run_side_by_side_with_the_same_addresses(private_state):
    first, second = up(ClusterSpec(name="one", nodes=1)), up(ClusterSpec(name="other", nodes=1))
    kubectl(first, "create", "configmap", "only-here")
    assert first.nodes[0].address == second.nodes[0].address
    assert "only-here" not in kubectl(second, "get", "configmaps", "-o", "name")
    down("one")
    assert "node-1" in kubectl(second, "get", "nodes", "-o", "name")
    assert traces(first.folder) == []
    down("other")
    assert traces(second.folder) == []


@pytest.mark.parametrize(
    "victim", ["kube-apiserver", "etcd", "forwarder", "first process", "node", "everything"]
)
def test_down_works_after_a_kill_of(private_state, victim):
    cluster = up(ClusterSpec(name="hurt", nodes=1))
    every = {**cluster.components, "node": cluster.nodes[0].pid, "first process": int(cluster.enter[-1])}
    for pid in every.values() if victim == "everything" else [every[victim]]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    down("hurt")
    assert traces(cluster.folder) == []


def test_a_cluster_whose_processes_died_is_replaced_by_the_next_up(private_state):
    first = up(ClusterSpec(name="again", nodes=0))
    os.kill(int(first.enter[-1]), signal.SIGKILL)
    await_true(lambda: not list(processes.with_marker(str(first.folder))), "the end of the first cluster")
    second = up(ClusterSpec(name="again", nodes=0))
    assert "default" in kubectl(second, "get", "namespaces", "-o", "name")
    down("again")
    assert traces(second.folder) == []


@pytest.mark.parametrize("moment", [0.2, 0.6, 1.0, 1.5, 2.5, 4.0, "random"])
def test_down_clears_what_a_killed_up_left_after(private_state, moment):
    seconds = random.uniform(0.1, 7.0) if moment == "random" else moment
    folder = folders.clusters_folder() / "cut"
    with subprocess.Popen(
        [*COMMAND, "up", "--name", "cut"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    if folder.exists():
        down("cut")
    assert traces(folder) == [], f"killed after {seconds:.2f} s"


def test_up_after_a_killed_up_starts_afresh(private_state):
    with subprocess.Popen(
        [*COMMAND, "up", "--name", "cut"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        await_true((folders.clusters_folder() / "cut" / "logs" / "etcd.log").exists, "the start of etcd")
        process.kill()
    cluster = up(ClusterSpec(name="cut", nodes=1))
    assert [node.name for node in cluster.nodes] == ["node-1"]
    down("cut")
    assert traces(cluster.folder) == []


def test_an_unknown_feature_gate_ends_the_start_with_its_name_and_leaves_nothing(private_state):
    with pytest.raises(errors.NotReady, match="NoSuchGate"):
        up(ClusterSpec(name="gate", nodes=0, feature_gates={"NoSuchGate": True}))
    assert traces(folders.clusters_folder() / "gate") == []


def test_down_clears_a_cluster_whose_folder_was_removed_by_hand(private_state):
    cluster = up(ClusterSpec(name="torn", nodes=1))
    shutil.rmtree(cluster.folder)
    down("torn")
    assert traces(cluster.folder) == []


def test_down_of_a_cluster_without_its_journal_clears_everything(private_state):
    cluster = up(ClusterSpec(name="blank", nodes=1))
    for name in ("journal.json", "local.json", "cluster.json"):
        (cluster.folder / name).write_text("{broken")
    down("blank")
    assert traces(cluster.folder) == []
