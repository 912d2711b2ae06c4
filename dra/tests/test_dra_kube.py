from __future__ import annotations

import base64
import threading
import time

import pytest
import yaml

from claimwright.dra.kube import (
    NODES,
    PODS,
    AlreadyExists,
    Conflict,
    Gone,
    Kube,
    KubeError,
    MalformedKubeconfig,
    NotFound,
    Reflector,
    Unauthorized,
    Unavailable,
)
from claimwright.dra.kube.credentials import in_cluster
from claimwright.dra.testing import FakeApi


@pytest.fixture
def api():
    with FakeApi() as running:
        yield running


def wait_until(condition, *, seconds=10.0):
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        pause.wait(0.01)


def kubeconfig(tmp_path, *, cluster=None, user=None, **top):
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "work"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        **top,
    }
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(document))
    return path


def test_objects_come_back_as_they_were_created(api):
    kube = api.kube()
    created = kube.create(PODS, {"metadata": {"name": "p"}, "spec": {"a": 1}}, namespace="ns")
    assert created["kind"] == "Pod"
    assert kube.get(PODS, "p", namespace="ns")["spec"] == {"a": 1}
    kube.replace(PODS, {**created, "spec": {"a": 2}})
    (found,) = kube.list(PODS)["items"]
    assert (found["spec"], found["kind"]) == ({"a": 2}, "Pod")
    kube.delete(PODS, "p", namespace="ns", uid=created["metadata"]["uid"])
    with pytest.raises(NotFound, match='pods "p" not found'):
        kube.get(PODS, "p", namespace="ns")


def test_a_stale_update_is_a_conflict(api):
    kube = api.kube()
    old = kube.create(NODES, {"metadata": {"name": "n"}})
    kube.replace(NODES, {**old, "spec": {"x": 1}})
    with pytest.raises(Conflict):
        kube.replace(NODES, {**old, "spec": {"x": 2}})
    with pytest.raises(AlreadyExists):
        kube.create(NODES, {"metadata": {"name": "n"}})
    with pytest.raises(Conflict):
        kube.delete(NODES, "n", uid="other")


@pytest.mark.parametrize(
    ("status", "kind"), [(429, Unavailable), (503, Unavailable), (410, Gone), (418, KubeError)]
)
def test_a_refusal_keeps_its_status_reason_and_pause(api, status, kind):
    api.fail("GET", "/nodes", status, reason="Because", retry_after="7")
    with pytest.raises(kind, match="injected") as caught:
        api.kube().get(NODES, "n")
    assert (caught.value.status, caught.value.reason, caught.value.retry_after_seconds) == (
        status,
        "Because",
        7.0,
    )
    assert caught.value.retryable == (kind is Unavailable)


def test_no_answer_is_retryable(api):
    api.fail("GET", "/nodes", 0)
    with pytest.raises(Unavailable, match="no answer"):
        api.kube().get(NODES, "n")


def test_a_server_that_is_not_there_is_retryable(tmp_path):
    kube = Kube.from_kubeconfig(kubeconfig(tmp_path), timeout_seconds=1)
    with pytest.raises(Unavailable, match="no answer"):
        kube.get(NODES, "n")


@pytest.mark.parametrize("name", ["", None])
def test_an_empty_name_never_reaches_the_collection(api, name):
    with pytest.raises(KubeError, match="expected a name"):
        api.kube().delete(NODES, name)
    with pytest.raises(KubeError, match="give a namespace"):
        api.kube().get(PODS, "p")
    with pytest.raises(KubeError, match="selector"):
        api.kube().delete_collection(PODS)
    assert api.requests == []


def test_a_name_with_a_slash_stays_one_name(api):
    with pytest.raises(NotFound):
        api.kube().get(NODES, "../pods")
    assert api.requests == [("GET", "/api/v1/nodes/..%2Fpods")]


def test_a_watch_tells_changes_and_ends_when_closed(api):
    kube = api.kube()
    version = kube.list(NODES)["metadata"]["resourceVersion"]
    watch = kube.watch(NODES, resource_version=version, timeout_seconds=60)
    api.put(NODES, {"metadata": {"name": "n"}})
    event = next(watch)
    assert (event.type, event.object["metadata"]["name"]) == ("ADDED", "n")
    closer = threading.Timer(0.05, watch.close)
    closer.start()
    assert list(watch) == []
    closer.join()


def test_a_version_that_is_too_old_is_gone(api):
    api.drop_watches(forget=True)
    with pytest.raises(Gone), api.kube().watch(NODES, resource_version="1") as watch:
        next(watch)


def test_a_reflector_follows_through_lost_watches_and_relists(api):
    told = []
    reflector = Reflector(
        api.kube(),
        NODES,
        on_change=lambda kind, item: told.append((kind, item["metadata"]["name"])),
        first_backoff_seconds=0.01,
    )
    api.put(NODES, {"metadata": {"name": "old"}})
    reflector.start()
    try:
        assert reflector.synced.wait(10)
        api.put(NODES, {"metadata": {"name": "new"}})
        wait_until(lambda: ("ADDED", "new") in told)
        api.fail("GET", "watch=true", 500, times=2)
        api.drop_watches(forget=True)
        api.remove(NODES, "old")
        api.put(NODES, {"metadata": {"name": "new"}, "spec": {"x": 1}})
        wait_until(lambda: ("DELETED", "old") in told and ("MODIFIED", "new") in told)
        assert list(reflector.items()) == [("", "new")]
    finally:
        reflector.stop()
    reflector.stop()
    assert told.count(("DELETED", "old")) == 1


def test_a_reflector_keeps_and_tells_what_was_left_of_an_object(api):
    told = []

    def trim(item):
        kept = ("name", "uid", "resourceVersion")
        return {"metadata": {key: item["metadata"][key] for key in kept}}

    reflector = Reflector(
        api.kube(), NODES, trim=trim, on_change=lambda kind, item: told.append((kind, item))
    )
    api.put(NODES, {"metadata": {"name": "listed"}, "status": {"much": True}})
    reflector.start()
    try:
        assert reflector.synced.wait(10)
        api.put(NODES, {"metadata": {"name": "watched"}, "status": {"much": True}})
        wait_until(lambda: len(told) == 2)
        api.drop_watches(forget=True)
        api.remove(NODES, "listed")
        wait_until(lambda: len(told) == 3)
        assert [item for _, item in reflector.items()] == ["watched"]
    finally:
        reflector.stop()
    assert [kind for kind, _ in told] == ["ADDED", "ADDED", "DELETED"]
    assert all(
        set(item) == {"metadata"} for item in (*reflector.items().values(), *(item for _, item in told))
    )


def test_a_reflector_stops_at_once_inside_a_quiet_watch(api):
    reflector = Reflector(api.kube(), NODES)
    reflector.start()
    assert reflector.synced.wait(10)
    begin = time.monotonic()
    reflector.stop()
    assert time.monotonic() - begin < 3


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"current-context": "gone"}, r"contexts is \['here'\], expected an entry named 'gone'"),
        ({"current-context": None}, "current-context is None"),
        ({"clusters": []}, r"clusters is \[\]"),
        ({"clusters": "x"}, "clusters is 'x'"),
        ({"users": [{"name": "u"}]}, r"users\[u\].user"),
        ({"cluster": {"server": "ftp://x"}}, "server is 'ftp://x'"),
        (
            {"cluster": {"server": "https://x", "certificate-authority-data": "%"}},
            "certificate-authority-data",
        ),
        ({"cluster": {"server": "https://x", "certificate-authority": "no-such"}}, "readable file"),
        (
            {
                "cluster": {
                    "server": "https://x",
                    "certificate-authority-data": base64.b64encode(b"junk").decode(),
                }
            },
            "PEM certificates",
        ),
        ({"cluster": {"server": "https://x"}, "user": {"client-key-data": "QQ=="}}, "both or none"),
        (
            {
                "cluster": {"server": "https://x"},
                "user": {"client-key-data": "QQ==", "client-certificate-data": "QQ=="},
            },
            "PEM certificate with its key",
        ),
        ({"user": {"tokenFile": "no-such"}}, "tokenFile"),
        ({"user": {"auth-provider": {"name": "gcp"}}}, "auth-provider"),
    ],
)
def test_a_kubeconfig_with_a_bad_part_is_refused_by_its_name(tmp_path, change, complaint):
    with pytest.raises(MalformedKubeconfig, match=complaint):
        Kube.from_kubeconfig(kubeconfig(tmp_path, **change))


@pytest.mark.parametrize("text", ["[", "- a", "\x00"])
def test_a_file_that_is_no_kubeconfig_is_refused(tmp_path, text):
    (tmp_path / "config").write_text(text)
    with pytest.raises(MalformedKubeconfig, match="kubeconfig"):
        Kube.connect(tmp_path / "config")
    with pytest.raises(MalformedKubeconfig, match="cannot be read"):
        Kube.connect(tmp_path / "missing")


def test_outside_of_a_pod_there_is_no_cluster(tmp_path):
    with pytest.raises(MalformedKubeconfig, match="not in a cluster"):
        in_cluster(tmp_path, {})


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ({"token": "t"}, "Bearer t"),
        ({"username": "a", "password": "b"}, "Basic YTpi"),
        ({"tokenFile": "token"}, "Bearer from-file"),
        (
            {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./login", "args": ["x"]}},
            "Bearer from-x",
        ),
    ],
)
def test_each_way_to_log_in_gives_its_header(tmp_path, user, header):
    (tmp_path / "token").write_text("from-file\n")
    login = tmp_path / "login"
    login.write_text('#!/bin/sh\necho "{\\"status\\": {\\"token\\": \\"from-$1\\"}}"\n')
    login.chmod(0o755)
    kube = Kube.from_kubeconfig(kubeconfig(tmp_path, user=user))
    assert kube._transport.credentials.authorization() == header
    assert kube.namespace == "work"


def test_a_failing_login_command_says_what_it_printed(tmp_path):
    user = {"exec": {"command": "sh", "args": ["-c", "echo no ticket >&2; exit 3"]}}
    kube = Kube.from_kubeconfig(kubeconfig(tmp_path, user=user))
    with pytest.raises(Unauthorized, match="no ticket"):
        kube.get(NODES, "n")
