"""One story: after every random operation NVML, procfs, sysfs, /dev, nvidia-smi and `inspect` agree with the model."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from claimwright.emulator.description import describe
from claimwright.emulator.files import faces
from claimwright.emulator.files.door import HostDoor
from claimwright.emulator.files.following import render_files
from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.parts import PartedTree
from claimwright.emulator.model import NodeState, OperationRefused
from claimwright.emulator.model.change import Change
from claimwright.emulator.model.operations import bus, faults, gpus, mig, vgpu
from claimwright.emulator.testing import Served

_CLIENT = """
import json, sys
import pynvml as n

def asked(call, *arguments):
    try:
        return call(*arguments)
    except n.NVMLError as error:
        return error.value

def migs(handle):
    found = (asked(n.nvmlDeviceGetMigDeviceHandleByIndex, handle, i)
             for i in range(n.nvmlDeviceGetMaxMigDeviceCount(handle)))
    return sorted(n.nvmlDeviceGetUUID(each) for each in found if not isinstance(each, int))

def gpu(index):
    handle = asked(n.nvmlDeviceGetHandleByIndex, index)
    if isinstance(handle, int):
        return handle
    uuid = asked(n.nvmlDeviceGetUUID, handle)
    if isinstance(uuid, int):
        return uuid
    vgpus = asked(n.nvmlDeviceGetActiveVgpus, handle)
    pci = n.nvmlDeviceGetPciInfo(handle).busId.lower()[4:]
    return [uuid, pci, asked(migs, handle), 0 if isinstance(vgpus, int) else len(vgpus)]

for _ in sys.stdin:
    n.nvmlInitWithFlags(1)
    print(json.dumps([gpu(i) for i in range(n.nvmlDeviceGetCount())]), flush=True)
    n.nvmlShutdown()
"""
_LOST = 15  # NVML_ERROR_GPU_IS_LOST
_FAULTS = ("xid", "gpu-lost", "hot-remove", "ecc-double-bit", "unbind-blocked", "reset-required")
_PID = 4242


class Faces:
    """All ways to look at one node."""

    def __init__(self, folder: Path, served: Served, client: subprocess.Popen[str]) -> None:
        self.served, self.model = served, served.model
        self.initial = self.model.snapshot()
        self.door = HostDoor(self.model)
        self.tree = PartedTree(faces.standing_alone(Majors()))
        self.driver_root = folder
        self._client = client

    def nvml(self) -> list[Any]:
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write("\n")
        self._client.stdin.flush()
        answer: list[Any] = json.loads(self._client.stdout.readline())
        return answer

    def listed(self, path: str) -> set[str]:
        """Return the names in a folder, none where there is no such folder."""
        try:
            return set(self.door.list(path))
        except FileNotFoundError:
            return set()

    def text(self, path: str) -> str:
        return self.door.read(path).decode().strip()


@contextlib.contextmanager
def all_faces(folder: Path, profile: str) -> Iterator[Faces]:
    root = folder / "root"
    with Served(root, profile) as served, render_files(served.model, folder / "host", root):
        environment = {**os.environ, "LD_LIBRARY_PATH": str(served.root.library_dir)}
        command = [sys.executable, "-W", "ignore", "-c", _CLIENT]
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as client:
            try:
                yield Faces(root, served, client)
            finally:
                client.kill()


class OneStory(RuleBasedStateMachine):
    """Random operations on one node, most of them through its files; refusals are part of the story."""

    faces: ClassVar[Faces]
    some = st.integers(0, 7)

    def __init__(self) -> None:
        super().__init__()
        self.faces.model.perform(lambda _state: Change(self.faces.initial, None))

    @property
    def state(self) -> NodeState:
        return self.faces.model.snapshot()

    def at(self, index: int) -> str:
        return str(self.state.gpus[index].pci)

    def write(self, path: str, text: str) -> None:
        with contextlib.suppress(OSError):
            self.faces.door.write(path, text.encode())

    def do(self, operation: Any, *arguments: Any, **named: Any) -> None:
        with contextlib.suppress(OperationRefused):
            self.faces.model.perform(operation, *arguments, **named)

    # What the kernel's files do

    @rule(gpu=some, driver=st.sampled_from(["nvidia", "vfio-pci"]))
    def bind(self, gpu: int, driver: str) -> None:
        self.write(f"/sys/bus/pci/drivers/{driver}/bind", self.at(gpu))

    @rule(gpu=some)
    def unbind(self, gpu: int) -> None:
        self.write(f"/sys/bus/pci/devices/{self.at(gpu)}/driver/unbind", self.at(gpu))

    @rule(gpu=some, driver=st.sampled_from(["vfio-pci", "nvidia", "", "x" * 5000]))
    def override(self, gpu: int, driver: str) -> None:
        self.write(f"/sys/bus/pci/devices/{self.at(gpu)}/driver_override", driver)

    @rule(gpu=some)
    def to_vfio(self, gpu: int) -> None:
        self.unbind(gpu)
        self.override(gpu, "vfio-pci")
        self.bind(gpu, "vfio-pci")

    @rule(gpu=some)
    def remove(self, gpu: int) -> None:
        self.write(f"/sys/bus/pci/devices/{self.at(gpu)}/remove", "1")

    @rule()
    def rescan(self) -> None:
        self.write("/sys/bus/pci/rescan", "1")

    @rule(gpu=some, number=st.integers(0, 5))
    def set_virtual_functions(self, gpu: int, number: int) -> None:
        self.write(f"/sys/bus/pci/devices/{self.at(gpu)}/sriov_numvfs", str(number))

    @rule(number=st.integers(0, 9), kind=st.integers(0, 40), function=some)
    def make_mediated(self, number: int, kind: int, function: int) -> None:
        if parents := sorted(self.faces.listed("/sys/class/mdev_bus")):
            folder = f"/sys/class/mdev_bus/{parents[function % len(parents)]}/mdev_supported_types"
            types = sorted(self.faces.listed(folder))
            name = f"83b8f4f2-509f-382f-3c1e-e6bfe0fa100{number}"
            self.write(f"{folder}/{types[kind % len(types)]}/create", name)

    @rule(number=st.integers(0, 9))
    def remove_mediated(self, number: int) -> None:
        self.write(f"/sys/bus/mdev/devices/83b8f4f2-509f-382f-3c1e-e6bfe0fa100{number}/remove", "1")

    @rule(number=some, kind=st.integers(0, 40))
    def assign_type(self, number: int, kind: int) -> None:
        virtual = [str(each.address) for each in self.state.present_functions if each.physical is not None]
        if virtual:
            folder = f"/sys/bus/pci/devices/{virtual[number % len(virtual)]}/nvidia"
            offered = [line.split()[0] for line in self.creatable(folder)] or ["0"]
            self.write(f"{folder}/current_vgpu_type", offered[kind % len(offered)])

    def creatable(self, folder: str) -> list[str]:
        with contextlib.suppress(OSError):
            return self.faces.text(f"{folder}/creatable_vgpu_types").splitlines()[1:]
        return []

    # What NVML's clients and the outside world do

    @rule(gpu=some, enabled=st.booleans())
    def set_mig_mode(self, gpu: int, enabled: bool) -> None:
        self.do(mig.set_mig_mode, gpu, enabled=enabled)

    @rule(gpu=some, profile=st.sampled_from([0, 9, 14, 15, 19]))
    def make_mig_device(self, gpu: int, profile: int) -> None:
        self.do(mig.create_gpu_instance, gpu, profile)
        if (held := self.state.gpus[gpu].mig) is not None and held.gpu_instances:
            self.do(mig.create_compute_instance, gpu, held.gpu_instances[-1].id)

    @rule(gpu=some)
    def destroy_mig_device(self, gpu: int) -> None:
        if (held := self.state.gpus[gpu].mig) is not None and held.gpu_instances:
            last = held.gpu_instances[-1]
            for each in last.compute_instances:
                self.do(mig.destroy_compute_instance, gpu, last.id, each.id)
            self.do(mig.destroy_gpu_instance, gpu, last.id)

    @rule(gpu=some)
    def start(self, gpu: int) -> None:
        self.do(gpus.start_process, gpu, _PID, "train", 1 << 20)

    @rule(gpu=some)
    def stop(self, gpu: int) -> None:
        self.do(gpus.stop_process, gpu, _PID)

    @rule(gpu=some, number=st.integers(0, 9), kind=st.integers(0, 60))
    def make_vgpu_by_the_model(self, gpu: int, number: int, kind: int) -> None:
        spec = self.state.gpus[gpu].board.vgpu
        if spec is not None:
            types = sorted(spec.types)
            carrier = f"83b8f4f2-509f-382f-3c1e-e6bfe0fa100{number}"
            self.do(vgpu.create_vgpu, gpu, types[kind % len(types)], carrier)

    @rule(number=some)
    def remove_vgpu_by_the_model(self, number: int) -> None:
        if self.state.vgpus:
            self.do(vgpu.remove_vgpu, self.state.vgpus[number % len(self.state.vgpus)].carrier)

    @rule(number=some)
    def start_vm(self, number: int) -> None:
        if self.state.vgpus:
            carrier = self.state.vgpus[number % len(self.state.vgpus)].carrier
            self.do(vgpu.start_vm, carrier, "6d2a3c1e-51b5-4b4a-9f0e-0a4c6f9d7e21", 77 + number)

    @rule(number=some)
    def stop_vm(self, number: int) -> None:
        if self.state.vgpus:
            self.do(vgpu.stop_vm, self.state.vgpus[number % len(self.state.vgpus)].carrier)

    @rule(gpu=some, fault=st.sampled_from(_FAULTS))
    def strike(self, gpu: int, fault: str) -> None:
        self.do(faults.inject_fault, fault, {"gpu": gpu} | ({"xid": 48} if fault == "xid" else {}))

    @rule()
    def clear(self) -> None:
        self.do(faults.clear_faults)

    @rule(gpu=some)
    def reset(self, gpu: int) -> None:
        self.do(faults.reset_gpu, gpu)

    @rule()
    def reload(self) -> None:
        self.do(faults.reload_driver)

    @rule(gpu=some)
    def pull(self, gpu: int) -> None:
        self.do(bus.pull, self.at(gpu))

    # What must hold after each of them

    @invariant()
    def nvml_and_inspect_say_the_same(self) -> None:
        state = self.state
        said = {each["uuid"]: each for each in describe(state)["gpus"]}
        expected = [
            _LOST
            if gpu.lost
            else [
                gpu.uuid,
                str(gpu.pci),
                _mig_uuids(said[gpu.uuid]["mig"]),
                sum(each.gpu == gpu.index and each.vm is not None for each in state.vgpus),
            ]
            for gpu in state.gpus
            if state.bus.driver_of(gpu.pci) == "nvidia"
        ]
        assert [_without_mig_error(each) for each in self.faces.nvml()] == expected

    @invariant()
    def the_driver_lists_what_it_holds(self) -> None:
        state = self.state
        held = [gpu for gpu in state.gpus if state.bus.driver_of(gpu.pci) == "nvidia"]
        assert self.faces.listed("/proc/driver/nvidia/gpus") == {str(gpu.pci) for gpu in held}
        for gpu in held:
            assert gpu.uuid in self.faces.text(f"/proc/driver/nvidia/gpus/{gpu.pci}/information")
        nodes = {f"nvidia{gpu.minor}" for gpu in held}
        for listed in (
            self.faces.listed("/dev"),
            {each.name for each in (self.faces.driver_root / "dev").iterdir()},
        ):
            assert {each for each in listed if each.removeprefix("nvidia").isdigit()} == nodes

    @invariant()
    def the_bus_shows_each_function_where_it_is(self) -> None:
        state, files = self.state, self.faces
        present = state.bus.functions
        assert files.listed("/sys/bus/pci/devices") == {str(each) for each in present}
        for address, function in present.items():
            folder = f"/sys/bus/pci/devices/{address}"
            names = files.listed(folder)
            assert ("driver" in names) == (function.driver is not None and function.leaving is None)
            assert ("vfio-dev" in names) == (function.vfio_device is not None)
            children = sum(each.physical == address for each in state.present_functions)
            assert sum(name.startswith("virtfn") for name in names) == children
            if function.iommu_group is not None:
                group = f"/sys/kernel/iommu_groups/{function.iommu_group}"
                assert files.door.readlink(f"{folder}/iommu_group").endswith(group.removeprefix("/sys"))
                assert str(address) in files.listed(f"{group}/devices")

    @invariant()
    def vfio_nodes_are_those_of_what_is_on_vfio(self) -> None:
        state = self.state
        carried = [
            each for each in (*state.bus.functions.values(), *state.mediated) if each.vfio_device is not None
        ]
        groups = {str(each.iommu_group) for each in carried}
        shown = self.faces.listed("/dev/vfio") - {"vfio", "devices"}
        assert shown == groups == self.faces.listed("/sys/class/vfio")
        devices = {f"vfio{each.vfio_device}" for each in carried}
        assert self.faces.listed("/dev/vfio/devices") == devices
        assert self.faces.listed("/sys/class/vfio-dev") == devices

    @invariant()
    def every_mig_device_has_its_capabilities(self) -> None:
        root = "/proc/driver/nvidia/capabilities"
        for gpu in self.state.nvml_gpus:
            instances = () if gpu.mig is None else gpu.mig.gpu_instances
            folder = f"{root}/gpu{gpu.minor}/mig"
            assert self.faces.listed(folder) == {f"gi{each.id}" for each in instances}
            for each in instances:
                inside = {f"ci{compute.id}" for compute in each.compute_instances} | {"access"}
                assert self.faces.listed(f"{folder}/gi{each.id}") == inside

    @invariant()
    def every_vgpu_is_carried_by_what_the_kernel_shows(self) -> None:
        state = self.state
        mediated = {each.carrier: each for each in state.vgpus if each.is_mediated}
        assert self.faces.listed("/sys/bus/mdev/devices") == set(mediated)
        for uuid, each in mediated.items():
            kind = self.faces.door.readlink(f"/sys/bus/mdev/devices/{uuid}/mdev_type")
            assert kind.endswith(f"/nvidia-{each.type_id}")
        for each in state.vgpus:
            if not each.is_mediated:
                current = f"/sys/bus/pci/devices/{each.carrier}/nvidia/current_vgpu_type"
                assert self.faces.text(current) == str(each.type_id)

    @invariant()
    def what_was_rendered_bit_by_bit_is_the_whole(self) -> None:
        self.faces.tree.follow(self.state)

    def teardown(self) -> None:
        assert self.faces.tree.entries == faces.host_root(self.state)
        _status, said = self.faces.served.smi("-L")
        for gpu in self.state.gpus:
            visible = self.state.bus.driver_of(gpu.pci) == "nvidia" and not gpu.lost
            assert (gpu.uuid in said) == visible, said


def _mig_uuids(said: dict[str, Any] | None) -> list[str]:
    instances = [] if said is None else said["gpu_instances"]
    return sorted(each["uuid"] for instance in instances for each in instance["compute_instances"])


def _without_mig_error(answer: Any) -> Any:
    """A board without MIG answers an error where others list none."""
    return (
        answer
        if isinstance(answer, int)
        else [[] if isinstance(each, int) and i == 2 else each for i, each in enumerate(answer)]
    )


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["every-mode"])
def test_every_face_agrees_with_the_model_after_every_operation(tmp_path: Path, profile: str) -> None:
    with all_faces(tmp_path, profile) as seen:
        machine = type("OneStoryHere", (OneStory,), {"faces": seen})
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            machine,
            settings=settings(
                max_examples=12,
                stateful_step_count=25,
                phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
