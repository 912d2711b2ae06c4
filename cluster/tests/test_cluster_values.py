"""Names, versions, folders and feature gates."""

from __future__ import annotations

from pathlib import Path

import pytest

from claimwright.cluster import commands, errors, folders, versions


@pytest.mark.parametrize("wanted", ["1.37", "v1.37", "1.37.1"])
def test_a_minor_is_known_with_or_without_its_patch(wanted):
    assert versions.kubernetes_version(wanted) == versions.KubernetesVersion("1.37", "1.37.1")


@pytest.mark.parametrize("wanted", ["1.33", "1.38", "", "latest", "1.37.9"])
def test_an_unknown_version_lists_the_known_ones(wanted):
    with pytest.raises(errors.InvalidRequest) as caught:
        versions.kubernetes_version(wanted)
    assert all(minor in str(caught.value) for minor in ("1.34", "1.35", "1.36", "1.37"))


def test_every_minor_has_its_pinned_modules():
    root = Path(versions.__file__).parent / "binaries" / "modules"
    for minor, patch in versions.KUBERNETES.items():
        text = (root / minor / "go.mod").read_text()
        assert f"k8s.io/kubernetes v{patch}" in text
        assert f"k8s.io/api => k8s.io/api v0.{patch[2:]}" in text
        assert f"k8s.io/kubernetes v{patch} h1:" in (root / minor / "go.sum").read_text()


@pytest.mark.parametrize(
    ("product", "line"),
    [
        ("etcd", f"go.etcd.io/etcd/server/v3 v{versions.ETCD}"),
        ("containerd", f"github.com/containerd/containerd/v2 v{versions.CONTAINERD}"),
        ("runc", f"github.com/opencontainers/runc v{versions.RUNC}"),
        ("cni-plugins", f"github.com/containernetworking/plugins v{versions.CNI_PLUGINS}"),
    ],
)
def test_the_modules_pin_the_version_that_the_table_names(product, line):
    assert line in (Path(versions.__file__).parent / "binaries" / "modules" / product / "go.mod").read_text()


@pytest.mark.parametrize("name", ["a", "demo-1", "x" * 32])
def test_a_plain_name_is_accepted(name):
    assert folders.checked_name(name) == name


@pytest.mark.parametrize("name", ["", "../x", "A", "a/b", "-a", "a-", "x" * 33, "a\n", "a b", "ä", "."])
def test_a_name_that_could_leave_its_folder_is_refused_with_its_value(name):
    with pytest.raises(errors.InvalidRequest, match="cluster name"):
        folders.checked_name(name)


def test_a_relative_xdg_folder_is_ignored_as_the_specification_says():
    environment = {"XDG_STATE_HOME": "relative", "HOME": "/h"}
    assert folders.clusters_folder(environment) == Path("/h/.local/state/claimwright/clusters")


def test_a_socket_below_the_short_folder_fits_an_address():
    longest = (
        folders.short_folder(Path("/x" * 200)) / "node-64/kubelet/plugins/compute-domain.nvidia.com/dra.sock"
    )
    assert len(str(longest)) <= 107


@pytest.mark.parametrize(("text", "value"), [("A=true", ("A", True)), ("Beta1=False", ("Beta1", False))])
def test_a_feature_gate_is_a_name_and_a_truth(text, value):
    assert commands.parse_feature_gate(text) == value


@pytest.mark.parametrize("text", ["A", "A=", "A=1", "=true", "A B=true", "A,B=true"])
def test_a_malformed_feature_gate_is_refused(text):
    with pytest.raises(errors.InvalidRequest, match="Name=true"):
        commands.parse_feature_gate(text)
