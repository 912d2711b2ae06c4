"""What a container gets: the claim's CDI spec."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from claimwright.dra.cdi import load_specs
from claimwright.driver.adapters import HostTree
from claimwright.driver.driver_root import DeviceRoot, DriverRoot, choose_device_root
from claimwright.driver.edits import Installation
from claimwright.driver.edits.driver_files import driver_files
from claimwright.driver.edits.gpu_node import gpu_node
from claimwright.driver.edits.mig_node import mig_node
from claimwright.driver.errors import StepFailed
from claimwright.driver.inventory import discover
from claimwright.driver.ports import Placement
from claimwright.driver.repertoire import edits
from claimwright.driver.steps import Probe, Step
from claimwright.driver.testing import HandClock, MemoryHost, MemoryPartitions, hgx_h100_host, hgx_h100_nvml
from claimwright.driver.tools.claim_spec import KIND, ClaimSpecTool, claim_spec

VERSION = "580.126.20"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
UID = "0b5c8a5e-0000-4000-8000-000000000001"


class Fixture:
    """A driver root on disk, real-looking device nodes in memory, and the tool over them."""

    def __init__(self, folder: Path, *, hook: str | None = None) -> None:
        self.cdi, self.root = folder / "cdi", folder / "root"
        self.host = hgx_h100_host()
        self.clock = HandClock()
        libraries = self.root / LIBRARIES[1:]
        (libraries / "vdpau").mkdir(parents=True)
        for name in (
            f"libnvidia-ml.so.{VERSION}",
            f"libcuda.so.{VERSION}",
            f"vdpau/libvdpau_nvidia.so.{VERSION}",
        ):
            (libraries / name).touch()
        (libraries / "libnvidia-ml.so.1").symlink_to(f"libnvidia-ml.so.{VERSION}")
        (libraries / "libcuda.so.1").symlink_to(f"libcuda.so.{VERSION}")
        (libraries / "libother.so.9").touch()
        (self.root / "usr/bin").mkdir()
        (self.root / "usr/bin/nvidia-smi").touch()
        (self.root / "run/nvidia-persistenced").mkdir(parents=True)
        (self.root / "run/nvidia-persistenced/socket").touch()
        self.installation = Installation(
            DriverRoot(self.root, PurePosixPath("/opt/driver")),
            DeviceRoot(self.host, PurePosixPath("/")),
            self.host,
            VERSION,
            None if hook is None else PurePosixPath(hook),
        )
        inventory = discover(hgx_h100_nvml(), self.host)
        self.gpus = {gpu.device_name: gpu for gpu in inventory.gpus}
        self.tool = ClaimSpecTool(
            self.cdi, edits(self.installation, MemoryPartitions(), self.clock, self.cdi)
        )
        self.step = self.spec_of("gpu-1")

    def spec_of(self, name: str) -> Step:
        return claim_spec(UID, [(f"{UID}-{name}", [gpu_node(self.gpus[name])])], [driver_files()])

    def resolve(self):
        return load_specs([self.cdi]).resolve([f"{KIND}={UID}-gpu-1"])


@pytest.fixture
def node(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path)


@pytest.mark.capability("002-24")
def test_a_container_gets_its_gpu_the_control_nodes_and_nothing_else(node: Fixture) -> None:
    node.tool.do(node.step)

    nodes = {item.path: (item.type, item.major, item.minor) for item in node.resolve().device_nodes}

    assert nodes == {
        "/dev/nvidia1": ("c", 195, 1),
        "/dev/nvidiactl": ("c", 195, 255),
        "/dev/nvidia-uvm": ("c", 510, 0),
        "/dev/nvidia-uvm-tools": ("c", 510, 1),
    }


def test_libraries_come_under_both_of_their_names(node: Fixture) -> None:
    node.tool.do(node.step)

    mounts = {mount.container_path: mount.host_path for mount in node.resolve().mounts}

    real = f"/opt/driver{LIBRARIES}/libnvidia-ml.so.{VERSION}"
    assert mounts[f"{LIBRARIES}/libnvidia-ml.so.{VERSION}"] == real
    assert mounts[f"{LIBRARIES}/libnvidia-ml.so.1"] == real
    assert f"{LIBRARIES}/libcuda.so.1" in mounts
    assert f"{LIBRARIES}/vdpau/libvdpau_nvidia.so.{VERSION}" in mounts
    assert not any("libother" in path for path in mounts)
    assert mounts["/usr/bin/nvidia-smi"] == "/opt/driver/usr/bin/nvidia-smi"


def test_the_environment_and_the_socket_are_those_of_the_community_driver(node: Fixture) -> None:
    node.tool.do(node.step)

    edits = node.resolve()

    assert edits.env == ("NVIDIA_VISIBLE_DEVICES=void", f"NVIDIA_CTK_LIBCUDA_DIR={LIBRARIES}")
    socket = next(mount for mount in edits.mounts if mount.container_path.endswith("socket"))
    assert socket.host_path == "/opt/driver/run/nvidia-persistenced/socket"
    assert set(socket.options) == {"nosuid", "nodev", "rbind", "rprivate", "noexec"}


def test_the_file_has_the_name_and_mode_that_tools_look_for(node: Fixture) -> None:
    node.tool.do(node.step)

    (file,) = node.cdi.iterdir()

    assert file.stem == f"k8s.gpu.nvidia.com-claim_{UID}"
    assert file.stat().st_mode & 0o777 == 0o644


def test_hooks_are_there_when_a_hook_program_is(tmp_path: Path) -> None:
    node = Fixture(tmp_path, hook="/opt/driver/usr/bin/nvidia-cdi-hook")
    node.tool.do(node.step)

    hooks = {hook.args[1]: hook for hook in node.resolve().hooks}

    assert set(hooks) == {"enable-cuda-compat", "update-ldcache", "disable-device-node-modification"}
    assert {hook.path for hook in hooks.values()} == {"/opt/driver/usr/bin/nvidia-cdi-hook"}
    assert hooks["enable-cuda-compat"].args[2] == f"--host-driver-version={VERSION}"


def test_without_a_hook_program_there_are_no_hooks(node: Fixture) -> None:
    node.tool.do(node.step)

    assert node.resolve().hooks == ()


def test_display_nodes_of_the_gpu_come_along(node: Fixture) -> None:
    drm = "/sys/bus/pci/devices/0000:43:00.0/drm"
    node.host.files |= {PurePosixPath(f"{drm}/{name}"): "" for name in ("card3", "renderD130", "version")}
    node.host.devices |= {
        PurePosixPath("/dev/dri/card3"): (226, 3),
        PurePosixPath("/dev/dri/renderD130"): (226, 130),
    }
    node.tool.do(node.step)

    assert {"/dev/dri/card3", "/dev/dri/renderD130"} <= {item.path for item in node.resolve().device_nodes}


DEVICES = PurePosixPath("/proc/devices")
LOADED = "Character devices:\n  1 mem\n{}\n508 nvidia-uvm\n\nBlock devices:\n195 nvidia-uvm"


@pytest.mark.parametrize("line", ["195 nvidia", "195 nvidia-frontend", "195 nvidia-frontend\n196 nvidia"])
def test_a_device_node_that_nobody_made_is_given_by_the_kernels_numbers(node: Fixture, line: str) -> None:
    node.host.files[DEVICES] = LOADED.format(line)
    for path in ("nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"):
        del node.host.devices[PurePosixPath("/dev") / path]

    node.tool.do(node.step)

    major = 196 if "196" in line else 195
    assert {(item.path, item.type, item.major, item.minor) for item in node.resolve().device_nodes} == {
        ("/dev/nvidia1", "c", major, 1),
        ("/dev/nvidiactl", "c", major, 255),
        ("/dev/nvidia-uvm", "c", 508, 0),
    }
    assert not any(item.host_path for item in node.resolve().device_nodes)


@pytest.mark.parametrize(
    ("name", "what"), [("nvidia1", "of gpu-1 .*"), ("nvidiactl", ""), ("nvidia-uvm", "")]
)
def test_a_device_that_the_kernel_does_not_know_is_an_error_that_says_what_to_do(
    node: Fixture, name: str, what: str
) -> None:
    node.host.files[DEVICES] = "Character devices:\n  1 mem\n\nBlock devices:\n195 nvidia\n508 nvidia-uvm"
    del node.host.devices[PurePosixPath("/dev") / name]

    with pytest.raises(StepFailed, match=rf"/dev/{name} {what}does not.*nvidia-modprobe"):
        node.tool.do(node.step)

    assert not node.cdi.exists() or not list(node.cdi.iterdir())


def test_a_control_node_that_appears_later_is_in_the_next_spec(node: Fixture) -> None:
    node.tool.do(node.step)
    node.host.devices[PurePosixPath("/dev/nvidia-modeset")] = (195, 254)
    node.tool.do(node.step)

    assert "/dev/nvidia-modeset" in {item.path for item in node.resolve().device_nodes}


def test_installed_files_are_looked_at_again_after_five_minutes(node: Fixture) -> None:
    node.tool.do(node.step)
    (node.root / "usr/bin/nvidia-debugdump").touch()
    node.tool.do(node.step)
    before = {mount.container_path for mount in node.resolve().mounts}
    node.clock.advance(301)
    node.tool.do(node.step)

    assert "/usr/bin/nvidia-debugdump" not in before
    assert "/usr/bin/nvidia-debugdump" in {mount.container_path for mount in node.resolve().mounts}


def test_undo_and_probe_follow_the_file(node: Fixture) -> None:
    seen = [node.tool.probe(node.step)]
    node.tool.do(node.step)
    seen.append(node.tool.probe(node.step))
    node.tool.undo(node.step)
    node.tool.undo(node.step)
    seen.append(node.tool.probe(node.step))

    assert seen == [Probe.NOT_DONE, Probe.DONE, Probe.NOT_DONE]


def test_nodes_below_the_driver_root_are_named_as_the_host_knows_them(tmp_path: Path) -> None:
    root = DriverRoot(tmp_path, PurePosixPath("/opt/driver"))
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()

    devices = choose_device_root(root, inside=HostTree(tmp_path), host=MemoryHost())

    assert devices.host_path(PurePosixPath("/dev/nvidia0")) == PurePosixPath("/opt/driver/dev/nvidia0")


def test_without_nodes_there_the_hosts_own_are_taken(tmp_path: Path) -> None:
    root = DriverRoot(tmp_path, PurePosixPath("/opt/driver"))
    (tmp_path / "dev").mkdir()

    devices = choose_device_root(root, inside=HostTree(tmp_path), host=MemoryHost())

    assert devices.host_path(PurePosixPath("/dev/nvidia0")) == PurePosixPath("/dev/nvidia0")


def test_a_spec_whose_content_takes_long_to_find_out_does_not_stop_other_claims(node: Fixture) -> None:
    partition = claim_spec(UID, [("one", [mig_node(node.gpus["gpu-1"], Placement(0, 1))])], [driver_files()])

    assert node.tool.does_quickly(node.step)
    assert not node.tool.does_quickly(partition)
