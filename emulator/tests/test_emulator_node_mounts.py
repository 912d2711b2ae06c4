"""A node attached to a mount namespace: real nodes, merged trees, and not a trace of it outside or afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claimwright.emulator import running
from claimwright.emulator.errors import MountRefused
from claimwright.emulator.model import NodeProfile, parse_profile
from claimwright.emulator.model.catalogue import _texts
from claimwright.emulator.node_folder import NodeFolder, holder

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare(1)"),
]


class Namespace:
    """A mount namespace held by a sleeping process of ours."""

    def __init__(self, setup: str = "true", propagation: str = "private", *more: str) -> None:
        script = f"{setup} && echo ready && exec sleep 300"
        self.process = subprocess.Popen(
            ["unshare", "--mount", f"--propagation={propagation}", *more, "sh", "-c", script],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    @property
    def path(self) -> Path:
        return Path(f"/proc/{self.process.pid}/ns/mnt")

    def run(self, script: str) -> str:
        return self.attempt(script).stdout

    def attempt(self, script: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", f"--mount={self.path}", "sh", "-c", script]
        return subprocess.run(enter, capture_output=True, text=True, timeout=60, check=False)

    def mounts(self) -> str:
        """Return what an attachment may change; what lies elsewhere, other nodes' mounts say, comes and goes."""
        return self.run(
            "grep -E ' /(sys|proc|dev)[/ ]' /proc/self/mountinfo; ls -l /dev; cat /proc/devices; "
            "ls /sys/devices /sys/module /sys/bus /sys/devices/system/node"
        )

    def close(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    held = Namespace()
    yield held
    held.close()


@pytest.fixture(autouse=True)
def untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that changes this machine's mounts or devices, or leaves a node."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def machine() -> tuple[list[str], list[str], str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        places = (" /sys", " /proc", " /dev", f" {tmp_path}")  # others' nodes may come and go meanwhile
        mounts = [line for line in lines if "claimwright" in line and any(place in line for place in places)]
        return (
            mounts,
            sorted(path.name for path in Path("/dev").glob("nvidia*")),
            Path("/proc/devices").read_text(),
        )

    before = machine()
    yield
    for name in running.known_names():
        running.down(name)
    assert machine() == before


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)


def test_real_paths_tell_of_the_emulated_hardware(namespace: Namespace) -> None:
    node = running.up("hgx-h100", name="one", mount_namespace=namespace.path)

    gpu = "/sys/bus/pci/devices/0000:53:00.0"
    assert node.host_root == Path("/")
    assert namespace.run(f"cat {gpu}/vendor {gpu}/numa_node") == "0x10de\n0\n"
    assert namespace.run(f"readlink -f {gpu}").startswith("/sys/devices/pci0000:50/0000:50:01.0/")
    assert namespace.run(f"readlink -f {gpu}/driver") == "/sys/bus/pci/drivers/nvidia\n"
    assert len(namespace.run("ls /proc/driver/nvidia/gpus").split()) == 8
    assert "580.126.20" in namespace.run("cat /proc/driver/nvidia/version /sys/module/nvidia/version")
    assert " nvidia-caps\n" in namespace.run("cat /proc/devices")
    assert "mlx5_9" in namespace.run("ls /sys/class/infiniband")
    assert namespace.run("test -e /sys/kernel/iommu_groups/16 && echo yes") == "yes\n"


def test_device_nodes_are_real_and_have_no_driver_behind_them(namespace: Namespace) -> None:
    running.up("l4", name="one", mount_namespace=namespace.path)

    assert namespace.run("stat -c '%F %t:%T' /dev/nvidia0 /dev/nvidiactl").split("\n")[:2] == [
        "character special file c3:0",
        "character special file c3:ff",
    ]
    assert (
        "No such device or address" in namespace.attempt("cat /dev/nvidia0").stderr
    )  # ENXIO: allowed, no driver


def test_everything_real_is_still_there_and_works(namespace: Namespace) -> None:
    script = "ls /sys/devices /sys/class /sys/module /sys/bus/pci/devices /sys/bus/pci/drivers /dev; nproc; \
        cat /sys/devices/system/cpu/online /sys/class/net/lo/mtu; readlink -f /sys/class/net/lo; \
        echo x > /dev/null && echo written; head -c1 /dev/zero | wc -c; ls /dev/pts /dev/shm >/dev/null && echo listed"
    before = namespace.run(script).split()

    running.up("hgx-h100", name="one", mount_namespace=namespace.path)

    after = namespace.run(script).split()
    assert [word for word in before if word not in after] == []
    assert {"written", "listed"} <= set(after)


def test_after_down_the_namespace_is_as_before(namespace: Namespace) -> None:
    before = namespace.mounts()

    running.up("hgx-h100", name="one", mount_namespace=namespace.path)
    during = namespace.mounts()
    running.down("one")

    assert during != before
    assert namespace.mounts() == before


def test_a_namespace_whose_mounts_are_shared_within_it_works_as_a_kubelets_does() -> None:
    namespace = Namespace("mount --make-rshared /")
    try:
        before = namespace.mounts()
        running.up("l4", name="one", mount_namespace=namespace.path)
        during = namespace.run("cat /sys/bus/pci/devices/0000:41:00.0/vendor; ls /proc/driver/nvidia/gpus")
        running.down("one")
        after = namespace.mounts()
    finally:
        namespace.close()

    assert during == "0x10de\n0000:41:00.0\n"
    assert after == before


def test_a_dev_of_its_own_is_kept_and_only_gets_the_nodes() -> None:
    namespace = Namespace("mount -t tmpfs t /dev && mknod /dev/null c 1 3 && mkdir /dev/nvidia-caps")
    try:
        before = namespace.mounts()
        running.up("l4", name="one", mount_namespace=namespace.path)
        during = namespace.run("cd /dev; ls -d nvidia* null")
        running.down("one")
        after = namespace.mounts()
    finally:
        namespace.close()

    assert {"null", "nvidia0", "nvidiactl"} <= set(during.split())
    assert [line for line in before.splitlines() if "nvidia-caps" not in line and "total" not in line] == [
        line for line in after.splitlines() if "nvidia-caps" not in line and "total" not in line
    ]


def test_a_change_of_the_model_shows_inside(namespace: Namespace) -> None:
    node = running.up("l4x4", name="one", mount_namespace=namespace.path)

    node.call("lose", gpu=1)

    config = namespace.run("od -An -tx1 -N4 /sys/bus/pci/devices/0000:42:00.0/config")
    assert config.split() == ["ff"] * 4


def test_a_killed_node_is_undone_by_down(namespace: Namespace) -> None:
    before = namespace.mounts()
    node = running.up("l4x4", name="one", mount_namespace=namespace.path)
    os.kill(node.pid, signal.SIGKILL)
    wait_until(lambda: holder(NodeFolder(node.folder)) is None)

    running.down("one")

    assert namespace.mounts() == before


def test_mig_nodes_made_later_are_undone_too_when_the_node_is_killed() -> None:
    """In a /dev of the namespace's own nothing but the record says which nodes are ours."""
    namespace = Namespace("mount -t tmpfs t /dev && mknod /dev/null c 1 3")
    try:
        node = running.up("hgx-h100", name="one", mount_namespace=namespace.path)
        node.call("set_mig_mode", gpu=0, enabled=True)
        node.call("create_gpu_instance", gpu=0, profile=19)
        node.call("create_compute_instance", gpu=0, gpu_instance=13)
        during = namespace.run(
            "ls /dev/nvidia-caps; cd /proc/driver/nvidia/capabilities; cat gpu0/mig/gi13/ci0/access"
        )
        os.kill(node.pid, signal.SIGKILL)
        wait_until(lambda: holder(NodeFolder(node.folder)) is None)
        running.down("one")
        after = namespace.run("ls /dev")
    finally:
        namespace.close()

    assert {"nvidia-cap120", "nvidia-cap121"} <= set(during.split())
    assert "DeviceFileMinor: 121\n" in during
    assert after == "null\n"


@pytest.mark.parametrize("moment", ["one/mounts.json", "one/control.sock", "one/node.json"])
def test_up_killed_while_it_attaches_is_undone_by_down(
    namespace: Namespace, tmp_path: Path, moment: str
) -> None:
    before = namespace.mounts()
    script = f"from claimwright.emulator.running import up; from pathlib import Path; \
up('l4', name='one', mount_namespace=Path('{namespace.path}'))"
    starting = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    wait_until((tmp_path / "claimwright/nodes" / moment).exists)
    starting.kill()
    starting.wait(timeout=10)

    running.down("one")

    assert namespace.mounts() == before


def test_down_works_when_the_namespace_is_gone(namespace: Namespace) -> None:
    running.up("l4", name="one", mount_namespace=namespace.path)
    namespace.close()

    running.down("one")

    assert running.known_names() == []


def test_two_nodes_in_two_namespaces_do_not_see_each_other(namespace: Namespace) -> None:
    other = Namespace()
    try:
        running.up("l4", name="one", mount_namespace=namespace.path)
        running.up("l4x4", name="two", mount_namespace=other.path)

        counts = [len(each.run("ls /proc/driver/nvidia/gpus").split()) for each in (namespace, other)]
        running.down("two")
        running.down("one")
    finally:
        other.close()

    assert counts == [1, 4]


def test_the_machines_own_namespace_is_refused() -> None:
    with pytest.raises(MountRefused, match="mount namespace of this machine"):
        running.up("l4", name="one", mount_namespace=Path("/proc/self/ns/mnt"))
    assert running.known_names() == []


def test_a_namespace_that_propagates_to_the_machine_is_refused() -> None:
    outer = Namespace(propagation="shared")
    inner = None
    try:
        enter = ["nsenter", f"--mount={outer.path}", sys.executable, "-c"]
        inner = subprocess.Popen(
            ["nsenter", f"--mount={outer.path}", "unshare", "--mount", "--propagation=unchanged", "sh", "-c",
             "echo ready; exec sleep 300"], stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert inner.stdout is not None
        assert inner.stdout.readline() == "ready\n"
        script = f"from claimwright.emulator.running import up; from pathlib import Path; \
up('l4', name='one', mount_namespace=Path('/proc/{inner.pid}/ns/mnt'))"

        tried = subprocess.run([*enter, script], capture_output=True, text=True, timeout=60, check=False)
    finally:
        if inner is not None:
            inner.kill()
            inner.communicate(timeout=10)
        outer.close()

    assert "propagates to this machine" in tried.stderr
    assert "make-rprivate" in tried.stderr


@pytest.mark.parametrize("path", ["/does/not/exist", "/proc/1/ns", "/proc/self/ns/net", "/proc/version"])
def test_what_is_no_mount_namespace_is_refused(path: str) -> None:
    with pytest.raises(MountRefused, match=path):
        running.up("l4", name="one", mount_namespace=Path(path))


@pytest.mark.skipif(
    not Path("/sys/devices/pci0000:00").exists(), reason="this machine has no PCI root pci0000:00"
)
def test_a_pci_root_that_the_machine_has_itself_is_refused(namespace: Namespace) -> None:
    before = namespace.mounts()
    text = _texts("nodes")["l4"].read_text(encoding="utf-8")
    text = text.replace("0000:40", "0000:00").replace("40:01.1", "00:1f.1")

    with pytest.raises(MountRefused, match="pci0000:00 exists on this machine"):
        running.up(parse_profile(NodeProfile, text, "mine"), name="one", mount_namespace=namespace.path)

    assert namespace.mounts() == before


def test_a_namespace_with_the_proc_of_its_own_pid_namespace_is_attached_too() -> None:
    """As the nodes of a local cluster have: whoever enters the mount namespace alone has no /proc/self there."""
    held = Namespace("true", "private", "--pid", "--fork", "--kill-child", "--mount-proc")
    try:
        holder_pid = Path(f"/proc/{held.process.pid}/task/{held.process.pid}/children").read_text().split()[0]
        inside = Path(f"/proc/{holder_pid}/ns/mnt")
        running.up("l4", name="pid-namespace", mount_namespace=inside)

        enter = ["nsenter", f"--mount={inside}", f"--pid=/proc/{holder_pid}/ns/pid", "sh", "-c"]
        seen = subprocess.run(
            [*enter, "cat /proc/driver/nvidia/version; ls /dev/nvidia0"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert "NVRM version" in seen.stdout
        assert "/dev/nvidia0" in seen.stdout
    finally:
        running.down("pid-namespace")
        held.close()


def test_a_gpu_on_vfio_gets_its_nodes_and_loses_its_driver_files(namespace: Namespace) -> None:
    node = running.up("l4x4", name="one", mount_namespace=namespace.path)
    group = namespace.run("basename $(readlink /sys/bus/pci/devices/0000:42:00.0/iommu_group)").strip()

    node.call("move_to_driver", function="0000:42:00.0", driver="vfio-pci")

    assert set(namespace.run("ls /dev/vfio").split()) == {group, "devices", "vfio"}
    assert namespace.run("stat -c %F /dev/vfio/devices/vfio0") == "character special file\n"
    assert "vfio-pci" in namespace.run("readlink /sys/bus/pci/devices/0000:42:00.0/driver")
    assert namespace.run("ls /sys/class/vfio-dev /sys/class/vfio").split()[-1] == "vfio0"
    assert len(namespace.run("ls /proc/driver/nvidia/gpus").split()) == 3
    assert namespace.attempt("ls /dev/nvidia1").returncode != 0
    node.call("move_to_driver", function="0000:42:00.0", driver=None)
    assert namespace.run("ls /dev/vfio") == "vfio\n"


needs_fuse = pytest.mark.skipif(
    not os.access("/dev/fuse", os.W_OK), reason="files that act need FUSE: /dev/fuse cannot be opened"
)
GPU = "0000:42:00.0"
DEVICE = f"/sys/bus/pci/devices/{GPU}"
TO_VFIO = f"""
    echo {GPU} > {DEVICE}/driver/unbind && echo vfio-pci > {DEVICE}/driver_override &&
    echo {GPU} > /sys/bus/pci/drivers/vfio-pci/bind
"""


@needs_fuse
@pytest.mark.capability("000-04")
def test_a_program_inside_that_binds_a_gpu_to_vfio_does_it_on_every_face(namespace: Namespace) -> None:
    node = running.up("l4x4", name="one", mount_namespace=namespace.path)
    group = namespace.run(f"basename $(readlink {DEVICE}/iommu_group)").strip()

    assert namespace.attempt(TO_VFIO).returncode == 0

    assert namespace.run(f"stat -c '%F %a' /dev/vfio/{group}") == "character special file 600\n"
    assert namespace.run("ls /sys/class/vfio") == f"{group}\n"
    assert GPU not in namespace.run("ls /proc/driver/nvidia/gpus")
    assert namespace.attempt("ls /dev/nvidia1").returncode != 0
    listed = subprocess.run(
        ["nsenter", f"--mount={namespace.path}", "nvidia-smi", "-L"],
        env={**os.environ, **node.environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(listed.stdout.splitlines()) == 3

    free = f"echo {GPU} > {DEVICE}/driver/unbind && echo > {DEVICE}/driver_override"
    back = f"{free} && echo {GPU} > /sys/bus/pci/drivers_probe"
    assert namespace.attempt(back).returncode == 0
    assert GPU in namespace.run("ls /proc/driver/nvidia/gpus; ls /dev/nvidia1")
    assert namespace.run("ls /dev/vfio") == "vfio\n"


@needs_fuse
def test_a_container_with_the_nodes_sys_acts_too_and_is_refused_as_by_the_kernel(
    namespace: Namespace,
) -> None:
    """As a driver's pod has it: a mount namespace of its own, /sys of the node bound into it."""
    running.up("l4x4", name="one", mount_namespace=namespace.path)
    inside = [
        "nsenter",
        f"--mount={namespace.path}",
        "unshare",
        "--mount",
        "--propagation=private",
        "sh",
        "-c",
    ]
    script = f"mount -t tmpfs t /mnt && mkdir /mnt/sys && mount --rbind /sys /mnt/sys && cd /mnt{DEVICE} && \
        echo vfio-pci > driver_override && cat driver_override; echo {GPU} | tee /mnt/sys/bus/pci/drivers/vfio-pci/bind"

    done = subprocess.run([*inside, script], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout == f"vfio-pci\n{GPU}\n"
    assert "Device or resource busy" in done.stderr
    assert namespace.run(f"cat {DEVICE}/driver_override") == "vfio-pci\n"


@needs_fuse
def test_an_unbind_inside_waits_for_the_users_of_the_gpu(namespace: Namespace) -> None:
    node = running.up("l4x4", name="one", mount_namespace=namespace.path)
    node.call("start_process", gpu=1, pid=4242, name="train", memory_bytes=1 << 20)
    enter = ["nsenter", f"--mount={namespace.path}", "sh", "-c", f"echo {GPU} > {DEVICE}/driver/unbind"]
    unbinding = subprocess.Popen(enter)
    try:
        wait_until(lambda: node.call("snapshot")["gpus"][1]["leaving"])
        assert node.call("snapshot")["gpus"][1]["held_by"] == ["process 4242 (train)"]
        assert unbinding.poll() is None
        assert GPU in namespace.run("ls /proc/driver/nvidia/gpus")

        node.call("stop_process", gpu=1, pid=4242)

        assert unbinding.wait(timeout=20) == 0
        assert GPU not in namespace.run("ls /proc/driver/nvidia/gpus")
    finally:
        unbinding.kill()
        unbinding.wait()


@needs_fuse
def test_an_attached_node_shows_its_own_numa_nodes_around_the_machines_processors(
    namespace: Namespace,
) -> None:
    online = namespace.run("cat /sys/devices/system/cpu/online; nproc")
    running.up("hgx-h100", name="one", mount_namespace=namespace.path)
    folder = "/sys/devices/system/node"

    assert namespace.run(f"cat {folder}/online {folder}/node1/distance") == "0-1\n21 10\n"
    assert namespace.run("cat /sys/devices/system/cpu/online; nproc") == online
    own = namespace.run(f"ls -d {folder}/node*/cpu[0-9]* | sed 's/.*cpu//'").split()
    assert sorted(own) == sorted(path.name[3:] for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*"))
    near = "/sys/bus/pci/devices/0000:53:00.0"
    assert namespace.run(f"cat {near}/local_cpulist") == namespace.run(f"cat {folder}/node0/cpulist")


@needs_fuse
def test_hugepages_that_are_asked_for_inside_are_not_taken_from_the_machine(namespace: Namespace) -> None:
    pool = "hugepages/hugepages-2048kB/nr_hugepages"
    machine = Path("/sys/kernel/mm", pool)
    before = machine.read_text() if machine.exists() else None
    running.up("hgx-h100", name="one", mount_namespace=namespace.path)

    namespace.run(f"echo 512 > /sys/devices/system/node/node1/{pool}")

    assert namespace.run(f"cat /sys/kernel/mm/{pool}") == "512\n"
    assert (machine.read_text() if machine.exists() else None) == before


@needs_fuse
def test_a_module_that_is_loaded_later_shows_its_folder_and_driver(namespace: Namespace) -> None:
    node = running.up("l4", name="one", mount_namespace=namespace.path)
    for module in ("nvidia_uvm", "nvidia_drm", "nvidia_modeset", "nvidia"):
        if module in node.call("snapshot")["modules"]:
            node.call("unload_module", module=module)

    assert namespace.attempt("ls -d /proc/driver/nvidia /sys/module/nvidia /dev/nvidiactl").stdout == ""
    node.call("load_module", module="nvidia")
    assert namespace.attempt("ls /sys/module/nvidia/version /sys/bus/pci/drivers/nvidia/bind").returncode == 0
    assert namespace.attempt("ls /dev/nvidiactl /proc/driver/nvidia/version").returncode == 0


@needs_fuse
def test_mediated_devices_are_made_and_removed_inside(namespace: Namespace) -> None:
    node = running.up("every-mode", name="one", mount_namespace=namespace.path)
    (parent, *_) = namespace.run("ls /sys/class/mdev_bus").split()
    types = f"/sys/class/mdev_bus/{parent}/mdev_supported_types"
    (kind, *_) = namespace.run(f"ls {types}").split()
    free = int(namespace.run(f"cat {types}/{kind}/available_instances"))
    name = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"

    made = namespace.attempt(f"echo {name} > {types}/{kind}/create")

    assert (made.returncode, made.stderr) == (0, "")
    assert namespace.run("ls /sys/bus/mdev/devices") == f"{name}\n"
    assert int(namespace.run(f"cat {types}/{kind}/available_instances")) < free
    assert len(node.call("snapshot")["vgpus"]) == 1
    assert "File exists" in namespace.attempt(f"echo {name} | tee {types}/{kind}/create").stderr
    assert namespace.attempt(f"echo 1 > /sys/bus/mdev/devices/{name}/remove").returncode == 0
    assert namespace.run("ls /sys/bus/mdev/devices") == ""
    assert int(namespace.run(f"cat {types}/{kind}/available_instances")) == free


@needs_fuse
def test_until_down_the_files_of_a_killed_node_answer_that_nobody_serves_them(namespace: Namespace) -> None:
    before = namespace.mounts()
    node = running.up("l4x4", name="one", mount_namespace=namespace.path)
    os.kill(node.pid, signal.SIGKILL)
    wait_until(lambda: holder(NodeFolder(node.folder)) is None)

    assert "not connected" in namespace.attempt(f"cat {DEVICE}/vendor").stderr
    running.down("one")
    assert namespace.mounts() == before


def test_where_files_only_show_the_node_says_why_and_a_write_changes_nothing(namespace: Namespace) -> None:
    node = running.up("l4x4", name="one", mount_namespace=namespace.path, files="plain")

    assert not node.acting_files
    assert node.why_files_only_show == "plain files were asked for"
    namespace.attempt(TO_VFIO)
    assert namespace.run(f"readlink {DEVICE}/driver").endswith("/nvidia\n")
    assert len(namespace.run("ls /proc/driver/nvidia/gpus").split()) == 4
    assert namespace.run("cat /sys/devices/system/node/online") == "0-1\n"
