"""vGPU through NVML: what a process that asks the library sees of types, vGPUs and their machines."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from claimwright.emulator.model import NodeState, build_node, load_board, load_node_profile
from claimwright.emulator.model.operations import bus, mig, vgpu
from claimwright.emulator.testing import Served

VM = "c7d9c3a5-0000-4000-8000-000000000001"
MDEV = "5a1d0a34-77f3-4bd5-9a2c-3a2f7f9f0001"


def host(profile: str) -> NodeState:
    return replace(build_node(load_node_profile(profile), "node"), vgpu_manager=True)


def t4_host() -> NodeState:
    state = build_node(load_node_profile("l4"), "node", board=lambda _key: load_board("t4"))
    return replace(state, vgpu_manager=True)


@pytest.fixture
def l4(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "root", host("l4")) as node:
        yield node


def asked(node: Served, code: str) -> object:
    """Run code that ends in `print(repr(...))` against the library, GPU 0 as `g`."""
    return ast.literal_eval(node.python("g = n.nvmlDeviceGetHandleByIndex(0)\n" + code))


def carriers(node: Served, number: int) -> tuple[str, ...]:
    return node.model.perform(bus.set_virtual_functions, "0000:41:00.0", number)


def test_a_host_lists_its_types_with_their_sizes(l4: Served) -> None:
    found = asked(
        l4,
        """
types = n.nvmlDeviceGetSupportedVgpus(g)
print(repr({n.nvmlVgpuTypeGetName(t): (n.nvmlVgpuTypeGetFramebufferSize(t) >> 30, n.nvmlVgpuTypeGetMaxInstances(g, t),
    n.nvmlVgpuTypeGetClass(t), n.nvmlVgpuTypeGetNumDisplayHeads(t)) for t in types}))
""",
    )
    assert isinstance(found, dict)
    assert found["NVIDIA L4-24Q"] == (24, 1, "Quadro", 4)
    assert found["NVIDIA L4-4C"] == (4, 6, "Compute", 1)
    assert asked(l4, "print(n.nvmlDeviceGetVirtualizationMode(g))") == 3


def test_a_bare_metal_driver_knows_no_vgpu(tmp_path: Path) -> None:
    with Served(tmp_path / "root", "l4") as node:
        said = node.python(
            """
            g = n.nvmlDeviceGetHandleByIndex(0)
            for ask in (n.nvmlDeviceGetSupportedVgpus, n.nvmlDeviceGetActiveVgpus, n.nvmlDeviceGetHostVgpuMode):
                try:
                    print(ask(g))
                except n.NVMLError as error:
                    print(error.value)
            print(n.nvmlDeviceGetVirtualizationMode(g))
            """
        )
    assert said.split() == ["3", "3", "3", "0"]


def test_a_vgpu_is_active_only_while_its_machine_runs(l4: Served) -> None:
    first, _ = carriers(l4, 2)
    l4.model.perform(vgpu.create_vgpu, 0, 908, first)
    assert asked(l4, "print(n.nvmlDeviceGetActiveVgpus(g))") == []
    made = l4.model.perform(vgpu.start_vm, first, VM, 4711, driver_version="580.126.20", licensed=True)
    l4.model.perform(vgpu.run_in_guest, first, 99, "render", memory_bytes=3 << 30, gpu_percent=40)
    seen = asked(
        l4,
        """
i, = n.nvmlDeviceGetActiveVgpus(g)
print(repr((n.nvmlVgpuInstanceGetUUID(i), n.nvmlVgpuInstanceGetVmID(i), n.nvmlVgpuInstanceGetType(i),
    n.nvmlVgpuInstanceGetFbUsage(i), n.nvmlVgpuInstanceGetVmDriverVersion(i), n.nvmlVgpuInstanceGetLicenseStatus(i))))
""",
    )
    assert seen == (made.uuid, (VM.encode(), 1), 908, 3 << 30, "580.126.20", 1)
    used = asked(l4, "print([(p.pid, p.usedGpuMemory) for p in n.nvmlDeviceGetComputeRunningProcesses(g)])")
    assert used == [(4711, 12 << 30)]
    busy = asked(
        l4, "print([(s.vgpuInstance, s.smUtil.uiVal) for s in n.nvmlDeviceGetVgpuUtilization(g, 0)])"
    )
    assert busy == [(made.id, 40)]
    l4.model.perform(vgpu.stop_vm, first)
    assert asked(l4, "print(n.nvmlDeviceGetActiveVgpus(g))") == []


def test_what_is_creatable_follows_what_exists(l4: Served) -> None:
    first, _ = carriers(l4, 2)
    count = "print(len(n.nvmlDeviceGetCreatableVgpus(g)))"
    assert asked(l4, count) == 10
    l4.model.perform(vgpu.create_vgpu, 0, 908, first)
    assert asked(l4, count) == 2
    l4.model.perform(vgpu.remove_vgpu, first)
    assert asked(l4, count) == 10


def test_a_mediated_device_names_its_uuid_and_a_virtual_function_has_none(tmp_path: Path, l4: Served) -> None:
    (first,) = carriers(l4, 1)
    l4.model.perform(vgpu.create_vgpu, 0, 908, first)
    l4.model.perform(vgpu.start_vm, first, VM, 1)
    code = """
i, = n.nvmlDeviceGetActiveVgpus(g)
try:
    print(repr(n.nvmlVgpuInstanceGetMdevUUID(i)))
except n.NVMLError as error:
    print(error.value)
"""
    assert asked(l4, code) == 3
    state = t4_host()
    with Served(tmp_path / "other", state) as t4:
        kind = next(each.id for each in state.gpus[0].board.vgpu.types.values() if each.name == "T4-4Q")
        t4.model.perform(vgpu.create_vgpu, 0, kind, MDEV)
        t4.model.perform(vgpu.start_vm, MDEV, VM, 1)
        assert asked(t4, code) == MDEV
        assert asked(t4, "print(n.nvmlDeviceGetHostVgpuMode(g))") == 0
        assert asked(t4, f"print(repr(n.nvmlVgpuTypeGetName({kind})))") == "GRID T4-4Q"


def test_setters_change_what_another_process_reads(l4: Served) -> None:
    l4.python(
        """
        g = n.nvmlDeviceGetHandleByIndex(0)
        mode = n.c_nvmlVgpuHeterogeneousMode_v1_t(n.VgpuHeterogeneousMode_v1, 1)
        assert n._nvmlGetFunctionPointer("nvmlDeviceSetVgpuHeterogeneousMode")(g, n.byref(mode)) == 0
        """
    )
    assert l4.model.snapshot().gpus[0].vgpu.mixed_sizes
    assert asked(l4, "print(n.nvmlDeviceGetVgpuHeterogeneousMode(g))") == 1
    (first,) = carriers(l4, 1)
    l4.model.perform(vgpu.create_vgpu, 0, 908, first)
    refused = """
mode = n.c_nvmlVgpuHeterogeneousMode_v1_t(n.VgpuHeterogeneousMode_v1, 0)
print(n._nvmlGetFunctionPointer("nvmlDeviceSetVgpuHeterogeneousMode")(g, n.byref(mode)))
"""
    assert asked(l4, refused) == 19


def test_a_machine_may_move_to_a_gpu_of_its_kind_only(l4: Served) -> None:
    (first,) = carriers(l4, 1)
    l4.model.perform(vgpu.create_vgpu, 0, 908, first)
    l4.model.perform(vgpu.start_vm, first, VM, 1, driver_version="580.126.20")
    code = """
i, = n.nvmlDeviceGetActiveVgpus(g)
machine, gpu = n.nvmlVgpuInstanceGetMetadata(i), n.nvmlDeviceGetVgpuMetadata(g)
before = n.nvmlGetVgpuCompatibility(machine, gpu)
gpu.opaqueData = b"FFFF"
after = n.nvmlGetVgpuCompatibility(machine, gpu)
print(repr((before.vgpuVmCompatibility, before.compatibilityLimitCode, after.vgpuVmCompatibility)))
"""
    assert asked(l4, code) == (15, 0, 0)


def test_mig_backs_types_by_its_instances(tmp_path: Path) -> None:
    state = host("hgx-h100")
    with Served(tmp_path / "root", state) as node:
        node.model.perform(mig.set_mig_mode, 0, enabled=True)
        assert asked(node, "print(n.nvmlDeviceGetCreatableVgpus(g))") == []
        node.model.perform(mig.create_gpu_instance, 0, 9)
        names = asked(node, "print([n.nvmlVgpuTypeGetName(t) for t in n.nvmlDeviceGetCreatableVgpus(g)])")
        assert names == ["NVIDIA H100XM-3-40C"]


def test_the_scheduler_is_set_and_its_turns_are_logged(l4: Served) -> None:
    (first,) = carriers(l4, 1)
    l4.model.perform(vgpu.set_vgpu_scheduler, 0, 3, time_slice_nanoseconds=5_000_000)
    l4.model.perform(vgpu.create_vgpu, 0, 908, first)
    made = l4.model.perform(vgpu.start_vm, first, VM, 1)
    code = """
log = n.nvmlDeviceGetVgpuSchedulerLog(g)
print(repr((log.schedulerPolicy, log.arrMode, log.schedulerParams.vgpuSchedData.timeslice, log.entriesCount,
    {e.swRunlistId for e in log.logEntries},
    {b.timestamp - a.timestamp for a, b in zip(log.logEntries, log.logEntries[1:])})))
"""
    assert asked(l4, code) == (3, 1, 5_000_000, 200, {made.id}, {5_000_000})


def test_one_node_has_a_board_for_every_mode(tmp_path: Path) -> None:
    with Served(tmp_path / "root", "every-mode") as node:
        modes = node.python(
            """
            for index in range(n.nvmlDeviceGetCount()):
                g = n.nvmlDeviceGetHandleByIndex(index)
                try:
                    mig = n.nvmlDeviceGetMigMode(g)[0]
                except n.NVMLError_NotSupported:
                    mig = None
                print((n.nvmlDeviceGetName(g), n.nvmlDeviceGetHostVgpuMode(g), mig))
            """
        )
    assert [ast.literal_eval(line) for line in modes.splitlines()] == [
        ("NVIDIA H100 PCIe", 1, 0),
        ("NVIDIA H100 PCIe", 1, 0),
        ("NVIDIA A100-PCIE-40GB", 1, 0),
        ("NVIDIA L4", 1, None),
        ("NVIDIA L4", 1, None),
        ("NVIDIA L40S", 1, None),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 1, 0),
        ("Tesla T4", 0, None),
    ]
