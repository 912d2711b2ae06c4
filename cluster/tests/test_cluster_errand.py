"""`claimwright cluster run`: a cluster for one command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from claimwright.cluster import errand, interface
from claimwright.cluster.errors import InvalidRequest
from claimwright.cluster.interface import Cluster, ClusterSpec
from claimwright.cluster.progress import Silent

SPEC = ClusterSpec(name="errand", nodes=0)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Record which clusters come and go, without any Kubernetes."""
    told: list[str] = []

    def up(spec: ClusterSpec, *, progress: object) -> Cluster:
        told.append(f"up {spec.name}")
        return Cluster(spec.name, "local", "1.37.1", tmp_path / "kubeconfig", (), tmp_path, True)

    monkeypatch.setattr(interface, "up", up)

    def down(name: str, *, progress: object) -> None:
        told.append(f"down {name}")

    monkeypatch.setattr(interface, "down", down)
    return told


def test_the_command_sees_the_kubeconfig_and_its_exit_code_comes_back(
    calls: list[str], tmp_path: Path
) -> None:
    seen = tmp_path / "seen.json"
    script = f"import json, os, sys; json.dump(dict(os.environ), open({str(seen)!r}, 'w')); sys.exit(7)"

    code = errand.run_on_cluster(SPEC, [sys.executable, "-c", script], progress=Silent())

    environment = json.loads(seen.read_text())
    assert code == 7
    assert {environment[name] for name in errand.KUBECONFIG_NAMES} == {str(tmp_path / "kubeconfig")}
    assert calls == ["up errand", "down errand"]


def test_a_command_that_is_not_there_is_named_and_the_cluster_is_removed(calls: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="'no-such-program' cannot be run"):
        errand.run_on_cluster(SPEC, ["no-such-program"], progress=Silent())

    assert calls == ["up errand", "down errand"]
