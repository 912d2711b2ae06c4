"""Files that act, in this process: what a write does, and the errno of each refusal (nvml-and-sysfs.md, 8)."""

from __future__ import annotations

import contextlib
import errno
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.emulator.files import faces
from claimwright.emulator.files.door import HostDoor
from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.parts import PartedTree
from claimwright.emulator.model import NodeModel, OperationRefused, build_node, load_node_profile
from claimwright.emulator.model.operations import bus, gpus

GPU = "0000:53:00.0"
DEVICE = f"/sys/bus/pci/devices/{GPU}"
DRIVERS = "/sys/bus/pci/drivers"


@pytest.fixture
def model() -> NodeModel:
    return NodeModel(build_node(load_node_profile("hgx-h100"), "node-a"))


@pytest.fixture
def door(model: NodeModel) -> HostDoor:
    return HostDoor(model)


def refusal(door: HostDoor, path: str, data: str) -> str:
    with pytest.raises(OSError) as refused:  # noqa: PT011 - its errno is what is looked at
        door.write(path, data.encode())
    return errno.errorcode[refused.value.errno or 0]


@pytest.mark.parametrize(
    ("path", "data", "number"),
    [
        (f"{DRIVERS}/nvidia/bind", GPU, "EBUSY"),
        (f"{DRIVERS}/vfio-pci/bind", GPU, "ENODEV"),
        (f"{DRIVERS}/vfio-pci/bind", "0000:99:00.0", "ENODEV"),
        (f"{DRIVERS}/vfio-pci/unbind", GPU, "ENODEV"),
        (f"{DRIVERS}/no-such/bind", GPU, "ENOENT"),
        (f"{DRIVERS}/nvidia/unbind", f" {GPU}", "ENODEV"),
        ("/sys/bus/pci/drivers_probe", "0000:99:00.0", "ENODEV"),
        ("/sys/bus/pci/rescan", "x", "EINVAL"),
        (f"{DRIVERS}/vfio-pci/new_id", "10de", "EINVAL"),
        (f"{DRIVERS}/vfio-pci/remove_id", "10de 2330", "ENODEV"),
        (f"{DEVICE}/driver_override", "a" * 4095, "EINVAL"),
        (f"{DEVICE}/remove", "x", "EINVAL"),
        (f"{DEVICE}/reset", "2", "EINVAL"),
        (f"{DEVICE}/enable", "1", "EBUSY"),
        (f"{DEVICE}/numa_node", "7", "EINVAL"),
        (f"{DEVICE}/numa_node", "0x10000000000", "ERANGE"),
        (f"{DEVICE}/reset_method", "magic", "EINVAL"),
        (f"{DEVICE}/vendor", "0x1234", "EACCES"),
        (f"{DEVICE}/nothing", "1", "ENOENT"),
        (f"{DEVICE}/driver", "1", "EISDIR"),
        (f"{DEVICE}/vendor/x", "1", "ENOTDIR"),
        ("/sys/module/vfio_pci/parameters/disable_vga", "Y", "EACCES"),
        ("/sys/module/vfio_pci/parameters/enable_sriov", "maybe", "EINVAL"),
        ("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "-1", "EINVAL"),
        ("/proc/driver/nvidia/version", "1", "EIO"),
    ],
)
def test_a_refused_write_has_the_kernels_errno(door: HostDoor, path: str, data: str, number: str) -> None:
    assert refusal(door, path, data) == number


def test_what_is_write_only_cannot_be_read(door: HostDoor) -> None:
    with pytest.raises(PermissionError):
        door.read(f"{DEVICE}/remove")


def test_the_sequence_of_a_dra_driver_works_and_nvml_follows(door: HostDoor, model: NodeModel) -> None:
    assert door.write(f"{DEVICE}/driver_override", b"\n") == 1
    assert door.write(f"{DEVICE}/driver/unbind", GPU.encode(), truncate=True) == 12
    assert door.write(f"{DEVICE}/driver_override", b"vfio-pci") == 8
    door.write(f"{DRIVERS}/vfio-pci/bind", GPU.encode())

    group = door.readlink(f"{DEVICE}/iommu_group").rpartition("/")[2]
    assert door.readlink(f"{DEVICE}/driver").endswith("/vfio-pci")
    assert door.list("/dev/vfio") == sorted([group, "devices", "vfio"])
    assert door.list(f"{DEVICE}/vfio-dev") == ["vfio0"]
    assert door.read(f"{DEVICE}/driver_override") == b"vfio-pci\n"
    assert GPU not in door.list("/proc/driver/nvidia/gpus")
    assert "nvidia0" not in door.list("/dev")
    assert len(model.snapshot().nvml_gpus) == 7


def test_an_unbind_in_use_is_refused_or_waits_as_the_door_is_told(model: NodeModel) -> None:
    model.perform(gpus.start_process, 0, 7, "train", 1)

    with pytest.raises(BlockingIOError, match=r"in use by process 7 \(train\)"):
        HostDoor(model).write(f"{DRIVERS}/nvidia/unbind", GPU.encode())
    assert model.snapshot().bus.functions[model.snapshot().gpus[0].pci].leaving is None
    timer = threading.Timer(0.02, lambda: model.perform(gpus.stop_process, 0, 7))
    timer.start()
    assert HostDoor(model, wait_seconds=10).write(f"{DRIVERS}/nvidia/unbind", GPU.encode()) == 12
    timer.join()
    assert len(model.snapshot().nvml_gpus) == 7


def test_an_open_gpu_node_holds_the_unbind_lock_off(door: HostDoor) -> None:
    lock = f"/proc/driver/nvidia/gpus/{GPU}/unbindLock"
    holder = door.open("/dev/nvidia0", os.O_RDWR)

    door.write(lock, b"1\n")
    assert door.read(lock) == b"0\n"
    holder.close()
    door.write(lock, b"1\n")
    assert door.read(lock) == b"1\n"
    with pytest.raises(OSError, match="locked"):
        door.open("/dev/nvidia0", os.O_RDWR)


def test_hugepages_are_given_as_far_as_memory_goes(door: HostDoor) -> None:
    pool = "hugepages/hugepages-1048576kB"
    node = f"/sys/devices/system/node/node0/{pool}"

    door.write(f"{node}/nr_hugepages", b"100000")

    assert int(door.read(f"{node}/nr_hugepages")) == (1031680 - 1024) // 1024
    assert door.read(f"/sys/kernel/mm/{pool}/nr_hugepages") == door.read(f"{node}/free_hugepages")


def test_virtual_functions_come_and_go_with_their_links() -> None:
    door = HostDoor(NodeModel(build_node(load_node_profile("l40s"), "node-a")))
    (gpu,) = door.list("/proc/driver/nvidia/gpus")
    folder = f"/sys/bus/pci/devices/{gpu}"
    total = int(door.read(f"{folder}/sriov_totalvfs"))

    assert refusal(door, f"{folder}/sriov_numvfs", str(total + 1)) == "ERANGE"
    door.write(f"{folder}/sriov_numvfs", b"2")
    assert refusal(door, f"{folder}/sriov_numvfs", "3") == "EBUSY"
    virtual = door.readlink(f"{folder}/virtfn0").removeprefix("../")
    assert virtual.endswith(".4")
    assert door.readlink(f"/sys/bus/pci/devices/{virtual}/physfn") == f"../{gpu}"
    door.write(f"{folder}/sriov_numvfs", b"0")
    assert virtual not in door.list("/sys/bus/pci/devices")


moves = st.lists(
    st.tuples(
        st.sampled_from(
            ["unbind", "bind", "vfio", "back", "remove", "pull", "rescan", "start", "stop", "lose", "recover",
             "unload", "load", "lock", "open", "close", "persist", "numa"]
        ),
        st.integers(0, 3),
    ),
    max_size=30,
)  # fmt: skip


def moved(model: NodeModel, move: str, index: int) -> None:
    gpu = model.snapshot().gpus[index]
    address = str(gpu.pci)
    table = {
        "unbind": lambda: model.perform(bus.unbind, address),
        "bind": lambda: model.perform(bus.bind, address, "nvidia"),
        "vfio": lambda: model.perform(bus.move_to_driver, address, "vfio-pci"),
        "back": lambda: model.perform(bus.move_to_driver, address, None),
        "remove": lambda: model.perform(bus.remove, str(model.snapshot().function(gpu.pci).path[-1 - index % 2])),
        "pull": lambda: model.perform(bus.pull, address),
        "rescan": lambda: model.perform(bus.rescan),
        "start": lambda: model.perform(gpus.start_process, index, 7, "x", 1),
        "stop": lambda: model.perform(gpus.stop_process, index, 7),
        "lose": lambda: model.perform(gpus.lose, index),
        "recover": lambda: model.perform(gpus.recover, index),
        "unload": lambda: [model.perform(bus.unload_module, f"nvidia{each}") for each in ("_uvm", "_modeset", "")],
        "load": lambda: model.perform(bus.load_module, "nvidia_uvm"),
        "lock": lambda: model.perform(bus.set_unbind_lock, address, locked=True),
        "open": lambda: model.perform(bus.open_vfio_device, index, 9),
        "close": lambda: model.perform(bus.close_devices, 9),
        "persist": lambda: model.perform(gpus.set_persistence_mode, index, enabled=index % 2 == 0),
        "numa": lambda: model.perform(bus.set_numa_node, address, 0),
    }  # fmt: skip
    with contextlib.suppress(OperationRefused):
        table[move]()


@settings(deadline=None, max_examples=25)
@given(moves)
def test_all_faces_agree_with_the_model_after_every_operation(done: list[tuple[str, int]]) -> None:
    model = NodeModel(build_node(load_node_profile("l4x4"), "node-a"))
    door, followed = HostDoor(model), PartedTree(faces.standing_alone(Majors()))
    for move, index in done:
        moved(model, move, index)
        state = model.snapshot()
        followed.follow(state)

        assert followed.entries == faces.host_root(state)
        visible = {gpu.index for gpu in state.nvml_gpus}
        assert visible == {gpu.index for gpu in state.gpus if state.bus.driver_of(gpu.pci) == "nvidia"}
        devices = door.list("/dev")
        assert {f"nvidia{gpu.minor}" in devices for gpu in state.nvml_gpus} <= {True}
        listed = door.list("/proc/driver/nvidia/gpus") if "nvidia" in state.bus.modules else []
        assert listed == sorted(str(gpu.pci) for gpu in state.nvml_gpus)
        assert door.list("/sys/bus/pci/devices") == sorted(str(each) for each in state.bus.functions)
        for address, present in state.bus.functions.items():
            names = door.list(f"/sys/bus/pci/devices/{address}")
            assert ("driver" in names) == (present.driver is not None and present.leaving is None)
            exposed = present.vfio_device is not None and present.leaving is None
            assert ("vfio-dev" in names) == exposed
