"""The command line: one message and exit code 2 for every expected error; the foreign providers."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from claimwright.cluster import ClusterSpec, errors, folders
from claimwright.cluster.commands import cluster
from claimwright.cluster.kind import provider as kind
from claimwright.cluster.kubeconfig.provider import chosen_kubeconfig


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cluster, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--kubernetes", "1.20"], "1.37"),
        (["up", "--name", "A/b"], "cluster name"),
        (["up", "--feature-gate", "X"], "Name=true"),
        (["up", "--nodes", "1000"], "64 nodes"),
        (["up", "--binaries", "/does/not/exist"], "--binaries"),
        (["down", "missing"], "no cluster 'missing'"),
        (["kubeconfig", "missing"], "no cluster 'missing'"),
        (["logs", "missing"], "has no logs"),
        (["build", "--kubernetes", "2.0"], "not known"),
        (["up", "--provider", "kubeconfig", "--kubeconfig", "/does/not/exist"], "no kubeconfig at"),
        (["up", "--kubeconfig", "/does/not/exist"], "add --provider kubeconfig"),
        (["up", "--context", "lab"], "add --provider kubeconfig"),
        (["down", "some", "--all"], "contradict"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_bad_input_gives_one_message_and_leaves_nothing(private_state, arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output
    left = folders.clusters_folder()
    assert not left.exists() or list(left.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [\n", "is not YAML"),
        (b"\x93\x00\xff", "is not YAML"),
        (b"", "is no kubeconfig"),
        (b"- 1\n", "is no kubeconfig"),
        (b"clusters: 3\n", "is no kubeconfig"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--context", "x")], ids=["plain", "context"])
def test_rubbish_in_place_of_a_kubeconfig_is_one_message(private_state, tmp_path, content, said, more):
    path = tmp_path / "kubeconfig"
    path.write_bytes(content)
    result = run("up", "--provider", "kubeconfig", "--kubeconfig", str(path), *more)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output
    assert list(folders.clusters_folder().iterdir()) == []


def test_a_list_has_a_header_and_names_broken_clusters(private_state):
    (folders.clusters_folder() / "left-over").mkdir(parents=True)
    header, row = run("list").output.splitlines()
    assert header.split() == ["NAME", "STATE", "PROVIDER", "KUBERNETES", "NODES"]
    assert row.split() == ["left-over", "broken", "-", "-", "0"]


def test_programs_of_a_relative_folder_are_found(private_state, fake_programs, monkeypatch, tmp_path):
    names = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    fake_programs(tmp_path / "bin", *names, text="#!/bin/sh\necho started from a relative folder; exit 1\n")
    monkeypatch.chdir(tmp_path)
    assert "started from a relative folder" in run("up", "--nodes", "0", "--binaries", "bin").output


@pytest.mark.parametrize("command", [[], ["up"], ["build"]])
def test_help_keeps_the_lines_of_its_examples(command):
    lines = run(*command, "--help").output.splitlines()
    assert [line for line in lines if line.startswith("    claimwright cluster ")]


def test_a_taken_port_is_named_and_nothing_is_left(private_state, fake_programs, tmp_path):
    names = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    programs = fake_programs(tmp_path / "bin", *names)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("up", "--nodes", "0", "--api-port", port, "--binaries", str(programs))
    assert (result.exit_code, f"port {port}" in result.output) == (2, True)
    assert list(folders.clusters_folder().iterdir()) == []


def test_a_component_that_ends_is_named_with_its_last_words(private_state, fake_programs, tmp_path):
    names = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    programs = fake_programs(
        tmp_path / "bin", *names, text="#!/bin/sh\necho these were its last words; exit 1\n"
    )
    result = run("up", "--nodes", "0", "--binaries", str(programs))
    assert result.exit_code == 2
    assert "these were its last words" in result.output
    assert list(folders.clusters_folder().iterdir()) == []


def test_a_component_that_dies_of_a_full_disk_is_told_as_one(private_state, fake_programs, tmp_path):
    names = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    text = "#!/bin/sh\necho 'panic: write wal: no space left on device'; seq 40; exit 2\n"
    programs = fake_programs(tmp_path / "bin", *names, text=text)
    result = run("up", "--nodes", "0", "--binaries", str(programs))
    assert result.exit_code == 2
    assert "the disk is full" in result.output
    assert list(folders.clusters_folder().iterdir()) == []


def test_a_termination_cleans_up_as_an_interruption_does(private_state, monkeypatch):
    def terminated(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("claimwright.cluster.interface.state.finish", terminated)
    monkeypatch.setattr("claimwright.cluster.kubeconfig.provider.Kubeconfig.up", lambda *_: None)
    former = signal.getsignal(signal.SIGTERM)
    result = run("up", "--provider", "kubeconfig")
    assert (result.exit_code, "nothing is left behind" in result.output) == (143, True)
    assert list(folders.clusters_folder().iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is former


def test_a_terminated_fork_undoes_nothing(private_state, monkeypatch):
    def fork_and_terminate(*_: object, **__: object) -> None:
        if (child := os.fork()) == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143
        raise errors.NotReady("the parent goes on")

    monkeypatch.setattr("claimwright.cluster.kubeconfig.provider.Kubeconfig.up", fork_and_terminate)
    result = run("up", "--provider", "kubeconfig")
    assert (result.exit_code, result.output) == (2, "error: the parent goes on\n")


def test_a_full_disk_says_which_variables_move_the_folders(private_state, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("claimwright.cluster.interface.state.begin", full)
    result = run("up", "--nodes", "0")
    assert result.exit_code == 2
    assert "XDG_STATE_HOME" in result.output


def test_an_empty_list_is_an_empty_list(private_state):
    assert json.loads(run("list", "--json").output) == []
    assert run("down", "--all").exit_code == 0


def test_logs_lists_the_components_and_prints_one(private_state):
    folder = folders.clusters_folder() / "c" / "logs"
    folder.mkdir(parents=True)
    (folder / "etcd.log").write_text("one\ntwo\n")
    assert run("logs", "c").output == "etcd\n"
    assert run("logs", "c", "etcd").output == "one\ntwo\n"
    assert "there are etcd" in run("logs", "c", "nothing").output


def test_kind_without_an_engine_says_so_and_names_the_way_out(private_state, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("up", "--provider", "kind")
    assert result.exit_code == 2
    assert "container engine" in result.output
    assert "--provider local" in result.output


def test_kind_is_driven_with_the_cluster_s_own_names(private_state, fake_programs, monkeypatch, tmp_path):
    called = tmp_path / "called"
    fake_programs(tmp_path / "bin", "docker")
    fake_programs(tmp_path / "bin", "kind", text=f'#!/bin/sh\necho "$@" >> {called}\n[ "$1" != create ]\n')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert run("up", "--provider", "kind", "--name", "k", "--nodes", "2").exit_code == 2
    create, delete = called.read_text().splitlines()
    assert create.startswith("create cluster --name claimwright-k --config ")
    assert delete.startswith("delete cluster --name claimwright-k ")
    assert list(folders.clusters_folder().iterdir()) == []


def test_kind_gets_one_control_plane_and_the_rest_as_workers():
    content = yaml.safe_load(kind.configuration(ClusterSpec(nodes=3, feature_gates={"A": True})))
    assert [node["role"] for node in content["nodes"]] == ["control-plane", "worker", "worker"]
    assert content["featureGates"] == {"A": True}


def test_an_unreachable_cluster_is_named_quickly(private_state, tmp_path):
    path = tmp_path / "kubeconfig"
    cluster_of = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    path.write_text(
        yaml.safe_dump(
            {
                "clusters": [cluster_of],
                "contexts": [context],
                "users": [{"name": "u", "user": {}}],
                "current-context": "x",
            }
        )
    )
    result = run("up", "--provider", "kubeconfig", "--kubeconfig", str(path))
    assert result.exit_code == 2
    assert "does not answer" in result.output
    result = run("up", "--provider", "kubeconfig", "--kubeconfig", str(path), "--context", "y")
    assert "no context 'y'" in result.output


def test_the_first_of_several_kubeconfigs_is_used(monkeypatch, tmp_path):
    (tmp_path / "one").write_text("")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'one'}{os.pathsep}{tmp_path / 'two'}")
    assert chosen_kubeconfig(None) == tmp_path / "one"
    with pytest.raises(errors.UnsuitableCluster, match="none"):
        chosen_kubeconfig(Path("/none"))
