"""`claimwright driver preflight`: what it finds in order, what not, and what it says to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, cast

import pytest

from claimwright.dra.kube import NODES, Forbidden, Kube, NotFound, Unavailable
from claimwright.driver import preflight
from claimwright.driver.driver_root import DeviceRoot, DriverRoot
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import discover
from claimwright.driver.preflight import Finding, Level, cluster, folders, host, runtime
from claimwright.driver.testing import MemoryHost, MemoryNvml, gpu_reading, hgx_h100_host

PROGRAM = Path(sys.executable).with_name("claimwright")
OFF = FeatureGates()
ALL = FeatureGates.parse("AllAlpha=true")
CONFIG = "/etc/containerd/config.toml"
NEW = '[plugins."io.containerd.cri.v1.runtime"]\n'
OLD_ON = '[plugins."io.containerd.grpc.v1.cri"]\nenable_cdi = true'


def levels(findings: Iterable[Finding]) -> dict[str, str]:
    return {each.subject: each.level.value for each in findings}


def text(findings: Iterable[Finding]) -> str:
    return preflight.as_text(tuple(findings))


@pytest.mark.capability("003-17")
@pytest.mark.parametrize(
    ("version", "files", "cdi_root", "level"),
    [
        ("containerd://2.1.4", {}, "/var/run/cdi", "ok"),
        ("containerd://2.1.4", {}, "/run/cdi", "ok"),
        ("containerd://1.7.27", {}, "/etc/cdi", "fail"),
        ("containerd://1.7.27", {CONFIG: OLD_ON}, "/etc/cdi", "ok"),
        ("containerd://2.1.4", {CONFIG: NEW + "enable_cdi = false"}, "/etc/cdi", "fail"),
        (
            "containerd://1.7.27",
            {
                CONFIG: 'imports = ["/etc/containerd/conf.d/*.toml"]',
                "/etc/containerd/conf.d/cdi.toml": OLD_ON,
                "/etc/containerd/conf.d/other.txt": "enable_cdi = nonsense",
            },
            "/etc/cdi",
            "ok",
        ),
        ("containerd://2.1.4", {CONFIG: "this is [no toml"}, "/etc/cdi", "warn"),
        ("containerd://2.1.4", {CONFIG: "plugins = 7\nimports = 7"}, "/etc/cdi", "ok"),
        ("containerd://2.1.4", {CONFIG: NEW + "cdi_spec_dirs = 7"}, "/etc/cdi", "ok"),
        ("", {CONFIG: "version = 2"}, "/etc/cdi", "warn"),
        ("", {}, "/etc/cdi", "warn"),
        ("cri-o://1.34.0", {}, "/etc/cdi", "ok"),
        ("docker://29.0.0", {}, "/etc/cdi", "warn"),
    ],
)
def test_cdi_is_judged_by_runtime_and_configuration(
    version: str, files: Any, cdi_root: str, level: str
) -> None:
    found = tuple(runtime.check_runtime(MemoryHost(files=files), version, Path(cdi_root)))

    assert levels(found) == {"CDI in the runtime": level}


def test_a_folder_that_the_runtime_does_not_read_is_named() -> None:
    files = {CONFIG: NEW + 'cdi_spec_dirs = ["/opt/cdi"]'}
    found = tuple(runtime.check_runtime(MemoryHost(files=files), "containerd://2.1.4", Path("/var/run/cdi")))

    assert levels(found)["CDI folder"] == "fail"
    assert "the runtime reads /opt/cdi, not /var/run/cdi" in text(found)


def machine(*missing: str, **files: str) -> MemoryHost:
    """The HGX host of the tests with the driver's modules loaded."""
    found = hgx_h100_host()
    modules = {
        f"/sys/module/{name}/refcnt": "1"
        for name in ("nvidia", "nvidia_uvm", "vfio_pci")
        if name not in missing
    }
    version = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.126.20  Release Build"
    more = {
        "/proc/driver/nvidia/version": version,
        **modules,
        **{f"/{path}": each for path, each in files.items()},
    }
    found.files.update({PurePosixPath(path): each for path, each in more.items()})
    return found


def test_a_node_in_order_has_nothing_to_do() -> None:
    node = machine()
    inventory = discover(MemoryNvml([gpu_reading(0)]), node)
    nodes = MemoryHost(devices={f"/dev/{name}": (195, 0) for name in ("nvidiactl", "nvidia-uvm", "nvidia0")})
    found = (
        *host.check_modules(node, OFF),
        *host.check_gpus(inventory, node, DeviceRoot(nodes, PurePosixPath("/"))),
    )
    own = [each for each in found if not each.subject.startswith("GPU 0000:")]

    assert preflight.verdict(own) is Level.OK, text(own)
    assert "driver 580.126.20, CUDA 13.0.0, 1 GPUs" in text(own)


def test_what_a_node_lacks_is_named_with_what_to_do() -> None:
    node = machine("nvidia", "nvidia_uvm")
    inventory = discover(MemoryNvml([gpu_reading(0), gpu_reading(1)], driver_version="570.1"), node)
    nodes = DeviceRoot(MemoryHost(devices={"/dev/nvidia0": (195, 0)}), PurePosixPath("/run/nvidia/driver"))
    found = (*host.check_modules(node, OFF), *host.check_gpus(inventory, node, nodes))

    assert levels(found)["module nvidia"] == "fail"
    assert levels(found)["module nvidia_uvm"] == "fail"
    assert levels(found)["device nodes"] == "warn"
    assert "the kernel module is 580.126.20" in text(found)
    assert "missing: nvidiactl, nvidia-uvm, nvidia1 in /run/nvidia/driver/dev" in text(found)
    assert "Reload the kernel modules or reboot" in text(found)


def test_no_gpus_and_no_nvml_are_failures() -> None:
    nothing = MemoryHost()
    nodes = DeviceRoot(nothing, PurePosixPath("/"))

    assert levels(host.check_gpus(discover(MemoryNvml([]), nothing), nothing, nodes))["GPUs"] == "fail"
    assert levels(host.check_gpus(NodeUnusable("no"), nothing, nodes)) == {"NVML": "fail"}


@pytest.mark.parametrize(
    ("files", "gates", "level"),
    [({}, OFF, "ok"), ({}, ALL, "fail"), ({"/sys/kernel/iommu_groups/7/type": "DMA"}, ALL, "ok")],
    ids=["not needed", "needed and off", "on"],
)
def test_an_iommu_is_needed_for_passthrough_only(
    files: dict[str, str], gates: FeatureGates, level: str
) -> None:
    assert levels(host.check_iommu(MemoryHost(files=files), gates)) == {"IOMMU": level}


def test_a_driver_root_without_a_driver_is_named(tmp_path: Path) -> None:
    found = text(host.check_installation(DriverRoot(tmp_path, PurePosixPath("/run/nvidia/driver"))))

    assert "libnvidia-ml.so.1 not found under driver root" in found


@pytest.mark.parametrize(
    ("path", "made_by", "level", "says"),
    [
        ("there", None, "ok", "MiB free"),
        ("missing", None, "ok", "will be made"),
        ("missing", "The kubelet", "fail", "is not there"),
        ("file", None, "fail", "is no folder"),
        ("/proc/cdi", None, "fail", "the kernel's own files are there"),
    ],
)
def test_folders_are_judged(tmp_path: Path, path: str, made_by: str | None, level: str, says: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    found = tuple(folders.check_folder(tmp_path / path, "folder", made_by=made_by))

    assert levels(found) == {"folder": level}
    assert says in text(found)


class Cluster:
    """An API server as far as the checks ask it; errors are raised where they stand instead of an answer."""

    server = "https://example.com"

    def __init__(
        self,
        node: Any = None,
        version: Any = (1, 37),
        apis: Any = ("v1",),
        features: Any = "",
        classes: Any = (),
    ) -> None:
        self._answers = {
            "node": node if isinstance(node, Exception) else {"status": node or {}},
            "version": version,
            "/apis/resource.k8s.io": apis,
            "/metrics": features,
            "classes": classes,
        }

    def _answer(self, question: str) -> Any:
        answer = self._answers[question]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def server_version(self) -> Any:
        return self._answer("version")

    def raw(self, path: str) -> bytes:
        answer = self._answer(path)
        if path == "/metrics":
            return str(answer).encode()
        return json.dumps({"versions": [{"version": each} for each in answer]}).encode()

    def get(self, resource: Any, name: str) -> Any:
        return self._answer("node")

    def list(self, resource: Any) -> Any:
        return {"items": [{"metadata": {"name": each}} for each in self._answer("classes")]}


def feature(name: str, value: int) -> str:
    return f'kubernetes_feature_enabled{{name="{name}",stage="BETA"}} {value}\n'


def looked(gates: FeatureGates = OFF, **answers: Any) -> tuple[Finding, ...]:
    kube = cast("Kube", Cluster(**answers))
    return (*cluster.check_cluster(kube, gates), *cluster.check_node(kube, "node-a"))


@pytest.mark.parametrize(
    ("answers", "subject", "level", "says"),
    [
        ({"version": Unavailable(0, "Down", "refused")}, "API server", "fail", "Check --kubeconfig"),
        ({"version": (1, 33)}, "Kubernetes", "fail", "Upgrade to 1.34"),
        ({"apis": ("v1beta1",)}, "resource.k8s.io", "fail", "serves v1beta1"),
        ({"apis": NotFound(404, "NotFound", "no")}, "resource.k8s.io", "fail", "DynamicResourceAllocation"),
        (
            {"features": Forbidden(403, "Forbidden", "no")},
            "feature gates",
            "warn",
            "not to be seen: Forbidden",
        ),
        ({"classes": ("gpu.nvidia.com", "other")}, "device classes", "ok", "gpu.nvidia.com"),
        ({"classes": ()}, "device classes", "warn", "driver manifests deviceclasses"),
        ({"classes": Forbidden(403, "Forbidden", "no")}, "device classes", "warn", "cannot be listed"),
        ({"node": NotFound(404, "NotFound", "no")}, "node", "fail", "there is no Node node-a"),
        ({"node": Forbidden(403, "Forbidden", "no")}, "node", "warn", "cannot be read"),
        (
            {"node": {"allocatable": {"cpu": "4", "nvidia.com/gpu": "8"}}},
            "device plugin",
            "fail",
            "nvidia.com/gpu: 8",
        ),
        (
            {"node": {"allocatable": {"nvidia.com/mig-1g.10gb": "7"}}},
            "device plugin",
            "fail",
            "mig-1g.10gb: 7",
        ),
        ({"node": {"allocatable": {"nvidia.com/gpu": "0"}}}, "device plugin", "ok", "none hands out"),
        ({"node": {"allocatable": {"nvidia.com/gpu": "rubbish"}}}, "device plugin", "fail", "rubbish"),
    ],
)
def test_the_cluster_is_judged_as_far_as_it_can_be_seen(
    answers: dict[str, Any], subject: str, level: str, says: str
) -> None:
    found = looked(**answers)

    assert levels(found)[subject] == level
    assert says in text(found)


def test_a_gate_whose_feature_is_off_in_the_api_server_is_named() -> None:
    features = feature("DRAPartitionableDevices", 0) + feature("DRAConsumableCapacity", 1)
    found = looked(ALL, features=features)

    assert [each.found for each in found if each.level is Level.FAIL] == [
        "DynamicMIG is on here, and DRAPartitionableDevices off in the API server"
    ]
    assert levels(looked(OFF, features=features))["feature gates"] == "ok"


@pytest.mark.slow
def test_a_machine_without_gpus_fails_with_a_table_json_and_exit_code(tmp_path: Path) -> None:
    command = [PROGRAM, "driver", "preflight", f"--host-root={tmp_path}", f"--nvidia-driver-root={tmp_path}"]
    clean = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "NODE_NAME")}
    table = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60, check=False)
    listed = subprocess.run(
        [*command, "--json"], env=clean, capture_output=True, text=True, timeout=60, check=False
    )

    assert table.returncode == listed.returncode == 1, table.stderr
    assert "fail  module nvidia  " in table.stdout
    assert "fail: driver root:" in table.stdout
    assert json.loads(listed.stdout)["verdict"] == "fail"
    assert "Traceback" not in table.stderr + listed.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--host-root", "/nowhere"), "--host-root '/nowhere' is no folder"),
        (("--kubeconfig", "/nowhere"), "does not exist"),
        (("--feature-gates", "DynamicMIG"), "expected DynamicMIG=true"),
        (("--nvidia-driver-root", "here"), "expected an absolute path"),
    ],
)
def test_wrong_flags_are_named(arguments: tuple[str, ...], says: str) -> None:
    done = subprocess.run(
        [PROGRAM, "driver", "preflight", *arguments], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.capability("001-18")
@pytest.mark.contract
@pytest.mark.capability("003-17")
def test_a_real_cluster_is_found_in_order_until_a_device_plugin_counts_gpus() -> None:
    given = os.environ.get("CLAIMWRIGHT_TEST_KUBECONFIG")
    if not given:
        pytest.skip("CLAIMWRIGHT_TEST_KUBECONFIG names no API server")
    kube = Kube.from_kubeconfig(Path(given))
    name = f"preflight-{uuid.uuid4().hex[:8]}"
    kube.create(NODES, {"metadata": {"name": name}})
    try:
        before = (*cluster.check_cluster(kube, OFF), *cluster.check_node(kube, name))
        node = kube.get(NODES, name)
        counts = {"nvidia.com/gpu": "8"}
        node["status"].update({"capacity": counts, "allocatable": counts})
        kube.replace_status(NODES, node)
        after = tuple(cluster.check_node(kube, name))
    finally:
        kube.delete(NODES, name)

    assert preflight.verdict(each for each in before if each.subject != "device classes") is Level.OK, text(
        before
    )
    assert "DRA" in next(each.found for each in before if each.subject == "feature gates")
    assert levels(after) == {"node": "ok", "device plugin": "fail"}
