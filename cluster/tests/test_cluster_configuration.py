"""Command lines and configuration files of a local cluster."""

from __future__ import annotations

import json
import ssl
import stat
import tomllib
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from claimwright.cluster import versions
from claimwright.cluster.local import cgroups, control_plane, kubeconfigs, layout, network, node_configuration
from claimwright.cluster.local.addresses import KUBERNETES_SERVICE, NodePlace
from claimwright.cluster.local.certificates import Pair, make_authority
from claimwright.cluster.local.control_plane import NAMESPACED, Identities, Settings

PAIR = Pair(Path("/c"), Path("/k"))
PROGRAMS = {
    name: Path("/bin") / name
    for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
}


def settings(*, gates: dict[str, bool] | None = None, api_qps: int | None = None) -> Settings:
    identities = Identities(PAIR, PAIR, PAIR, PAIR, PAIR, PAIR, Path("/kcm"), Path("/sched"))
    return Settings(
        PROGRAMS,
        Path("/s"),
        NAMESPACED,
        identities,
        gates or {},
        api_qps,
        versions.kubernetes_version("1.37"),
    )


def test_the_api_server_serves_every_version_and_authorizes_nodes_and_roles():
    argv = control_plane.api_server(settings())
    assert {"--runtime-config=api/all=true", "--authorization-mode=Node,RBAC", "--secure-port=443"} <= set(
        argv
    )
    assert "--enable-admission-plugins=NodeRestriction" in argv


@pytest.mark.parametrize("component", ["api_server", "controller_manager", "scheduler"])
def test_feature_gates_reach_every_component_in_one_order(component):
    argv = getattr(control_plane, component)(settings(gates={"Zed": False, "Alpha": True}))
    assert "--feature-gates=Alpha=true,Zed=false" in argv


@pytest.mark.parametrize("component", ["controller_manager", "scheduler"])
def test_client_limits_stay_the_defaults_unless_asked_for(component):
    make = getattr(control_plane, component)
    assert not [flag for flag in make(settings()) if "qps" in flag]
    assert {"--kube-api-qps=5000", "--kube-api-burst=5000"} <= set(make(settings(api_qps=5000)))


@pytest.mark.parametrize("restricted", [True, False])
def test_containerd_lowers_oom_scores_only_where_it_may(restricted):
    parsed = tomllib.loads(node_configuration.containerd(Path("/p"), restrict_oom_score=restricted))
    runtime = parsed["plugins"]["io.containerd.cri.v1.runtime"]
    assert runtime["restrict_oom_score_adj"] is restricted
    assert runtime["cdi_spec_dirs"] == ["/etc/cdi", "/var/run/cdi"]
    assert runtime["cni"]["bin_dirs"] == ["/p"]


def test_the_kubelet_keeps_to_its_cgroup_and_asks_the_api_server_who_may():
    wanted = node_configuration.KubeletSettings("/claimwright-x/node-1", Path("/ca"), PAIR, {"A": True})
    parsed = yaml.safe_load(node_configuration.kubelet(wanted))
    assert parsed["cgroupRoot"] == "/claimwright-x/node-1"
    assert parsed["failCgroupV1"] is False
    assert parsed["authentication"]["anonymous"]["enabled"] is False
    assert parsed["authorization"]["mode"] == "Webhook"
    assert parsed["featureGates"] == {"A": True}


def test_every_node_has_addresses_and_a_pod_range_of_its_own():
    places = [NodePlace(index) for index in range(64)]
    for field in ("name", "address", "pod_range", "link"):
        assert len({getattr(place, field) for place in places}) == 64
    assert max(len(place.link) for place in places) <= 15


def test_the_pod_network_is_the_nodes_range():
    plugin = json.loads(node_configuration.cni(NodePlace(3)))["plugins"][0]
    assert plugin["ipam"]["ranges"] == [[{"subnet": "10.244.3.0/24"}]]


def test_a_certificate_is_good_for_its_addresses_and_its_key_is_private(tmp_path):
    authority = make_authority(tmp_path)
    pair = authority.issue(
        "server", "api", organization="o", addresses=["127.0.0.1", KUBERNETES_SERVICE, "localhost"]
    )
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == [
        "127.0.0.1",
        KUBERNETES_SERVICE,
    ]
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    certificate.verify_directly_issued_by(authority.certificate)
    assert stat.S_IMODE(pair.key.stat().st_mode) == 0o600
    ssl.create_default_context(cafile=str(authority.pair.certificate)).load_cert_chain(
        pair.certificate, pair.key
    )


def test_a_kubeconfig_needs_no_other_file(tmp_path):
    authority = make_authority(tmp_path)
    path = kubeconfigs.write_kubeconfig(
        tmp_path / "kubeconfig", cluster="c", server="https://s", authority=authority.pair.certificate,
        identity=authority.issue("u", "u"), user="u",
    )  # fmt: skip
    assert str(tmp_path) not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_node_shows_its_folders_and_keeps_what_is_mounted_below_var(tmp_path):
    (tmp_path / "var" / "disk").mkdir(parents=True)
    line = "40 27 0:1 / {} rw - ext4 /dev/x rw"
    mountinfo = "\n".join(line.format(tmp_path / "var" / name) for name in ("disk", "disk/deeper", "missing"))
    assert layout.mounted_folders_below(str(tmp_path / "var"), mountinfo) == [str(tmp_path / "var" / "disk")]


def test_a_nodes_standard_folders_are_bound_after_the_layers_that_hold_them(tmp_path):
    steps = layout.node_steps(layout.NodeFolders(tmp_path, Path("/run/cw-x/node-1")), "")
    targets = [step["target"] for step in steps if step["do"] == "mount"]
    assert targets.index("/var") < targets.index("/var/lib/kubelet") < targets.index("/run")
    assert targets.index("/etc") < targets.index("/etc/cdi")
    assert steps[-1]["target"] == "/"
    assert "/proc/sys/vm/overcommit_memory" in targets


HYBRID = """31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
99 31 0:32 / /other/memory rw,relatime - cgroup cgroup rw,memory
98 31 0:33 /inner /bound rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_hierarchies_are_found_once_each_on_a_hybrid_host():
    found = cgroups.hierarchies(HYBRID)
    assert [(str(tree.folder), tree.version) for tree in found] == [
        ("/sys/fs/cgroup/cpuset", 1), ("/sys/fs/cgroup/memory", 1), ("/sys/fs/cgroup/unified", 2),
    ]  # fmt: skip


def test_a_cpuset_is_copied_down_to_the_nodes_cgroup(tmp_path):
    tree = cgroups.Hierarchy(tmp_path, 1, frozenset({"cpuset"}))
    (tmp_path / "cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset.mems").write_text("0\n")
    for folder in ("a", "a/b"):
        (tmp_path / folder).mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            (tmp_path / folder / name).write_text("\n")
    cgroups.make("/a/b", [tree])
    assert (tmp_path / "a/b/cpuset.cpus").read_text() == "0-1\n"


def test_on_version_2_controllers_are_handed_down_to_the_nodes_cgroup(tmp_path):
    for folder in (tmp_path, tmp_path / "a"):
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids\n")
    cgroups.make("/a/b", [cgroups.Hierarchy(tmp_path, 2)])
    assert (tmp_path / "a" / "cgroup.subtree_control").read_text() == "+cpuset +cpu +io +memory +pids"
    assert not (tmp_path / "a" / "b" / "cgroup.subtree_control").exists()


def test_importing_the_network_door_costs_no_import_of_pyroute2():
    assert "pyroute2" not in vars(network)
