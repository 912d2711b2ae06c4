"""vGPUs inside GPU instances, through NVML: the eleven nvmlGpuInstance*Vgpu* functions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claimwright.emulator.model import OperationRefused, Refusal, build_node, load_board, load_node_profile
from claimwright.emulator.model.operations import bus, mig, vgpu
from claimwright.emulator.testing import Served

VM = "c7d9c3a5-0000-4000-8000-000000000001"
ASK = """
import json, ctypes
lib = ctypes.CDLL("libnvidia-ml.so.1")
g = n.nvmlDeviceGetHandleByIndex(0)
gi = n.nvmlDeviceGetGpuInstanceById(g, {instance})
class Types(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint), ("count", ctypes.c_uint), ("array", ctypes.c_void_p)]
def listed(name):
    array = (ctypes.c_uint * 32)()
    record = Types(ctypes.sizeof(Types) | 1 << 24, 32, ctypes.addressof(array))
    result = getattr(lib, name)(gi, ctypes.byref(record))
    return [result, list(array[:record.count]) if not result else None]
def words(name, *values):
    record = (ctypes.c_uint * 8192)(*values)
    result = getattr(lib, name)(gi, record)
    return [result, *record[:len(values)]]
def version(size, number):
    return size | number << 24
"""


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """Serve a vGPU host of one GPU with MIG on; an RTX PRO 6000 unless said otherwise."""
    board = getattr(request, "param", "rtx-pro-6000-bse")
    state = build_node(load_node_profile("l4"), "node", board=lambda _key: load_board(board))
    with Served(tmp_path / "root", replace(state, vgpu_manager=True)) as node:
        node.model.perform(mig.set_mig_mode, 0, enabled=True)
        yield node


def ask(node: Served, instance: int, code: str) -> Any:
    return json.loads(node.python(ASK.replace("{instance}", str(instance)) + code).splitlines()[-1])


def ids(node: Served, *names: str) -> list[int]:
    types = node.model.snapshot().gpus[0].board.vgpu.types  # type: ignore[union-attr]
    return sorted(kind.id for kind in types.values() if kind.name.endswith(names))


def test_a_gpu_instance_lists_what_fits_and_what_runs_in_it(served: Served) -> None:
    served.model.perform(mig.create_gpu_instance, 0, 47)
    before = ask(served, 3, 'print(json.dumps(listed("nvmlGpuInstanceGetCreatableVgpus")))')
    assert before == [0, ids(served, "-1-24Q", "-1-12Q", "-1-8Q", "-1-6Q", "-1-4Q", "-1-3Q", "-1-2Q")]

    carrier, _ = served.model.perform(bus.set_virtual_functions, "0000:41:00.0", 2)
    made = served.model.perform(vgpu.create_vgpu, 0, ids(served, "-1-12Q")[0], carrier, gpu_instance=3)
    served.model.perform(vgpu.start_vm, carrier, VM, 4711)
    after = ask(
        served,
        3,
        'print(json.dumps([listed(f"nvmlGpuInstanceGet{each}Vgpus") for each in ("Creatable", "Active")]))',
    )
    assert after == [[0, ids(served, "-1-12Q")], [0, [made.id]]]
    with pytest.raises(OperationRefused) as refused:
        served.model.perform(mig.destroy_gpu_instance, 0, 3)
    assert refused.value.reason is Refusal.IN_USE


def test_an_instance_has_a_scheduler_of_its_own(served: Served) -> None:
    served.model.perform(mig.create_gpu_instance, 0, 47)
    served.model.perform(mig.create_gpu_instance, 0, 47)
    answer = ask(
        served,
        3,
        """
state = version(24, 1)
first = words("nvmlGpuInstanceGetVgpuSchedulerState", state, 1, 0)
made = words("nvmlGpuInstanceSetVgpuSchedulerState", state, 1, 2, 1, 4000000, 0)
then = words("nvmlGpuInstanceGetVgpuSchedulerState", state, 1, 0)
other = n.nvmlDeviceGetGpuInstanceById(g, 4)
gi, mine = other, gi
beside = words("nvmlGpuInstanceGetVgpuSchedulerState", state, 1, 0)
gi = mine
sizes = [words("nvmlGpuInstanceGetVgpuHeterogeneousMode", version(8, 1), 7),
         words("nvmlGpuInstanceSetVgpuHeterogeneousMode", version(8, 1), 1)[0],
         words("nvmlGpuInstanceSetVgpuHeterogeneousMode", version(8, 1), 2)[0]]
second = words("nvmlGpuInstanceGetVgpuSchedulerState_v2", 1, 0)
wrong = words("nvmlGpuInstanceGetVgpuSchedulerState", state, 9, 0)[0]
log = words("nvmlGpuInstanceGetVgpuSchedulerLog_v2", 1, 0)[0]
print(json.dumps(dict(first=first[3], made=made[0], then=then[3], beside=beside[3], sizes=sizes, second=second[0],
    wrong=wrong,
    log=log)))
""",
    )

    assert (answer["first"], answer["made"], answer["then"], answer["beside"]) == (1, 0, 2, 1)
    assert answer["sizes"] == [[0, version_word(8), 0], 3, 2]
    assert (answer["second"], answer["wrong"], answer["log"]) == (0, 2, 0)


def version_word(size: int) -> int:
    return size | 1 << 24


@pytest.mark.parametrize("served", ["h100-sxm5-80"], indirect=True)
def test_an_instance_that_vgpus_cannot_share_has_no_scheduler(served: Served) -> None:
    served.model.perform(mig.create_gpu_instance, 0, 19)

    answer = ask(
        served,
        13,
        """
print(json.dumps([words("nvmlGpuInstanceGetVgpuSchedulerState", version(24, 1), 1, 0)[0],
                  words("nvmlGpuInstanceGetVgpuSchedulerState_v2", 1, 0)[0],
                  words("nvmlGpuInstanceGetVgpuHeterogeneousMode", version(8, 1), 0)[0],
                  listed("nvmlGpuInstanceGetCreatableVgpus")[0]]))
""",
    )
    assert answer == [3, 3, 3, 0]
