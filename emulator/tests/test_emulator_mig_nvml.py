"""MIG through the library, from processes of their own: what drivers, device plugins and mig-parted do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claimwright.emulator.model import build_node, load_board, load_node_profile
from claimwright.emulator.model.operations import bus, faults, gpus, mig
from claimwright.emulator.testing import Served

HELPERS = """
import json, ctypes
lib = ctypes.CDLL("libnvidia-ml.so.1")
def code(call, *arguments):
    try:
        call(*arguments)
        return 0
    except n.NVMLError as error:
        return error.value
def say(**values):
    print(json.dumps(values))
g = n.nvmlDeviceGetHandleByIndex(0)
"""

ON = "n.nvmlDeviceSetMigMode(g, 1)\n"


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """Serve a node of one GPU; the board by indirect parameter, an H100 unless said otherwise."""
    board = getattr(request, "param", "h100-sxm5-80")
    state = build_node(load_node_profile("l4"), "node", board=lambda _key: load_board(board))
    with Served(tmp_path / "root", state) as node:
        yield node


def ask(served: Served, code: str) -> Any:
    return json.loads(served.python(HELPERS + code).splitlines()[-1])


@pytest.mark.capability("000-06")
def test_a_second_process_sees_an_instance_that_the_first_made(served: Served) -> None:
    made = ask(
        served,
        ON
        + """
gi = n.nvmlDeviceCreateGpuInstance(g, 9)
ci = n.nvmlGpuInstanceCreateComputeInstance(gi, 2)
device = n.nvmlComputeInstanceGetInfo_v2(ci).device
say(uuid=n.nvmlDeviceGetUUID(device), id=n.nvmlGpuInstanceGetInfo(gi).id)
""",
    )
    seen = ask(
        served,
        f"""
device = n.nvmlDeviceGetHandleByUUID({made["uuid"]!r})
memory = n.nvmlDeviceGetMemoryInfo(device)
say(name=n.nvmlDeviceGetName(device), gi=n.nvmlDeviceGetGpuInstanceId(device),
    ci=n.nvmlDeviceGetComputeInstanceId(device),
    parent=n.nvmlDeviceGetUUID(n.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device)), own=n.nvmlDeviceGetUUID(g),
    mode=n.nvmlDeviceGetMigMode(g), most=n.nvmlDeviceGetMaxMigDeviceCount(g), total=memory.total >> 20,
    is_mig=[n.nvmlDeviceIsMigDeviceHandle(device).value, n.nvmlDeviceIsMigDeviceHandle(g).value],
    bus=n.nvmlDeviceGetPciInfo(device).busId, minor=n.nvmlDeviceGetMinorNumber(device),
    index=n.nvmlDeviceGetIndex(device))
""",
    )

    assert seen["name"] == "NVIDIA H100 80GB HBM3 MIG 3g.40gb"
    assert (seen["gi"], seen["ci"], seen["index"]) == (made["id"], 0, 0) == (2, 0, 0)
    assert seen["parent"] == seen["own"]
    assert (seen["mode"], seen["most"], seen["total"]) == ([1, 1], 7, 40448)
    assert seen["is_mig"] == [1, 0]
    assert (seen["bus"], seen["minor"]) == ("00000000:41:00.0", 0)


def test_a_mig_device_is_found_by_its_old_and_new_uuid_and_as_bytes(served: Served) -> None:
    answer = ask(
        served,
        ON
        + """
gi = n.nvmlDeviceCreateGpuInstance(g, 19)
ci = n.nvmlGpuInstanceCreateComputeInstance(gi, 0)
device = n.nvmlComputeInstanceGetInfo_v2(ci).device
new = n.nvmlDeviceGetUUID(device)
old = f"MIG-{n.nvmlDeviceGetUUID(g)}/13/0"
def address(handle):
    return ctypes.cast(handle, ctypes.c_void_p).value
record = n.c_nvmlUUID_t(); record.type = 2
record.value.bytes = (ctypes.c_ubyte * 16)(*bytes.fromhex(new[4:].replace("-", "")))
found = n.c_nvmlDevice_t()
raw = lib.nvmlDeviceGetHandleByUUIDV(ctypes.byref(record), ctypes.byref(found))
say(same=[address(n.nvmlDeviceGetHandleByUUID(u)) == address(device) for u in (new, old)],
    bytes=[raw, address(found) == address(device)],
    wrong=[code(n.nvmlDeviceGetHandleByUUID, u) for u in ("MIG-x", old[:-1] + "1", new[:-1] + "x", "MIG-")])
""",
    )

    assert answer == {"same": [True, True], "bytes": [0, True], "wrong": [6, 6, 6, 6]}


def test_profiles_are_counted_up_until_an_invalid_argument(served: Served) -> None:
    answer = ask(
        served,
        """
found = {}
codes = []
for number in range(0, 19):
    result = code(n.nvmlDeviceGetGpuInstanceProfileInfo, g, number)
    codes.append(result)
    if result == 0:
        info = n.nvmlDeviceGetGpuInstanceProfileInfo(g, number, version=2)
        found[info.id] = [info.name, info.sliceCount, info.instanceCount, info.multiprocessorCount,
                          info.copyEngineCount,
                          info.decoderCount, info.jpegCount, info.ofaCount, info.memorySizeMB, info.isP2pSupported]
def places_of(id):
    count = ctypes.c_uint()
    n.nvmlDeviceGetGpuInstancePossiblePlacements(g, id, None, ctypes.byref(count))
    array = (n.c_nvmlGpuInstancePlacement_t * count.value)()
    n.nvmlDeviceGetGpuInstancePossiblePlacements(g, id, array, ctypes.byref(count))
    return [(p.start, p.size) for p in array]
places = {id: places_of(id) for id in found}
say(codes=codes, found=found, places=places, off=code(n.nvmlDeviceGetGpuInstanceRemainingCapacity, g, 19))
""",
    )

    assert answer["codes"] == [0, 0, 0, 0, 0, 3, 3, 0, 3, 0, *[3] * 8, 2]
    assert answer["found"]["15"] == ["MIG 1g.20gb", 1, 4, 26, 1, 1, 1, 0, 20096, 0]
    assert answer["found"]["0"] == ["MIG 7g.80gb", 7, 1, 132, 8, 7, 7, 1, 81152, 0]
    assert answer["places"]["9"] == [[0, 4], [4, 4]]
    assert answer["off"] == 3


@pytest.mark.capability("003-05")
def test_the_sequence_of_a_driver_with_dynamic_mig(served: Served) -> None:
    """nvidia-dra-driver.md §5.2: create with a place, read the UUID, destroy in reverse, mode off again."""
    answer = ask(
        served,
        """
say_before = n.nvmlDeviceGetMigMode(g)
n.nvmlDeviceSetMigMode(g, 1)
place = n.c_nvmlGpuInstancePlacement_t(); place.start, place.size = 4, 4
gi = n.nvmlDeviceCreateGpuInstanceWithPlacement(g, 9, ctypes.byref(place))
again = code(n.nvmlDeviceCreateGpuInstanceWithPlacement, g, 9, ctypes.byref(place))
place.start = 1
bad = code(n.nvmlDeviceCreateGpuInstanceWithPlacement, g, 9, ctypes.byref(place))
info = n.nvmlGpuInstanceGetInfo(gi)
offered = [code(n.nvmlGpuInstanceGetComputeInstanceProfileInfo, gi, number, 0) for number in range(10)]
ci = n.nvmlGpuInstanceCreateComputeInstance(gi, 2)
full = code(n.nvmlGpuInstanceCreateComputeInstance, gi, 2)
uuid = n.nvmlDeviceGetUUID(n.nvmlComputeInstanceGetInfo_v2(ci).device)
busy = code(n.nvmlGpuInstanceDestroy, gi)
status = ctypes.c_uint()
refused = [lib.nvmlDeviceSetMigMode(g, 0, ctypes.byref(status)), status.value]
gi2 = n.nvmlDeviceGetGpuInstanceById(g, info.id)
ci2 = n.nvmlGpuInstanceGetComputeInstanceById(gi2, 0)
n.nvmlComputeInstanceDestroy(ci2)
gone = [code(n.nvmlComputeInstanceGetInfo_v2, ci), code(n.nvmlGpuInstanceGetComputeInstanceById, gi, 0)]
n.nvmlGpuInstanceDestroy(gi)
gone += [code(n.nvmlGpuInstanceGetInfo, gi), code(n.nvmlDeviceGetGpuInstanceById, g, info.id)]
off = [lib.nvmlDeviceSetMigMode(g, 0, ctypes.byref(status)), status.value]
say(before=say_before, again=again, bad=bad, place=[info.id, info.profileId, info.placement.start, info.placement.size],
    offered=offered, full=full, uuid=uuid, busy=busy, refused=refused, gone=gone, off=off,
    mode=n.nvmlDeviceGetMigMode(g),
    late=code(n.nvmlDeviceGetGpuInstanceById, g, info.id))
""",
    )

    assert answer["before"] == [0, 0]
    assert (answer["again"], answer["bad"], answer["full"], answer["busy"]) == (23, 2, 23, 19)
    assert answer["place"] == [2, 9, 4, 4]
    assert answer["offered"] == [0, 0, 0, 3, 3, 3, 3, 0, 3, 2]
    assert answer["uuid"].startswith("MIG-")
    assert answer["refused"] == [0, 19]
    assert answer["gone"] == [2, 6, 2, 6]
    assert (answer["off"], answer["mode"], answer["late"]) == ([0, 0], [0, 0], 3)


def test_the_walk_of_go_nvlib_over_mig_devices(served: Served) -> None:
    """Indexes up to the maximum, holes skipped; profiles of both levels to name each device."""
    answer = ask(
        served,
        ON
        + """
for profile in (9, 19, 14):
    gi = n.nvmlDeviceCreateGpuInstance(g, profile)
    n.nvmlGpuInstanceCreateComputeInstance(gi, {9: 2, 19: 0, 14: 0}[profile])
walk, codes = [], []
for index in range(n.nvmlDeviceGetMaxMigDeviceCount(g) + 1):
    codes.append(code(n.nvmlDeviceGetMigDeviceHandleByIndex, g, index))
    if codes[-1]: continue
    m = n.nvmlDeviceGetMigDeviceHandleByIndex(g, index)
    gi = n.nvmlDeviceGetGpuInstanceById(g, n.nvmlDeviceGetGpuInstanceId(m))
    ci = n.nvmlGpuInstanceGetComputeInstanceById(gi, n.nvmlDeviceGetComputeInstanceId(m))
    a = n.nvmlDeviceGetAttributes(m)
    walk.append([n.nvmlGpuInstanceGetInfo(gi).profileId, n.nvmlComputeInstanceGetInfo_v2(ci).profileId,
                 a.gpuInstanceSliceCount, a.computeInstanceSliceCount, a.multiprocessorCount, a.memorySizeMB])
names = [n.nvmlDeviceGetName(n.nvmlDeviceGetMigDeviceHandleByIndex(g, i))[22:] for i in range(3)]
say(walk=walk, codes=codes, names=names)
""",
    )

    assert answer["codes"] == [0, 0, 0, 6, 6, 6, 6, 2]
    assert answer["walk"] == [[9, 2, 3, 3, 60, 40448], [14, 0, 2, 1, 16, 20096], [19, 0, 1, 1, 16, 9984]]
    assert answer["names"] == ["MIG 3g.40gb", "MIG 1c.2g.20gb", "MIG 1g.10gb"]


@pytest.mark.parametrize("served", ["a100-sxm4-40"], indirect=True)
def test_the_sequence_of_mig_parted_on_ampere(served: Served) -> None:
    """Mode, reset, clear all, then create in an order that fits (mig-parted tries permutations)."""
    assert ask(served, "n.nvmlDeviceSetMigMode(g, 1)\nsay(mode=n.nvmlDeviceGetMigMode(g))")["mode"] == [0, 1]
    served.model.perform(faults.reset_gpu, 0)
    answer = ask(
        served,
        """
def instances(profile):
    array, count = (ctypes.c_void_p * 7)(), ctypes.c_uint(99)
    assert lib.nvmlDeviceGetGpuInstances(g, profile, array, ctypes.byref(count)) == 0
    return [ctypes.c_void_p(each) for each in array[:count.value]]
def wanted(*profiles):
    made = []
    for profile in profiles:
        gi = ctypes.c_void_p()
        result = lib.nvmlDeviceCreateGpuInstance(g, profile, ctypes.byref(gi))
        if result: break
        ci = ctypes.c_void_p()
        assert lib.nvmlGpuInstanceCreateComputeInstance(gi, {19: 0, 14: 1, 9: 2}[profile], ctypes.byref(ci)) == 0
        made.append((gi, ci))
    if result:
        for gi, ci in made:
            assert lib.nvmlComputeInstanceDestroy(ci) == 0 and lib.nvmlGpuInstanceDestroy(gi) == 0
    return result
first = wanted(19, 19, 14, 9)
left = [len(instances(p)) for p in (19, 14, 9)]
second = wanted(9, 19, 14, 19)
say(first=first, left=left, second=second, now=[len(instances(p)) for p in (19, 14, 9)],
    remaining=n.nvmlDeviceGetGpuInstanceRemainingCapacity(g, 19))
""",
    )

    assert answer == {"first": 23, "left": [0, 0, 0], "second": 0, "now": [2, 1, 1], "remaining": 0}


def test_what_is_read_of_a_mig_device_is_its_own(served: Served) -> None:
    served.model.perform(mig.set_mig_mode, 0, enabled=True)
    for _ in range(2):
        made = served.model.perform(mig.create_gpu_instance, 0, 19)
        served.model.perform(mig.create_compute_instance, 0, made.id)
    served.model.perform(gpus.start_process, 0, 41, "a", 1 << 30, gpu_instance=13, compute_instance=0)
    served.model.perform(gpus.start_process, 0, 42, "b", 2 << 30, gpu_instance=11, compute_instance=0)
    answer = ask(
        served,
        """
m = [n.nvmlDeviceGetMigDeviceHandleByIndex(g, i) for i in range(2)]
def listed(handle, function="nvmlDeviceGetComputeRunningProcesses_v3"):
    return [[p.pid, p.gpuInstanceId, p.computeInstanceId] for p in getattr(n, function)(handle)]
bar = n.nvmlDeviceGetBAR1MemoryInfo(m[0])
second = n.nvmlDeviceGetMemoryInfo(m[0], version=n.nvmlMemory_v2)
say(used=[n.nvmlDeviceGetMemoryInfo(d).used >> 20 for d in m], reserved=second.reserved, bar=bar.bar1Total >> 20,
    listed=[listed(d) for d in m], all=listed(g), graphics=listed(m[0], "nvmlDeviceGetGraphicsRunningProcesses_v3"),
    refused=[code(f, h) for h in (m[0], g) for f in (n.nvmlDeviceGetUtilizationRates,
             n.nvmlDeviceGetEncoderUtilization)],
    temperature=code(n.nvmlDeviceGetTemperature, m[0], 0),
    events=code(n.nvmlDeviceRegisterEvents, m[0], 8, n.nvmlEventSetCreate()),
    attributes=code(n.nvmlDeviceGetAttributes, g), id=code(n.nvmlDeviceGetGpuInstanceId, g),
    capability=n.nvmlDeviceGetCudaComputeCapability(m[0]), on_mig=code(n.nvmlDeviceCreateGpuInstance, m[0], 19))
""",
    )

    assert answer["used"] == [2048, 1024]
    assert (answer["reserved"], answer["bar"]) == (0, 16383)
    assert answer["listed"] == [[[42, 11, 0]], [[41, 13, 0]]]
    assert answer["all"] == [[41, 13, 0], [42, 11, 0]]
    assert answer["graphics"] == []
    assert answer["refused"] == [3, 3, 3, 3]
    assert (answer["temperature"], answer["events"], answer["attributes"], answer["id"]) == (2, 3, 3, 3)
    assert (answer["capability"], answer["on_mig"]) == ([9, 0], 2)


def test_handles_of_what_is_gone_are_invalid_and_come_back_with_it(served: Served) -> None:
    answer = ask(
        served,
        ON
        + """
def make():
    gi = n.nvmlDeviceCreateGpuInstance(g, 19)
    return gi, n.nvmlGpuInstanceCreateComputeInstance(gi, 0)
gi, ci = make()
m = n.nvmlDeviceGetMigDeviceHandleByIndex(g, 0)
uuid = n.nvmlDeviceGetUUID(m)
n.nvmlComputeInstanceDestroy(ci); n.nvmlGpuInstanceDestroy(gi)
calls = (n.nvmlDeviceGetName, n.nvmlDeviceGetUUID, n.nvmlDeviceGetMinorNumber, n.nvmlDeviceGetMemoryInfo,
         n.nvmlDeviceIsMigDeviceHandle)
gone = [code(call, m) for call in calls] + [code(n.nvmlDeviceGetHandleByUUID, uuid)]
make()
say(gone=gone, back=[n.nvmlDeviceGetUUID(m) == uuid, n.nvmlDeviceGetMinorNumber(m)])
""",
    )

    assert answer == {"gone": [2, 2, 2, 2, 2, 6], "back": [True, 0]}


@pytest.mark.parametrize("way", ["lost", "unbound"])
def test_instances_end_with_their_gpu(served: Served, way: str) -> None:
    served.model.perform(mig.set_mig_mode, 0, enabled=True)
    served.model.perform(mig.create_gpu_instance, 0, 19)
    uuid = served.model.perform(mig.create_compute_instance, 0, 13).uuid
    address = str(served.model.snapshot().gpus[0].pci)
    if way == "lost":
        served.model.perform(gpus.lose, 0)
        assert "6" in served.python(f"""
try: n.nvmlDeviceGetHandleByUUID({uuid!r})
except n.NVMLError as error: print(error.value)
""")
        served.model.perform(gpus.recover, 0)
    else:
        served.model.perform(bus.unbind, address)
        served.model.perform(bus.bind, address, "nvidia")

    answer = ask(
        served, f"say(mode=n.nvmlDeviceGetMigMode(g), found=code(n.nvmlDeviceGetHandleByUUID, {uuid!r}))"
    )
    assert answer == {"mode": [0, 0], "found": 6}


@pytest.mark.parametrize("served", ["l4"], indirect=True)
def test_a_board_without_mig_says_so(served: Served) -> None:
    answer = ask(
        served,
        """
say(codes=[code(n.nvmlDeviceGetMigMode, g), code(n.nvmlDeviceSetMigMode, g, 1),
    code(n.nvmlDeviceGetGpuInstanceProfileInfo, g, 0),
    code(n.nvmlDeviceGetGpuInstanceProfileInfo, g, 18), code(n.nvmlDeviceCreateGpuInstance, g, 19),
    code(n.nvmlDeviceGetMigDeviceHandleByIndex, g, 0)], most=n.nvmlDeviceGetMaxMigDeviceCount(g))
""",
    )

    assert answer == {"codes": [3, 3, 3, 2, 3, 3], "most": 0}


def test_places_are_counted_by_null_and_given_to_whoever_has_room(served: Served) -> None:
    """The count is given back alone: a caller need not say how much room there is (nvml.h, "large enough")."""
    answer = ask(
        served,
        """
count = ctypes.c_uint(0)
asked = [lib.nvmlDeviceGetGpuInstancePossiblePlacements_v2(g, 19, None, ctypes.byref(count)), count.value]
array = (ctypes.c_uint * 16)(*[77] * 16)
count.value = 0
code2 = lib.nvmlDeviceGetGpuInstancePossiblePlacements_v2(g, 14, array, ctypes.byref(count))
given = [code2, count.value, list(array[:8])]
first = [lib.nvmlDeviceGetGpuInstancePossiblePlacements(g, 14, None, ctypes.byref(count))]
say(asked=asked, given=given, first=first)
""",
    )

    assert answer["asked"] == [0, 7]
    assert answer["given"] == [0, 3, [0, 2, 2, 2, 4, 2, 77, 77]]
    assert answer["first"] == [2]
