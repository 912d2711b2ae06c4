"""The machine and its journal: what holds when the process dies at any point, or two want one device."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.driver.entries import Entry, HeldDevice, State
from claimwright.driver.errors import (
    ClaimRefused,
    DriverError,
    GpuGone,
    JournalUnwritable,
    LockTimeout,
    StepFailed,
)
from claimwright.driver.journal import CorruptJournal, DiskFile, Journal, load, set_aside
from claimwright.driver.machine import Machine
from claimwright.driver.steps import Probe, Step, Toolbox

DRIVER = "gpu.nvidia.com"
Result = TypeVar("Result")


class Crash(BaseException):
    """The process dies here."""


class Fuse:
    """Lets so many operations pass, then every one dies, as in a dead process."""

    def __init__(self, operations: int | None = None) -> None:
        self.left = operations

    def burn(self) -> None:
        if self.left is None:
            return
        if self.left <= 0:
            raise Crash
        self.left -= 1


class FileTool:
    """Marks a step in the world by a file; dies before or after it, as the fuse wants."""

    quick = True
    visible = True
    recorded = False
    refreshes = False
    name = "file"

    def __init__(self, folder: Path, fuse: Fuse) -> None:
        self.folder, self.fuse = folder, fuse
        self.refuse: set[str] = set()
        self.full = False
        self.refuse_undo = False
        self.gone_times = 0

    def do(self, step: Step) -> None:
        self.fuse.burn()
        if step.arguments["name"] in self.refuse:
            raise StepFailed(f"{step} refused")
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device", "/run/cdi/spec.json")
        self._file(step).touch()
        self.fuse.burn()

    def undo(self, step: Step) -> None:
        self.fuse.burn()
        if self.refuse_undo:
            raise OSError(errno.EBUSY, "busy")
        self._file(step).unlink(missing_ok=True)
        self.fuse.burn()

    def probe(self, step: Step) -> Probe:
        if self.gone_times:
            self.gone_times -= 1
            raise GpuGone("GPU is lost")
        return Probe.DONE if self._file(step).exists() else Probe.NOT_DONE

    def _file(self, step: Step) -> Path:
        return self.folder / str(step.arguments["name"])


class SlowTool(FileTool):
    """The same in another thread."""

    quick = False
    name = "slow"


class MoodyTool(FileTool):
    """The same in whatever thread the step asks for; the file holds the thread's name."""

    name = "moody"

    def does_quickly(self, step: Step) -> bool:
        return bool(step.arguments["quickly"])

    def do(self, step: Step) -> None:
        super().do(step)
        self._file(step).write_text(threading.current_thread().name)


class BlindTool(FileTool):
    """The same without a way to look: the journal must remember that it acted."""

    visible = False
    recorded = True
    refreshes = False
    name = "blind"

    undone = 0

    def undo(self, step: Step) -> None:
        self.undone += 1
        super().undo(step)

    def probe(self, step: Step) -> Probe:
        return Probe.NOT_VISIBLE


class SettingTool(FileTool):
    """A setting that had a value before, which only its tool knows; `half` is neither that value nor the wanted one."""

    recorded = True
    name = "setting"

    def found(self, step: Step) -> dict[str, str]:
        return {"before": self._file(step).read_text()}

    def do(self, step: Step) -> None:
        self.fuse.burn()
        self._file(step).write_text("half")
        self.fuse.burn()
        self._file(step).write_text("wanted")
        self.fuse.burn()

    def undo(self, step: Step) -> None:
        self.fuse.burn()
        self._file(step).write_text(step.arguments["before"])
        self.fuse.burn()

    def probe(self, step: Step) -> Probe:
        answers = {"wanted": Probe.DONE, "half": Probe.PARTLY}
        return answers.get(self._file(step).read_text(), Probe.NOT_DONE)


class TreacherousFile(DiskFile):
    """A journal file that loses power at any point of a write."""

    def __init__(self, path: Path, fuse: Fuse) -> None:
        super().__init__(path)
        self.fuse = fuse
        self.full = False

    def append(self, data: bytes, *, durable: bool) -> None:
        self.fuse.burn()
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        try:
            self.fuse.burn()
        except Crash:
            super().append(data[: len(data) // 2], durable=durable)
            raise
        super().append(data, durable=durable)
        self.fuse.burn()


class Node:
    """One node's disk: the journal, the world that steps change, and machines started over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = folder / "world"
        self.world.mkdir(parents=True, exist_ok=True)
        self.path = folder / "journal"
        self.fuse = Fuse()

    def start(self) -> Machine:
        self.fuse = Fuse()
        loaded = load(self.path, DRIVER)
        entries = dict(loaded.entries) if loaded else {}
        self.file = TreacherousFile(self.path, self.fuse)
        journal = Journal(self.file, driver=DRIVER, boot_id="boot", entries=tuple(entries.values()))
        self.tools = [
            tool(self.world, self.fuse) for tool in (FileTool, SlowTool, BlindTool, SettingTool, MoodyTool)
        ]
        return Machine(journal, Toolbox(*self.tools), entries, lock_timeout_seconds=5)

    def plan(
        self, claim: int, devices: list[int], tools: tuple[str, ...] = ("blind", "slow", "file")
    ) -> Entry:
        uid = ClaimUid(f"uid-{claim}")
        return Entry(
            claim=ClaimReference("default", f"claim-{claim}", uid),
            devices=tuple(
                HeldDevice("gpu", "node", f"gpu-{n}", f"hw-{n}", (f"x/y={uid}-gpu-{n}",)) for n in devices
            ),
            steps=tuple(Step(tool, {"name": f"{uid}.{number}"}) for number, tool in enumerate(tools)),
        )

    def marks(self) -> set[str]:
        return {path.name.partition(".")[0] for path in self.world.iterdir()}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_a_quick_tool_may_do_single_steps_beside_the_loop(node: Node) -> None:
    machine = node.start()
    steps = tuple(
        Step("moody", {"name": f"moody.{quickly}", "quickly": quickly}) for quickly in (True, False)
    )

    await machine.prepare(replace(node.plan(1, [0]), steps=steps))

    at_once, aside = ((node.world / str(step.arguments["name"])).read_text() for step in steps)
    assert at_once == threading.current_thread().name
    assert aside != at_once


async def test_prepare_does_every_step_and_answers_with_the_devices(node: Node) -> None:
    machine = node.start()

    entry = await machine.prepare(node.plan(1, [0, 3]))

    assert entry.state is State.PREPARED
    assert [held.device for held in entry.devices] == ["gpu-0", "gpu-3"]
    assert sorted(path.name for path in node.world.iterdir()) == ["uid-1.0", "uid-1.1", "uid-1.2"]


async def test_prepare_twice_and_at_once_gives_the_same_entry(node: Node) -> None:
    machine = node.start()

    answers = await asyncio.gather(*(machine.prepare(node.plan(1, [0])) for _ in range(8)))

    assert len({id(answer) for answer in answers}) == 1
    assert len(machine.entries) == 1


async def test_eight_claims_at_once_are_all_prepared(node: Node) -> None:
    machine = node.start()

    await asyncio.gather(*(machine.prepare(node.plan(number, [number])) for number in range(8)))

    assert {entry.state for entry in machine.entries} == {State.PREPARED}
    assert len(machine.entries) == 8


async def test_of_two_claims_for_one_device_the_second_is_refused_by_name(node: Node) -> None:
    machine = node.start()

    first, second = await asyncio.gather(
        machine.prepare(node.plan(1, [0])), machine.prepare(node.plan(2, [0])), return_exceptions=True
    )

    assert isinstance(first, Entry)
    assert isinstance(second, ClaimRefused)
    assert "requested device gpu-0 is already allocated to different claim uid-1" in str(second)
    assert node.marks() == {"uid-1"}


async def test_admin_access_shares_a_device_with_its_owner(node: Node) -> None:
    machine = node.start()
    await machine.prepare(node.plan(1, [0]))
    plan = node.plan(2, [])
    admin = HeldDevice("admin", "node", "gpu-0", "hw-0", (), admin_access=True)

    await machine.prepare(Entry(plan.claim, (admin,), plan.steps))

    assert len(machine.entries) == 2


def holding(**fields: object) -> HeldDevice:
    given: dict[str, Any] = {"request": "r", "pool": "node", "device": "d", "hardware": "hw-0", "cdi_ids": ()}
    return HeldDevice(**{**given, **fields})


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ({"device": "whole"}, {"device": "whole"}, False),
        ({"device": "whole"}, {"device": "mig", "parts": frozenset({"slice-0"})}, False),
        ({"device": "a", "parts": frozenset("12")}, {"device": "b", "parts": frozenset("34")}, True),
        ({"device": "a", "parts": frozenset("12")}, {"device": "b", "parts": frozenset("23")}, False),
        ({"device": "whole", "share_id": "x"}, {"device": "whole", "share_id": "y"}, True),
        ({"device": "whole", "share_id": "x"}, {"device": "whole"}, False),
        ({"device": "whole", "share_id": "x"}, {"device": "mig", "parts": frozenset("1")}, False),
        ({"device": "whole", "hardware": "hw-1"}, {"device": "whole"}, True),
        ({"device": "whole", "admin_access": True}, {"device": "whole"}, True),
    ],
    ids=[
        "one device twice",
        "a whole GPU and a part of it",
        "parts that do not touch",
        "parts that overlap",
        "two shares of one device",
        "a share, and the device itself",
        "a share of the whole, and a part",
        "two GPUs",
        "admin access",
    ],
)
async def test_claims_hold_at_once_what_the_hardware_can_give_at_once(
    node: Node, one: dict[str, Any], other: dict[str, Any], both: bool
) -> None:
    machine = node.start()
    for claim, fields in ((1, one), (2, other)):
        plan = replace(node.plan(claim, []), devices=(holding(**fields),))
        expected = contextlib.nullcontext() if both or claim == 1 else pytest.raises(ClaimRefused)
        with expected:
            await machine.prepare(plan)

    assert len(machine.entries) == (2 if both else 1)


async def test_a_step_that_two_claims_rest_on_stays_until_the_last_is_released(node: Node) -> None:
    machine = node.start()
    mode = Step("file", {"name": "mode.of-hw-0"})
    for claim in (1, 2):
        plan = node.plan(claim, [], ("file",))
        await machine.prepare(
            replace(plan, devices=(holding(parts=frozenset({str(claim)})),), steps=(mode, *plan.steps))
        )

    await machine.release("uid-1")
    assert node.marks() == {"mode", "uid-2"}

    await machine.release("uid-2")
    assert node.marks() == set()


async def test_a_device_is_free_again_after_its_release(node: Node) -> None:
    machine = node.start()
    await machine.prepare(node.plan(1, [0]))
    await machine.release("uid-1")

    await machine.prepare(node.plan(2, [0]))

    assert node.marks() == {"uid-2"}


async def test_a_prepare_waits_for_the_release_that_frees_its_device(node: Node) -> None:
    machine = node.start()
    await machine.prepare(node.plan(1, [0]))

    _, entry = await asyncio.gather(machine.release("uid-1"), machine.prepare(node.plan(2, [0])))

    assert isinstance(entry, Entry)


@pytest.mark.parametrize("moment", range(30))
async def test_a_setting_goes_back_to_what_it_was_whenever_the_driver_dies(node: Node, moment: int) -> None:
    setting = node.world / "uid-1.0"
    setting.write_text("an administrator's value")
    machine, plan = node.start(), node.plan(1, [0], ("setting", "file"))
    node.fuse.left = moment
    with contextlib.suppress(Crash, DriverError):
        await machine.prepare(plan)

    machine = node.start()
    await machine.recover()
    prepared = [entry.state for entry in machine.entries]
    value = setting.read_text()
    await machine.release("uid-1")

    assert (prepared, value) in [([State.PREPARED], "wanted"), ([], "an administrator's value")]
    assert setting.read_text() == "an administrator's value"


async def test_what_was_half_taken_away_is_repaired(node: Node) -> None:
    setting = node.world / "uid-1.0"
    setting.write_text("before")
    machine, plan = node.start(), node.plan(1, [0], ("setting",))
    await machine.prepare(plan)

    setting.write_text("half")
    await machine.prepare(plan)
    repaired = setting.read_text()
    await machine.release("uid-1")

    assert (repaired, setting.read_text()) == ("wanted", "before")


async def test_release_of_an_unknown_claim_succeeds(node: Node) -> None:
    await node.start().release("never-seen")


@pytest.mark.parametrize("failing", ["uid-1.0", "uid-1.1", "uid-1.2"])
async def test_a_failing_step_leaves_nothing_and_a_later_try_succeeds(node: Node, failing: str) -> None:
    machine = node.start()
    for tool in node.tools:
        tool.refuse = {failing}

    with pytest.raises(StepFailed, match="refused"):
        await machine.prepare(node.plan(1, [0]))
    left = set(node.world.iterdir()), machine.entries
    for tool in node.tools:
        tool.refuse = set()
    entry = await machine.prepare(node.plan(1, [0]))

    assert left == (set(), ())
    assert entry.state is State.PREPARED


async def test_a_step_without_a_trace_is_not_undone_when_it_never_acted(node: Node) -> None:
    machine = node.start()
    files, _, blind, *_ = node.tools
    files.refuse = {"uid-1.0"}

    with pytest.raises(StepFailed):
        await machine.prepare(node.plan(1, [0], ("file", "blind")))

    assert blind.undone == 0


async def test_a_step_that_cannot_be_undone_keeps_the_device_held_until_it_can(node: Node) -> None:
    machine = node.start()
    await machine.prepare(node.plan(1, [0]))
    for tool in node.tools:
        tool.refuse_undo = True

    with pytest.raises(StepFailed, match="busy"):
        await machine.release("uid-1")
    with pytest.raises(ClaimRefused, match="already allocated"):
        await machine.prepare(node.plan(2, [0]))
    for tool in node.tools:
        tool.refuse_undo = False
    await machine.release("uid-1")

    assert machine.entries == ()
    assert node.marks() == set()


async def test_a_gpu_that_says_once_that_it_is_gone_is_asked_again(node: Node) -> None:
    machine = node.start()
    await machine.prepare(node.plan(1, [0], tools=("file",)))
    node.tools[0].gone_times = 1

    await machine.release("uid-1")

    assert machine.entries == ()
    assert node.marks() == set()


async def test_a_gpu_that_is_gone_for_good_does_not_hold_its_claim(node: Node) -> None:
    machine = node.start()
    await machine.prepare(node.plan(1, [0], tools=("file",)))
    node.tools[0].gone_times = 1000

    await machine.release("uid-1")

    assert machine.entries == ()


async def test_a_prepared_claim_that_cannot_be_looked_at_after_a_start_is_never_undone_by_a_prepare(
    node: Node,
) -> None:
    machine = node.start()
    plan = node.plan(1, [0], tools=("blind", "file"))
    await machine.prepare(plan)
    marks = node.marks()
    again = node.start()
    node.tools[0].gone_times = 1

    await again.recover()
    assert [entry.state for entry in again.entries] == [State.PREPARED]
    await again.prepare(plan)

    assert node.marks() == marks
    assert all(tool.undone == 0 for tool in node.tools if isinstance(tool, BlindTool))


async def test_a_full_disk_gives_one_clear_error_and_nothing_half_done(node: Node) -> None:
    machine = node.start()
    node.file.full = True

    with pytest.raises(JournalUnwritable, match=r"cannot be written: No space left on device.*free space"):
        await machine.prepare(node.plan(1, [0]))
    assert machine.entries == ()
    assert node.marks() == set()

    node.file.full = False
    await machine.prepare(node.plan(1, [0]))


async def test_a_disk_that_fills_up_halfway_rolls_the_claim_back(node: Node) -> None:
    machine = node.start()
    append = node.file.append

    def fill_after_the_first(data: bytes, *, durable: bool) -> None:
        append(data, durable=durable)
        node.file.full = True

    node.file.append = fill_after_the_first  # type: ignore[method-assign]

    with pytest.raises(JournalUnwritable):
        await machine.prepare(node.plan(1, [0]))

    assert machine.entries == ()
    assert node.marks() == set()


async def test_a_full_disk_under_a_step_is_told_with_its_place_and_the_claim_is_rolled_back(
    node: Node,
) -> None:
    machine = node.start()
    for tool in node.tools:
        tool.full = True

    with pytest.raises(StepFailed, match=r"the disk of /run/cdi/spec.json is full: free some space there"):
        await machine.prepare(node.plan(1, [0]))

    assert machine.entries == ()
    assert node.marks() == set()


async def test_a_cancelled_caller_does_not_stop_the_work(node: Node) -> None:
    machine = node.start()
    caller = asyncio.ensure_future(machine.prepare(node.plan(1, [0])))
    await asyncio.sleep(0)
    caller.cancel()

    entry = await machine.prepare(node.plan(1, [0]))

    assert entry.state is State.PREPARED
    assert len(machine.entries) == 1


async def test_a_lock_that_stays_taken_gives_an_error_in_time(node: Node, tmp_path: Path) -> None:
    machine = node.start()
    machine._lock_timeout_seconds = 0.01
    async with machine._locks.hold(["device:hw-0"], timeout_seconds=1):
        with pytest.raises(LockTimeout, match="hw-0"):
            await machine.prepare(node.plan(1, [0]))

    assert len(machine._locks) == 0


async def test_prepared_claims_survive_a_restart_and_lost_steps_are_repaired(node: Node) -> None:
    before = await node.start().prepare(node.plan(1, [0], ("file",)))
    (node.world / "uid-1.0").unlink()

    machine = node.start()
    await machine.recover()

    assert machine.entry("uid-1") == before
    assert node.marks() == {"uid-1"}


async def test_one_group_commit_serves_all_who_wait(node: Node) -> None:
    machine = node.start()
    appended = []
    append = node.file.append

    def count(data: bytes, *, durable: bool) -> None:
        appended.append(durable)
        append(data, durable=durable)

    node.file.append = count  # type: ignore[method-assign]

    await asyncio.gather(*(machine.prepare(node.plan(number, [number], ("file",))) for number in range(32)))

    assert appended.count(True) < 16


async def test_a_journal_that_grew_is_rewritten_with_the_live_claims_only(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claimwright.driver.journal._GROWN_LINES", 20)
    machine = node.start()
    await machine.prepare(node.plan(99, [9]))
    for number in range(30):
        await machine.prepare(node.plan(number, [0]))
        await machine.release(f"uid-{number}")
    await machine.stop(timeout_seconds=5)

    loaded = load(node.path, DRIVER)

    assert loaded is not None
    assert list(loaded.entries) == ["uid-99"]
    assert len(node.path.read_bytes().splitlines()) < 60


def _run(node: Node, work: Callable[[Machine], Awaitable[Result]], *, fuse: int) -> Result | None:
    """Start, recover, work until done or dead; None says that it died."""

    async def live() -> Result:
        machine = node.start()
        await machine.recover()
        node.fuse.left = fuse
        return await work(machine)

    try:
        return asyncio.run(live())
    except Crash:
        return None


def _recovered(node: Node) -> Machine:
    async def start() -> Machine:
        machine = node.start()
        await machine.recover()
        await machine.stop(timeout_seconds=5)
        return machine

    return asyncio.run(start())


@pytest.mark.parametrize("fuse", range(22))
def test_death_at_each_point_of_a_prepare_is_finished_or_rolled_back(tmp_path: Path, fuse: int) -> None:
    node = Node(tmp_path)
    answer = _run(node, lambda machine: machine.prepare(node.plan(1, [0])), fuse=fuse)

    machine = _recovered(node)

    known = machine.entry("uid-1")
    assert answer is None or known is not None
    assert known is None or known.state is State.PREPARED
    assert node.marks() == ({"uid-1"} if known else set())


@pytest.mark.parametrize("fuse", range(14))
def test_death_at_each_point_of_a_release_leaves_it_released_or_prepared(tmp_path: Path, fuse: int) -> None:
    node = Node(tmp_path)
    _run(node, lambda machine: machine.prepare(node.plan(1, [0])), fuse=10_000)
    _run(node, lambda machine: machine.release("uid-1"), fuse=fuse)

    machine = _recovered(node)

    known = machine.entry("uid-1")
    assert known is None or known.state is State.PREPARED
    assert len(list(node.world.iterdir())) == (3 if known else 0)


def _add(journal: Path, data: bytes) -> None:
    journal.write_bytes(journal.read_bytes().rstrip(b"\0") + data)


def test_a_cut_last_line_is_dropped(tmp_path: Path) -> None:
    node = Node(tmp_path)
    _run(node, lambda machine: machine.prepare(node.plan(1, [0])), fuse=10_000)
    _add(node.path, b'deadbeef {"is":"beg')

    assert list(load(node.path, DRIVER).entries) == ["uid-1"]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: b"\xff" * 40 + data[40:], "line 1 fails its checksum"),
        (lambda data: data.replace(b"uid-1", b"uid-2", 1), "line 2 fails its checksum"),
        (lambda _: b"not a journal\nat all\n", "line 1 fails its checksum"),
    ],
    ids=["header overwritten", "bits flipped", "other file"],
)
def test_damage_in_the_middle_is_corruption_that_names_the_line(
    tmp_path: Path, damage: Callable[[bytes], bytes], says: str
) -> None:
    node = Node(tmp_path)
    _run(node, lambda machine: machine.prepare(node.plan(1, [0])), fuse=10_000)
    node.path.write_bytes(damage(node.path.read_bytes()))

    with pytest.raises(CorruptJournal, match=says):
        load(node.path, DRIVER)


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_failed_write_leaves_no_trace_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    file = DiskFile(tmp_path / "journal")
    file.replace(b"one\n")
    file.append(b"two\n", durable=True)
    real = getattr(os, call)

    def full(descriptor: int, *arguments: object) -> int:
        real(descriptor, *arguments)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            file.append(b"a line that is longer than the next one\n", durable=True)
    file.append(b"three\n", durable=True)

    assert file.path.read_bytes().rstrip(b"\0") == b"one\ntwo\nthree\n"


def test_a_journal_that_outgrows_its_spare_room_keeps_every_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claimwright.driver.journal._SPARE_BYTES", 16)
    file = DiskFile(tmp_path / "journal")
    file.replace(b"")
    for number in range(50):
        file.append(b"line %d\n" % number, durable=number % 2 == 0)

    assert (
        file.path.read_bytes().rstrip(b"\0").split() == b"".join(b"line %d\n" % n for n in range(50)).split()
    )


def test_another_drivers_or_a_newer_journal_is_not_trusted(tmp_path: Path) -> None:
    Journal.create(tmp_path / "other", driver="other.example.com", boot_id="b").close()
    Journal.create(tmp_path / "newer", driver=DRIVER, boot_id="b").close()
    text = (tmp_path / "newer").read_bytes().rstrip(b"\0")[9:].replace(b'"version":1', b'"version":7')
    import zlib

    (tmp_path / "newer").write_bytes(b"%08x %s" % (zlib.crc32(text.strip()), text))

    with pytest.raises(CorruptJournal, match=r"no journal of gpu\.nvidia\.com"):
        load(tmp_path / "other", DRIVER)
    with pytest.raises(CorruptJournal, match="version 7; this driver reads 1"):
        load(tmp_path / "newer", DRIVER)


def test_a_record_of_another_shape_is_corruption(tmp_path: Path) -> None:
    import zlib

    Journal.create(tmp_path / "journal", driver=DRIVER, boot_id="b").close()
    text = json.dumps({"is": "begun", "claim": "x"}).encode()
    _add(tmp_path / "journal", b"%08x %s\n" % (zlib.crc32(text), text))

    with pytest.raises(CorruptJournal, match="line 2 makes no sense"):
        load(tmp_path / "journal", DRIVER)


def test_a_corrupt_journal_is_kept_under_a_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    names = []
    for content in ("one", "two"):
        path.write_text(content)
        names.append(set_aside(path, 1000.0))

    assert [name.read_text() for name in names] == ["one", "two"]
    assert not path.exists()


class CrashingNode(RuleBasedStateMachine):
    """Claims come and go on a node that dies at random points; the node must never lie."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self._folder = tempfile.TemporaryDirectory()
        self.node = Node(Path(self._folder.name))
        self.prepared: dict[int, list[int]] = {}
        self.unsure: set[int] = set()
        self.machine: Machine | None = None

    def teardown(self) -> None:
        self._folder.cleanup()

    @rule(
        claim=st.integers(0, 4),
        devices=st.lists(st.integers(0, 3), max_size=2, unique=True),
        fuse=st.integers(0, 40),
    )
    def prepare(self, claim: int, devices: list[int], fuse: int) -> None:
        devices = self.prepared.get(claim, devices)

        async def attempt(machine: Machine) -> Entry | ClaimRefused:
            try:
                return await machine.prepare(self.node.plan(claim, devices))
            except ClaimRefused as error:
                return error

        answer = _run(self.node, attempt, fuse=fuse)
        if isinstance(answer, Entry):
            self.prepared[claim] = [int(held.device[4:]) for held in answer.devices]
            self.unsure.discard(claim)
        elif answer is None and claim not in self.prepared:
            self.unsure.add(claim)

    @precondition(lambda self: self.prepared or self.unsure)
    @rule(data=st.data(), fuse=st.integers(0, 40))
    def release(self, data: st.DataObject, fuse: int) -> None:
        claim = data.draw(st.sampled_from(sorted({*self.prepared, *self.unsure})))

        async def attempt(machine: Machine) -> bool:
            await machine.release(f"uid-{claim}")
            return True

        done = _run(self.node, attempt, fuse=fuse)
        self.prepared.pop(claim, None)
        if done:
            self.unsure.discard(claim)
        else:
            self.unsure.add(claim)

    @invariant()
    def the_restarted_node_tells_the_truth(self) -> None:
        machine = _recovered(self.node)
        held = {int(entry.uid[4:]): entry for entry in machine.entries}
        taken = [hardware for entry in held.values() for hardware in entry.hardware()]

        assert len(taken) == len(set(taken)), "two claims hold one device"
        assert set(self.prepared) <= set(held), "a prepared claim was forgotten"
        assert set(held) <= {*self.prepared, *self.unsure}, "a claim that nobody asked for"
        assert {entry.state for entry in held.values()} <= {State.PREPARED}
        assert self.node.marks() == {entry.uid for entry in held.values()}


TestCrashingNode = CrashingNode.TestCase
TestCrashingNode.settings = settings(max_examples=30, stateful_step_count=12, deadline=None)
