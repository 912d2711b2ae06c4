"""Health: what ails which device, for how long, and who is told; on a node in memory, with a clock by hand."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.dra.kube import EVENTS
from claimwright.dra.testing import FakeApi
from claimwright.driver.entries import Entry, HeldDevice
from claimwright.driver.errors import NvmlUnusable, WatchEnded
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.health import (
    Ailment,
    HealthBoard,
    Listener,
    Notices,
    Physician,
    XidBook,
    XidPolicy,
    taints_of,
)
from claimwright.driver.health.xids import INFORMATIVE_SECONDS, OF_APPLICATIONS
from claimwright.driver.inventory import Inventory, discover, keep_known
from claimwright.driver.ports import (
    ComputeInstance,
    ConditionReading,
    FabricReading,
    GpuEvent,
    MigReading,
    Partition,
    Placement,
    UnreadableGpu,
)
from claimwright.driver.publishing import ailing_devices
from claimwright.driver.repertoire import recipes
from claimwright.driver.stock import Stock
from claimwright.driver.testing import (
    HandClock,
    MemoryEvents,
    MemoryHost,
    MemoryNvml,
    gpu_reading,
    h100_profiles,
    hgx_h100_host,
)

XID, LOST, UNMONITORED = (f"gpu.nvidia.com/{name}" for name in ("xid", "gpu-lost", "unmonitored"))
RESET, NOTHING = 1, 0
ZERO = "00000000-0000-0000-0000-000000000000"
HALVES = (
    Partition(1, 9, Placement(0, 4), (ComputeInstance(0, "MIG-1"),)),
    Partition(2, 9, Placement(4, 4), (ComputeInstance(0, "MIG-2"),)),
)


class Ward:
    """Two GPUs and their physician; `taints` is what devices get after the next reading."""

    def __init__(self, folder: Path, *, ignored: str = "", thorough: bool = True, gates: str = "") -> None:
        self.folder, self.thorough = folder, thorough
        self.clock, self.host = HandClock(), hgx_h100_host()
        self.policy = XidPolicy.parse(ignored)
        self.gates = gates
        self.nvml = MemoryNvml([gpu_reading(0), gpu_reading(1)])
        self.says(0, recovery_action=NOTHING)
        self.says(1, recovery_action=NOTHING)
        self.inventory = Inventory("", "", ())
        self.restart()

    def restart(self, boot: str = "boot-1") -> None:
        self.physician = Physician(
            XidBook(self.folder / "health.json", boot), self.policy, self.clock, thorough=self.thorough
        )

    def says(self, gpu: int, **condition: Any) -> None:
        """Let NVML read this condition from now on."""
        self.becomes(gpu, condition=ConditionReading(**condition))

    def becomes(self, gpu: int, **changes: Any) -> None:
        gpus = list(self.nvml.gpus)
        gpus[gpu] = replace(gpus[gpu], **changes)  # type: ignore[type-var]
        self.nvml.gpus = tuple(gpus)

    def hears(self, xid: int, *, gpu: int = 0, instance: int | None = None) -> None:
        self.physician.note(GpuEvent(gpu_reading(gpu).uuid, xid, instance))

    def taints(self, trouble: NvmlUnusable | None = None) -> dict[str, list[tuple[str, str, str]]]:
        """Read the node once more, and return the taints of its devices."""
        found = self.ailments(trouble)
        stock = Stock(recipes(FeatureGates.parse(self.gates)), self.inventory)
        return {
            name: [(taint.key, taint.effect, taint.value) for taint in taints_of(ailing)]
            for name, ailing in ailing_devices(stock, found).items()
            if ailing
        }

    def ailments(self, trouble: NvmlUnusable | None = None) -> tuple[Ailment, ...]:
        self.physician.attend()
        if trouble is None:
            self.inventory = keep_known(discover(self.nvml, self.host), self.inventory, self.host)
        return self.physician.examine(self.inventory, trouble)


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def test_a_healthy_node_has_no_taints(ward: Ward) -> None:
    assert ward.taints() == {}


@pytest.mark.capability("003-09")
@pytest.mark.parametrize(
    ("change", "taint"),
    [
        ({"condition": ConditionReading(RESET)}, ("claimwright.dev/recovery", "NoSchedule", "gpu-reset")),
        ({"condition": ConditionReading(7)}, ("claimwright.dev/recovery", "NoSchedule", "system-reboot")),
        ({"condition": ConditionReading(99)}, ("claimwright.dev/recovery", "NoSchedule", "action-99")),
        (
            {"condition": ConditionReading(repair_pending=True)},
            ("claimwright.dev/memory", "NoSchedule", "repair-pending"),
        ),
        (
            {"condition": ConditionReading(repair_pending=True, repair_failed=True)},
            ("claimwright.dev/memory", "NoSchedule", "repair-failed"),
        ),
        (
            {"condition": ConditionReading(inforom_corrupt=True)},
            ("claimwright.dev/inforom", "None", "corrupt"),
        ),
        ({"fabric": FabricReading(ZERO, 0, 2)}, ("claimwright.dev/fabric", "NoSchedule", "in-progress")),
        (
            {"fabric": FabricReading(ZERO, 0, 3, status=999)},
            ("claimwright.dev/fabric", "NoSchedule", "failed"),
        ),
        (
            {"fabric": FabricReading(ZERO, 0, 3, health_mask=0b01_10_10)},
            ("claimwright.dev/fabric", "NoSchedule", "route-unhealthy"),
        ),
        (
            {"fabric": FabricReading(ZERO, 0, 3, health_mask=0b10_10_01)},
            ("claimwright.dev/fabric", "None", "degraded-bandwidth"),
        ),
        (
            {"fabric": FabricReading(ZERO, 0, 3, health_mask=5 << 8)},
            ("claimwright.dev/fabric", "NoSchedule", "incorrect-configuration"),
        ),
    ],
    ids=lambda value: value[2] if isinstance(value, tuple) else "",
)
def test_what_the_hardware_says_of_itself_becomes_a_taint_and_goes_with_it(
    ward: Ward, change: dict[str, Any], taint: tuple[str, str, str]
) -> None:
    ward.becomes(1, **change)
    ailing = ward.taints()
    ward.becomes(1, condition=ConditionReading(NOTHING), fabric=None)

    assert ailing == {"gpu-1": [taint]}
    assert ward.taints() == {}


def test_without_the_gate_only_what_does_not_answer_is_tainted(tmp_path: Path) -> None:
    ward = Ward(tmp_path, thorough=False)
    ward.taints()
    ward.says(0, recovery_action=RESET)
    ward.nvml.gpus = (ward.nvml.gpus[0], UnreadableGpu(1, "NVML: GPU is lost", lost=True))

    assert ward.taints() == {"gpu-1": [(LOST, "NoSchedule", "")]}


@pytest.mark.parametrize("reason", [{"clock_reasons": 0x48}, {"clock_reasons": 0x88}, {"pcie_width": 8}])
def test_what_comes_and_goes_by_itself_is_told_when_it_lasts(ward: Ward, reason: dict[str, int]) -> None:
    ward.says(0, recovery_action=NOTHING, pcie_width=16)
    ward.taints()
    ward.says(0, **{"recovery_action": NOTHING, "pcie_width": 16, **reason})

    first, second = ward.taints(), ward.taints()
    ward.says(0, recovery_action=NOTHING, pcie_width=16)

    assert first == {}
    assert [taint[1] for taint in second["gpu-0"]] == ["None"]
    assert ward.taints() == {}


@pytest.mark.parametrize(("xid", "effect"), [(48, "NoSchedule"), (13, "None"), (109, "None")])
def test_an_xid_is_as_bad_as_what_the_driver_asks_for_after_it(ward: Ward, xid: int, effect: str) -> None:
    ward.says(0, recovery_action=RESET)
    ward.hears(xid)

    assert (XID, effect, str(xid)) in ward.taints()["gpu-0"]


def test_an_xid_that_asks_for_nothing_is_shown_for_a_while(ward: Ward) -> None:
    ward.hears(38)

    shown = ward.taints()
    ward.clock.advance(INFORMATIVE_SECONDS + 1)

    assert shown == {"gpu-0": [(XID, "None", "38")]}
    assert ward.taints() == {}


def test_where_no_recovery_is_told_every_xid_of_hardware_counts_until_the_driver_is_reloaded(
    ward: Ward,
) -> None:
    ward.says(0)
    ward.hears(48)
    first = ward.taints()
    ward.clock.advance(86400)
    later = ward.taints()
    unloaded = ward.taints(NvmlUnusable("Driver Not Loaded", "not-loaded"))

    assert first == later == {"gpu-0": [(XID, "NoSchedule", "48")]}
    assert ("claimwright.dev/driver", "NoSchedule", "not-loaded") in unloaded["gpu-1"]
    assert ward.taints() == {}


def test_a_driver_that_was_reloaded_between_two_readings_shows_by_the_watch_that_broke(ward: Ward) -> None:
    ward.hears(38)
    before = ward.taints()
    ward.physician.watch_ended()

    assert before == {"gpu-0": [(XID, "None", "38")]}
    assert ward.taints() == {}


def test_a_harmless_xid_after_a_fatal_one_weakens_nothing(ward: Ward) -> None:
    ward.says(0, recovery_action=RESET)
    for xid in (48, 13, 31):
        ward.hears(xid)
        ward.clock.advance(1)
        ward.taints()

    assert (XID, "NoSchedule", "48") in ward.taints()["gpu-0"]


@settings(deadline=None, max_examples=50)  # machines differ
@given(
    events=st.lists(
        st.tuples(st.sampled_from([13, 31, 48, 63, 79, 95, 154]), st.sampled_from([None, 0, 1, 4])),
        max_size=12,
    )
)
def test_no_order_of_events_leaves_a_device_better_than_its_worst_event(
    tmp_path_factory: pytest.TempPathFactory, events: Sequence[tuple[int, int | None]]
) -> None:
    ward = Ward(tmp_path_factory.mktemp("ward"))
    severe = False
    for xid, action in events:
        ward.says(0, recovery_action=action)
        ward.hears(xid)
        found = ward.taints()
        harmless = xid in OF_APPLICATIONS
        severe = not harmless and action != NOTHING
        if severe:
            assert any(key == XID and effect == "NoSchedule" for key, effect, _ in found["gpu-0"])
        assert all(len({key for key, _, _ in each}) == len(each) for each in found.values())
    ward.says(0, recovery_action=RESET)
    ward.taints()
    ward.says(0, recovery_action=NOTHING)
    assert ward.taints() == {}, "a recovery clears all"


def test_a_recovery_clears_the_xid_that_asked_for_it(ward: Ward) -> None:
    ward.hears(95)
    ward.says(0, recovery_action=4)
    asked = ward.taints()["gpu-0"]
    ward.says(0, recovery_action=NOTHING)

    assert asked == [
        ("claimwright.dev/recovery", "NoSchedule", "drain-and-reset"),
        (XID, "NoSchedule", "95"),
    ]
    assert ward.taints() == {}


def test_an_xid_that_the_operator_ignores_stops_nobody_and_neither_does_what_it_asks_for(
    tmp_path: Path,
) -> None:
    ward = Ward(tmp_path, ignored="48, 63")
    ward.says(0, recovery_action=RESET)
    ward.hears(48)
    ignored = ward.taints()["gpu-0"]
    ward.hears(95)

    assert {effect for _, effect, _ in ignored} == {"None"}
    assert ("claimwright.dev/recovery", "NoSchedule", "gpu-reset") in ward.taints()["gpu-0"]


def test_an_event_of_a_partition_ails_that_partition_only_and_goes_with_it(ward: Ward) -> None:
    ward.becomes(0, mig=MigReading(True, True, h100_profiles(), HALVES))
    ward.says(0)
    ward.taints()
    ward.hears(48, instance=2)
    ailing = ward.taints()
    ward.becomes(0, mig=MigReading(True, True, h100_profiles(), HALVES[:1]))

    assert ailing == {"gpu-0-mig-3g40gb-9-4": [(XID, "NoSchedule", "48")]}
    assert ward.taints() == {}


def test_an_event_of_a_partition_or_gpu_that_is_not_there_is_nothing(ward: Ward) -> None:
    ward.hears(48, instance=3)
    ward.physician.note(GpuEvent("GPU-of-another-node", 48))

    assert ward.taints() == {}


def test_an_event_waits_for_a_reading_that_began_after_it(ward: Ward) -> None:
    ward.physician.attend()
    ward.hears(48)
    early = ward.physician.examine(discover(ward.nvml, ward.host), None)
    ward.says(0, recovery_action=RESET)

    assert early == ()
    assert (XID, "NoSchedule", "48") in ward.taints()["gpu-0"]


def test_a_lost_gpu_stays_with_a_taint_and_is_well_when_it_is_back(ward: Ward) -> None:
    ward.taints()
    whole = ward.nvml.gpus
    ward.hears(79)
    ward.nvml.gpus = (UnreadableGpu(0, "NVML: GPU is lost", lost=True), whole[1])
    lost = ward.taints()
    ward.nvml.gpus = whole

    assert lost == {"gpu-0": [(LOST, "NoSchedule", ""), (XID, "NoSchedule", "79")]}
    assert ward.taints() == {}


def test_a_gpu_that_cannot_be_read_for_another_reason_says_so(ward: Ward) -> None:
    ward.taints()
    ward.nvml.gpus = (ward.nvml.gpus[0], UnreadableGpu(1, "NVML: Unknown Error"))

    assert ward.taints() == {"gpu-1": [("claimwright.dev/unreadable", "NoSchedule", "")]}


def test_a_gpu_that_was_pulled_out_is_gone_with_all_that_ailed_it(ward: Ward) -> None:
    whole = ward.nvml.gpus
    ward.says(1)
    ward.hears(48, gpu=1)
    ward.taints()
    address = "0000:43:00.0"
    kept = {path: target for path, target in ward.host.links.items() if address not in str(path)}
    files = {path: text for path, text in ward.host.files.items() if address not in str(path)}
    present, ward.host = ward.host, MemoryHost()
    ward.host.links, ward.host.files = kept, files
    ward.nvml.gpus = whole[:1]
    pulled, names = ward.taints(), [gpu.device_name for gpu in ward.inventory.gpus]
    ward.host, ward.nvml.gpus = present, whole

    assert (pulled, names) == ({}, ["gpu-0"])
    assert ward.taints() == {}


def test_links_that_were_up_in_this_boot_and_are_down_count(ward: Ward) -> None:
    ward.says(0, recovery_action=NOTHING, nvlinks_active=(0, 1, 2, 3))
    ward.taints()
    ward.restart()
    ward.says(0, recovery_action=NOTHING, nvlinks_active=(0, 3))
    down = ward.taints()
    ward.restart(boot="boot-2")

    assert down == {"gpu-0": [("claimwright.dev/nvlink", "NoSchedule", "2-down")]}
    assert ward.taints() == {}, "another boot may be of another wiring"


def test_health_outlives_the_process_and_not_the_boot(ward: Ward) -> None:
    ward.becomes(0, mig=MigReading(True, True, h100_profiles(), HALVES))
    ward.says(0)
    ward.hears(48, instance=1)
    before = ward.taints()

    ward.restart()
    after = ward.taints()
    ward.restart(boot="boot-2")

    assert before == after != {}
    assert ward.taints() == {}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": 1}', '{"version":1,"boot":"boot-1","xids":[1],"best":{}}']
)
def test_rubbish_in_the_health_file_counts_as_nothing_and_is_replaced(ward: Ward, text: str) -> None:
    path = ward.folder / "health.json"
    path.write_text(text)
    ward.restart()
    ward.says(0)
    ward.hears(48)

    ward.taints()

    assert [record["xid"] for record in json.loads(path.read_text())["xids"]] == [48]


def test_a_folder_that_cannot_be_written_costs_only_the_memory(
    ward: Ward, caplog: pytest.LogCaptureFixture
) -> None:
    ward.folder = ward.folder / "missing"
    ward.restart()
    ward.says(0)
    ward.hears(48)

    assert ward.taints() == {"gpu-0": [(XID, "NoSchedule", "48")]}
    assert "cannot be written" in caplog.text


def test_who_is_not_monitored_is_told(ward: Ward) -> None:
    ward.physician.unmonitored({gpu_reading(1).uuid: "it reports no XIDs"})

    assert ward.taints() == {"gpu-1": [(UNMONITORED, "None", "")]}


def ailment(effect: str, value: str = "48", gpu: str = "0000:1b:00.0", key: str = XID) -> Ailment:
    return Ailment(key, effect, value, f"XID {value}", gpu)  # type: ignore[arg-type]


async def test_the_kubelet_gets_a_complete_list_at_once_and_after_each_change() -> None:
    clock = HandClock()
    board = HealthBoard("node-a", clock)
    board.post({"gpu-0": (), "gpu-1": ()}, ())
    watch = board.watch()

    first = await anext(watch)
    coming = asyncio.ensure_future(anext(watch))
    board.post({"gpu-0": (), "gpu-1": ()}, ())
    await asyncio.sleep(0)
    quiet = not coming.done()
    clock.advance(5)
    board.post({"gpu-0": (ailment("NoSchedule"),), "gpu-1": (ailment("None", "13"),)}, ())
    second = await asyncio.wait_for(coming, 5)

    assert quiet
    assert [(each.device, each.health) for each in first] == [("gpu-0", "Healthy"), ("gpu-1", "Healthy")]
    assert [(each.device, each.health, each.message) for each in second] == [
        ("gpu-0", "Unhealthy", "XID 48"),
        ("gpu-1", "Healthy", "XID 13"),
    ]
    assert second[0].updated_unix_seconds - first[0].updated_unix_seconds == 5


async def test_a_device_that_a_claim_holds_and_nobody_offers_any_more_is_unhealthy() -> None:
    board = HealthBoard("node-a", HandClock())
    held = HeldDevice("r", "node-a", "gpu-5", "0000:c3:00.0", ("x/y=z",))
    entry = Entry(ClaimReference("default", "c", ClaimUid("u")), (held,), ())

    board.post({"gpu-0": (ailment("None", "", key=UNMONITORED),)}, (entry,))

    assert [(each.device, each.health) for each in await anext(board.watch())] == [
        ("gpu-0", "Unknown"),
        ("gpu-5", "Unhealthy"),
    ]


async def test_administrators_are_told_once_of_what_begins_and_of_what_ends() -> None:
    with FakeApi() as api:
        notices = Notices(api.kube(), "node-a", HandClock())
        for ailments in ([ailment("NoSchedule"), ailment("None", "13")], [ailment("NoSchedule")], []):
            notices.tell(ailments, [("gpu-5", "default/c")])
            await notices.settled()
        events = sorted((each["type"], each["reason"], each["note"]) for each in api.objects(EVENTS))

    assert events == [
        ("Normal", "GpuRecovered", "over: GPU 0000:1b:00.0: XID 48"),
        (
            "Warning",
            "GpuGone",
            "gpu-5, which claim default/c holds, is gone; plug it in again, or delete the pods that use it",
        ),
        ("Warning", "GpuUnhealthy", "GPU 0000:1b:00.0: XID 48"),
    ]


async def test_a_flood_of_events_is_cut_and_an_api_server_that_is_away_stops_nothing() -> None:
    clock = HandClock()
    with FakeApi() as api:
        notices = Notices(api.kube(), "node-a", clock)
        for number in range(50):
            notices.tell([ailment("NoSchedule", str(number))], ())
        await notices.settled()
        flood = len(api.objects(EVENTS))
        clock.advance(60)
        api.fail("POST", "events", 500, times=None)
        notices.tell([ailment("NoSchedule", "99")], ())
        await notices.settled()

    assert flood == 20


def test_a_listener_hears_events_and_begins_anew_when_a_watch_ends() -> None:
    events = MemoryEvents()
    heard: list[GpuEvent] = []
    told, ended = threading.Event(), threading.Event()
    counting = itertools.count()
    listener = Listener(
        events,
        heard=lambda event: (heard.append(event), told.set() if next(counting) else None),  # type: ignore[func-returns-value,arg-type]
        began=lambda _reasons: None,
        ended=ended.set,
    )
    listener.start()
    events.put(GpuEvent("GPU-1", 48))
    events.put(WatchEnded("GPU is lost"))
    events.put(GpuEvent("GPU-1", 79))

    assert told.wait(20)
    assert ended.is_set()
    listener.stop()
    assert [event.xid for event in heard] == [48, 79]
    assert events.watches == 2


def test_a_listener_waits_for_a_driver_that_is_away() -> None:
    events = MemoryEvents()
    events.broken = NvmlUnusable("Driver Not Loaded", "not-loaded")
    began, ended = threading.Event(), threading.Event()
    listener = Listener(
        events, heard=lambda _event: None, began=lambda _reasons: began.set(), ended=ended.set
    )
    listener.start()

    assert ended.wait(20)
    events.broken = None
    assert began.wait(20)
    listener.stop()
