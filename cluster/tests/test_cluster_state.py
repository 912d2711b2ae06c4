"""Records, locks, processes and teardown without a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from claimwright.cluster import ClusterSpec, down, errors, folders, list_clusters, load, processes, state, up
from claimwright.cluster.local import records
from claimwright.cluster.local.journal import Journal
from claimwright.cluster.local.teardown import tear_down
from claimwright.cluster.progress import Silent

STUBBORN = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"


def marked(folder: Path, code: str = STUBBORN) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, processes.MARKER: str(folder)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.parametrize("content", ["", "{", "[]", '{"provider": "evil"}', "\x00\xff"])
def test_a_record_that_cannot_be_read_is_no_record(tmp_path, content):
    (tmp_path / "cluster.json").write_text(content)
    assert state.read(tmp_path) is None


def test_a_cluster_is_starting_until_it_is_finished(tmp_path):
    folder = tmp_path / "c"
    state.begin(folder, "local")
    assert state.read(folder) == state.Record("local", "starting")
    state.finish(folder)
    assert state.read(folder) == state.Record("local", "ready")


def test_two_commands_on_one_name_exclude_each_other(tmp_path):
    entered, release = threading.Event(), threading.Event()

    def hold() -> None:
        with state.locked(tmp_path / "c"):
            entered.set()
            release.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(10)
    with pytest.raises(errors.ClusterBusy, match="'c'"), state.locked(tmp_path / "c", wait_seconds=0.2):
        pass
    release.set()
    holder.join(10)


def test_the_lock_of_a_removed_cluster_leaves_no_file(tmp_path):
    with state.locked(tmp_path / "c"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_journal_cannot_name_what_is_removed(tmp_path):
    (tmp_path / "journal.json").write_text(json.dumps({"cgroup": "/system.slice", "alias": "/etc"}))
    assert Journal.read(tmp_path) == Journal.for_folder(tmp_path)


def test_a_process_is_told_apart_from_a_later_one_with_its_pid():
    found = processes.identify(os.getpid())
    assert found is not None
    assert processes.is_alive(found)
    assert not processes.is_alive(processes.Identity(found.pid, found.started + 1))


def test_the_marker_finds_a_process_that_no_record_names(tmp_path):
    with marked(tmp_path) as process:
        assert [identity.pid for identity in processes.with_marker(str(tmp_path))] == [process.pid]
        process.kill()


def test_a_folder_that_is_a_prefix_of_another_does_not_find_its_processes(tmp_path):
    with marked(tmp_path / "ab") as process:
        assert list(processes.with_marker(str(tmp_path / "a"))) == []
        process.kill()


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(tmp_path):
    with marked(tmp_path) as process:
        identity = processes.identify(process.pid)
        assert identity is not None
        processes.end([identity], grace_seconds=0.1)
        assert process.wait(5) == -9


def test_a_reused_pid_is_left_alone(tmp_path):
    with marked(tmp_path) as process:
        processes.end([processes.Identity(process.pid, 1)], grace_seconds=0)
        assert process.poll() is None
        process.kill()


def test_teardown_ends_marked_processes_without_any_record_and_is_repeatable(tmp_path):
    with marked(tmp_path / "c") as process:
        (tmp_path / "c").mkdir()
        tear_down(tmp_path / "c", Silent())
        tear_down(tmp_path / "c", Silent())
        assert process.wait(5) == -9


def test_a_cluster_that_is_not_there_is_named_with_those_that_are(private_state):
    (folders.clusters_folder() / "other").mkdir(parents=True)
    for verb in (load, down):
        with pytest.raises(errors.ClusterNotFound, match="other"):
            verb("missing")


def test_a_broken_folder_is_listed_and_can_be_removed(private_state):
    (folders.clusters_folder() / "broken").mkdir(parents=True)
    assert list_clusters() == ["broken"]
    down("broken")
    assert list_clusters() == []


def test_a_refused_start_leaves_nothing(private_state, tmp_path):
    with pytest.raises(errors.InvalidRequest, match="--binaries"):
        up(ClusterSpec(name="x", binaries=tmp_path / "none"))
    assert list(folders.clusters_folder().iterdir()) == []


@pytest.mark.parametrize("nodes", [-1, 65])
def test_a_number_of_nodes_that_cannot_be_is_refused(private_state, nodes):
    with pytest.raises(errors.InvalidRequest, match=str(nodes)):
        up(ClusterSpec(nodes=nodes))


def test_a_local_record_whose_first_process_is_gone_does_not_run(tmp_path):
    records.LocalRecord("1.37.1", 1, processes.Identity(os.getpid(), 1), {}, ()).write(tmp_path)
    with pytest.raises(errors.ClusterNotFound, match="broken"):
        records.load(tmp_path)


def test_a_local_record_survives_the_disk(tmp_path):
    me = processes.identify(os.getpid())
    assert me is not None
    record = records.LocalRecord("1.37.1", 4711, me, {"etcd": me}, (records.NodeRecord(0, me),))
    record.write(tmp_path)
    assert records.read(tmp_path) == record
