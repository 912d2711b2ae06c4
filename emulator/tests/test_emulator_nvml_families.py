"""Families of NVML functions from outside: what one process sets or what happens to the node, another one reads."""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from os import environ, geteuid
from pathlib import Path

import pytest

from claimwright.emulator.model import NodeState, Utilization, build_node, load_node_profile
from claimwright.emulator.model.change import Change
from claimwright.emulator.model.operations import bus, faults, gpus
from claimwright.emulator.model.state import NvLinkErrors
from claimwright.emulator.testing import Served

BEGIN = "g = n.nvmlDeviceGetHandleByIndex(0)\n"


@pytest.fixture
def hopper(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "root") as node:
        yield node


def test_fans_turn_as_one_process_sets_them_and_another_reads(tmp_path: Path) -> None:
    with Served(tmp_path / "root", _with_fans(build_node(load_node_profile("l4"), "node"), 2)) as node:
        assert _told(node, "n.nvmlDeviceGetFanSpeed(g) == n.nvmlDeviceGetTargetFanSpeed(g, 0)") is True
        node.python(BEGIN + "n.nvmlDeviceSetFanSpeed_v2(g, 0, 77)")
        assert _told(node, "n.nvmlDeviceGetFanSpeed(g), n.nvmlDeviceGetFanSpeed_v2(g, 0)") == (77, 77)
        node.model.perform(faults.inject_fault, "fan-failure", {"gpu": 0})
        assert _told(node, "n.nvmlDeviceGetFanSpeed(g), n.nvmlDeviceGetTargetFanSpeed(g, 0)") == (0, 77)
        assert _told(node, "n.nvmlDeviceGetFanSpeed_v2(g, 1)") > 0


SETTINGS = {
    "accounting": ("n.nvmlDeviceSetAccountingMode(g, 1)", "n.nvmlDeviceGetAccountingMode(g)", 0, 1),
    "who may set clocks": (
        "n.nvmlDeviceSetAPIRestriction(g, 0, 0)", "n.nvmlDeviceGetAPIRestriction(g, 0)", 1, 0),
    "application clocks": (
        "n.nvmlDeviceSetApplicationsClocks(g, 2619, 1500)", "n.nvmlDeviceGetApplicationsClock(g, 0)",
        1980, 1500),
    "power limit": (
        "n.nvmlDeviceSetPowerManagementLimit(g, 500_000)", "n.nvmlDeviceGetEnforcedPowerLimit(g)",
        700_000, 500_000),
    "compute mode": ("n.nvmlDeviceSetComputeMode(g, 3)", "n.nvmlDeviceGetComputeMode(g)", 0, 3),
    "ECC after a reset": ("n.nvmlDeviceSetEccMode(g, 0)", "n.nvmlDeviceGetEccMode(g)", [1, 1], [1, 0]),
    "MIG": ("n.nvmlDeviceSetMigMode(g, 1)", "n.nvmlDeviceGetMigMode(g)", [0, 0], [1, 1]),
    "bandwidth of a node": (
        "n.nvmlSystemSetNvlinkBwMode(3)", "n.nvmlSystemGetNvlinkBwMode()", 0, 3),
    "when links sleep": (
        "n.nvmlDeviceSetNvLinkDeviceLowPowerThreshold(g, 77)",
        "[(f.nvmlReturn, f.value.uiVal) for f in n.nvmlDeviceGetFieldValues(g, [168, 200, 223, 224, 225])]",
        [(0, 100), (0, 8191), (0, 1), (0, 0), (0, 1)], [(0, 77), (0, 8191), (0, 1), (0, 0), (0, 1)]),
    "hostname": ("n.nvmlDeviceSetHostname_v1(g, b'rack7')", "n.nvmlDeviceGetHostname_v1(g)", "", "rack7"),
    "metrics": (
        "n.nvmlGpmSetStreamingEnabled(g, 1)", "n.nvmlGpmQueryIfStreamingEnabled(g)", 0, 1),
    "drain": (
        "n.nvmlDeviceModifyDrainState(n.nvmlDeviceGetPciInfo_v3(g), 1)",
        "n.nvmlDeviceQueryDrainState(n.nvmlDeviceGetPciInfo_v3(g))", 0, 1),
}  # fmt: skip


@pytest.mark.parametrize(("change", "read", "before", "after"), SETTINGS.values(), ids=SETTINGS)
def test_what_one_process_sets_another_reads(
    hopper: Served, change: str, read: str, before: object, after: object
) -> None:
    assert _told(hopper, read) == before
    hopper.python(BEGIN + change)
    assert _told(hopper, read) == after


@pytest.fixture
def public_hopper() -> Iterator[Served]:
    """A node in a folder that others may enter: pytest closes its own, again with each run that starts."""
    with tempfile.TemporaryDirectory(prefix="cw") as folder, Served(Path(folder) / "root") as node:
        Path(folder).chmod(0o755)
        for device in (node.root.path / "dev").iterdir():
            device.chmod(0o666)
        yield node


@pytest.mark.skipif(geteuid() != 0, reason="needs root to become another user")
def test_everybody_may_set_clocks_once_an_administrator_says_so(public_hopper: Served) -> None:
    hopper = public_hopper
    as_nobody = """
    n.nvmlShutdown()
    os.setgid(65534); os.setuid(65534)
    n.nvmlInit()
    g = n.nvmlDeviceGetHandleByIndex(0)
    def code(name, *given):
        try: getattr(n, name)(g, *given)
        except n.NVMLError as error: return error.value
        return 0
    print([code("nvmlDeviceSetApplicationsClocks", 2619, 1500), code("nvmlDeviceSetAPIRestriction", 0, 1)])
    """
    assert ast.literal_eval(hopper.python(BEGIN + textwrap.dedent(as_nobody))) == [4, 4]
    hopper.python(BEGIN + "n.nvmlDeviceSetAPIRestriction(g, 0, 0)")
    assert ast.literal_eval(hopper.python(BEGIN + textwrap.dedent(as_nobody))) == [0, 4]
    assert _told(hopper, "n.nvmlDeviceGetApplicationsClock(g, 0)") == 1500


def test_a_host_describes_its_gpu_as_text_to_who_has_room(tmp_path: Path) -> None:
    ask = """
    import ctypes
    def ask(room, size):
        size = ctypes.c_uint(size)
        return n._nvmlGetFunctionPointer("nvmlDeviceGetPgpuMetadataString")(g, room, ctypes.byref(size)), size.value
    result, size = ask(None, 0)
    room = ctypes.create_string_buffer(size or 1)
    print([result, ask(room, size - 1)[0] if size else None, ask(room, size)[0], len(room.value) + 1 == size])
    """
    state = build_node(load_node_profile("l4"), "node")
    for number, (manager, told) in enumerate(((True, [7, 7, 0, True]), (False, [3, None, 3, False]))):
        with Served(tmp_path / str(number), replace(state, vgpu_manager=manager)) as node:
            assert ast.literal_eval(node.python(BEGIN + textwrap.dedent(ask))) == told


def test_energy_grows_with_the_power_and_is_the_same_number_as_its_field(hopper: Served) -> None:
    hopper.model.perform(gpus.start_process, 0, 4711, "train", 8 << 30)
    first, field, later = _told(
        hopper,
        """n.nvmlDeviceGetTotalEnergyConsumption(g), n.nvmlDeviceGetFieldValues(g, [83])[0].value.ullVal,
        next(e for e in iter(lambda: n.nvmlDeviceGetTotalEnergyConsumption(g), None)
             if e > n.nvmlDeviceGetFieldValues(g, [83])[0].value.ullVal - 10**6)""",
    )
    assert first <= field <= later


def test_pcie_traffic_follows_the_load(hopper: Served) -> None:
    traffic = "n.nvmlDeviceGetPcieThroughput(g, 0), n.nvmlDeviceGetPcieThroughput(g, 1)"
    assert _told(hopper, traffic) == (0, 0)
    hopper.model.perform(gpus.set_utilization, 0, Utilization(gpu=90, memory=50))
    sent, received = _told(hopper, traffic)
    assert 0 < sent < received < 64 << 20


def test_link_counters_are_cleared_one_by_one_for_every_process(hopper: Served) -> None:
    _count_errors(hopper, NvLinkErrors(replay=3, recovery=5))
    clear = """
    import ctypes
    values = (n.c_nvmlFieldValue_t * 3)()
    for value, (field, link) in zip(values, [(161, 2), (83, 0), (161, 99)]):
        value.fieldId, value.scopeId = field, link
    n._nvmlCheckReturn(n._nvmlGetFunctionPointer("nvmlDeviceClearFieldValues")(g, 3, values))
    print([value.nvmlReturn for value in values])
    """
    assert hopper.python(BEGIN + textwrap.dedent(clear)) == "[0, 3, 2]"
    counts = "[v.value.ullVal for v in n.nvmlDeviceGetFieldValues(g, [(161, 2), (162, 2), (161, 3)])]"
    assert _told(hopper, counts) == [0, 5, 3]


def test_port_counters_tell_of_the_links_of_blackwell(tmp_path: Path, hopper: Served) -> None:
    ask = """
    counters = (n.c_nvmlPRMCounter_v1_t * 3)()
    for counter, (number, port) in zip(counters, [(101, 3), (1, 3), (101, 99)]):
        counter.counterId, counter.inputValue.localPort = number, port
    wanted = n.c_nvmlPRMCounterList_v1_t(3, counters)
    try:
        n.nvmlDeviceReadPRMCounters_v1(g, wanted)
        print([(c.outputValue.status, c.outputValue.outputValue.ullVal) for c in counters])
    except n.NVMLError as error:
        print(error.value)
    """
    with Served(tmp_path / "blackwell", "hgx-b200") as node:
        _count_errors(node, NvLinkErrors(recovery=7))
        assert node.python(BEGIN + textwrap.dedent(ask)) == "[(0, 7), (0, 0), (2, 0)]"
    assert hopper.python(BEGIN + textwrap.dedent(ask)) == "3"


@pytest.mark.parametrize(("virtualization", "features"), [(None, 0), ("pass_through", 2)])
def test_a_machine_with_a_passed_through_gpu_may_be_licensed(
    tmp_path: Path, virtualization: str | None, features: int
) -> None:
    """Every version of the record, each into a buffer of its own size and no byte further."""
    ask = """
    import ctypes
    for name, kind in (("", n.c_nvmlGridLicensableFeatures_t), ("_v2", n.c_nvmlGridLicensableFeatures_v2_t),
                       ("_v3", n.c_nvmlGridLicensableFeatures_v3_t), ("_v4", n.c_nvmlGridLicensableFeatures_v4_t)):
        room = (ctypes.c_ubyte * (ctypes.sizeof(kind) + 64))(*[0xAA] * (ctypes.sizeof(kind) + 64))
        n._nvmlCheckReturn(n._nvmlGetFunctionPointer("nvmlDeviceGetGridLicensableFeatures" + name)(g, room))
        told = kind.from_buffer(room)
        assert bytes(room[ctypes.sizeof(kind):]) == b"\\xaa" * 64, name
        assert bool(told.isGridLicenseSupported) == bool(told.licensableFeaturesCount)
        print(told.licensableFeaturesCount, [f.featureCode for f in told.gridLicensableFeatures])
    """
    state = build_node(load_node_profile("l4"), "node")
    with Served(tmp_path / "root", _in_machine(state, virtualization)) as node:
        codes = [2, 4, 0] if features else [0, 0, 0]
        assert node.python(BEGIN + textwrap.dedent(ask)).splitlines() == [f"{features} {codes}"] * 4


def test_a_process_that_only_waits_hears_of_drivers_taken_and_left(hopper: Served) -> None:
    wait = """
    made = n.nvmlSystemEventSetCreate(n.nvmlSystemEventSetCreateRequest_v1)
    n.nvmlSystemRegisterEvents(n.nvmlSystemRegisterEventRequest_v1, 3, made)
    data = (n.c_nvmlSystemEventData_v1_t * 4)()
    request = n.c_nvmlSystemEventSetWaitRequest_v1_t()
    request.set, request.timeoutms, request.data, request.dataSize = made, 20_000, data, 4
    print("waiting", flush=True)
    while len(heard) < 2:
        assert not n.c_nvmlSystemEventSetWait(n.byref(request))
        heard += [(data[at].eventType, hex(data[at].gpuId)) for at in range(request.numEvent)]
    request.timeoutms = 0
    assert n.c_nvmlSystemEventSetWait(n.byref(request)) == n.NVML_ERROR_TIMEOUT
    n.nvmlSystemEventSetFree(n.nvmlSystemEventSetFreeRequest_v1, made)
    print(heard)
    """
    gpu = hopper.model.snapshot().gpus[3]
    with _waiting(hopper, "heard = []\n" + textwrap.dedent(wait)) as result:
        hopper.model.perform(bus.unbind, str(gpu.pci))
        hopper.model.perform(bus.bind, str(gpu.pci), "nvidia")
        number = hex(gpu.pci.domain << 16 | gpu.pci.bus << 8 | gpu.pci.device)
        assert ast.literal_eval(result()) == [(1, number), (2, number)]


def test_operational_events_come_beside_event_bits_with_their_xid_as_context(hopper: Served) -> None:
    wait = """
    import ctypes
    call = lambda name, *given: n._nvmlGetFunctionPointer("nvmlEventSet" + name)(*given)
    made = n.nvmlEventSetCreate()
    n.nvmlDeviceRegisterEvents(g, n.nvmlEventTypeXidCriticalError, made)
    class Config(ctypes.Structure):
        _fields_ = [("uuid", ctypes.c_char * 96), ("level", ctypes.c_uint), ("severity", ctypes.c_uint)]
    severe = Config(n.nvmlDeviceGetUUID(g).encode(), 0, 40)
    assert [call("RegisterGpuOperationalEvents_v1", made, ctypes.byref(severe)) for _ in range(2)] == [0, 0]
    unknown = Config(b"GPU-00000000-0000-0000-0000-000000000000", 0, 0)
    assert call("RegisterGpuOperationalEvents_v1", made, ctypes.byref(unknown)) == 2
    count, info = n.c_nvmlEventSetGetContextCount_v1_t(), n.c_nvmlEventSetGetContextInfo_v1_t()
    assert call("GetContextCount_v1", made, ctypes.byref(count)) == 6  # nothing was delivered yet
    print("waiting", flush=True)
    for _ in range(3):
        event = n.c_nvmlEventSetWait_v3_t(timeoutMs=20_000)
        assert call("Wait_v3", made, ctypes.byref(event)) == 0
        assert event.uuid == n.nvmlDeviceGetUUID(g)
        assert call("GetContextCount_v1", made, ctypes.byref(count)) == 0
        xid = n.c_nvmlEventSetGetGpuOperationalEventContextLegacyXid_v1_t()
        found = call("GetGpuOperationalEventContextLegacyXid_v1", made, ctypes.byref(xid))
        told = event.dataType, event.eventType, event.eventData, event.severity
        heard.append((*told, count.count, found, xid.xidCode))
    number = ctypes.c_uint()
    data = n.c_nvmlEventSetGetContextData_v1_t(None, 0, 0)
    assert call("GetContextInfo_v1", made, ctypes.byref(info)) == 0 and info.dataSize == 4
    assert call("GetContextData_v1", made, ctypes.byref(data)) == 7 and data.dataSize == 4
    data.data = ctypes.addressof(number)
    assert call("GetContextData_v1", made, ctypes.byref(data)) == 0 and number.value == 79
    event = n.c_nvmlEventSetWait_v3_t(timeoutMs=0)
    assert call("Wait_v3", made, ctypes.byref(event)) == n.NVML_ERROR_TIMEOUT
    print(heard)
    """
    with _waiting(hopper, BEGIN + "heard = []\n" + textwrap.dedent(wait)) as result:
        hopper.model.perform(faults.report_xid, 0, 31)
        hopper.model.perform(faults.report_xid, 1, 79)
        hopper.model.perform(faults.report_xid, 0, 79)
        assert ast.literal_eval(result()) == [
            (0, 8, 31, 0, 0, 2, 0),
            (0, 8, 79, 0, 0, 2, 0),
            (1, 0, 79, 40, 1, 0, 79),
        ]


def test_who_did_not_ask_for_event_bits_gets_none(hopper: Served) -> None:
    wait = """
    import ctypes
    class Config(ctypes.Structure):
        _fields_ = [("uuid", ctypes.c_char * 96), ("level", ctypes.c_uint), ("severity", ctypes.c_uint)]
    made = n.nvmlEventSetCreate()
    every = Config(n.nvmlDeviceGetUUID(g).encode(), 0, 0)
    register = n._nvmlGetFunctionPointer("nvmlEventSetRegisterGpuOperationalEvents_v1")
    assert register(made, ctypes.byref(every)) == 0
    print("waiting", flush=True)
    event = n.c_nvmlEventSetWait_v3_t(timeoutMs=20_000)
    assert n._nvmlGetFunctionPointer("nvmlEventSetWait_v3")(made, ctypes.byref(event)) == 0
    print([event.dataType, event.eventData])
    """
    with _waiting(hopper, BEGIN + textwrap.dedent(wait)) as result:
        hopper.model.perform(faults.report_xid, 0, 13)
        assert result() == "[1, 13]"


def _told(node: Served, expression: str) -> object:
    """Evaluate an expression against the library in a process of its own, GPU 0 as `g`."""
    return ast.literal_eval(node.python(f"{BEGIN}print(repr(({expression})))"))


def _count_errors(node: Served, errors: NvLinkErrors) -> None:
    def count(state: NodeState) -> Change[None]:
        gpu = state.gpus[0]
        links = tuple(replace(link, errors=errors) for link in gpu.nvlinks)
        return Change(replace(state, gpus=(replace(gpu, nvlinks=links), *state.gpus[1:])), None)

    node.model.perform(count)


def _with_fans(state: NodeState, fans: int) -> NodeState:
    gpus = tuple(replace(gpu, board=gpu.board.model_copy(update={"fans": fans})) for gpu in state.gpus)
    return replace(state, gpus=gpus)


def _in_machine(state: NodeState, virtualization: str | None) -> NodeState:
    if virtualization is None:
        return state
    return replace(state, machine=state.machine.model_copy(update={"virtualization": virtualization}))


@contextmanager
def _waiting(node: Served, code: str) -> Iterator[Callable[[], str]]:
    """Run code until it prints `waiting`; what is called inside the block returns the rest of its output."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", "import pynvml as n\nn.nvmlInit()\n" + code],
        env={**environ, "LD_LIBRARY_PATH": str(node.root.library_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def result() -> str:
        output, error = process.communicate(timeout=30)
        assert process.returncode == 0, error
        return output.strip()

    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        yield result
    finally:
        process.kill()
        process.communicate()
