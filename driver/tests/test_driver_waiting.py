"""Claims that wait for what others do: what they did stays, and the next prepare goes on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.driver.entries import Entry, HeldDevice, State
from claimwright.driver.errors import ClaimRefused, NotYet, StepFailed
from claimwright.driver.journal import Journal, load
from claimwright.driver.machine import Machine
from claimwright.driver.steps import Probe, Step, Toolbox

DRIVER = "compute-domain.nvidia.com"


class Marks:
    """Keeps in a set what is done, and counts what was done to it."""

    quick = True
    visible = True
    refreshes = False

    def __init__(self, name: str, world: set[str], *, recorded: bool = False) -> None:
        self.name, self.world, self.recorded = name, world, recorded
        self.calls: list[str] = []
        self.fails: Exception | None = None

    def found(self, step: Step) -> dict[str, str]:
        return {"before": "nothing"} if self.recorded else {}

    def do(self, step: Step) -> None:
        self.calls.append("do")
        if self.fails is not None:
            raise self.fails
        self.world.add(self.name)

    def undo(self, step: Step) -> None:
        self.calls.append("undo")
        self.world.discard(self.name)

    def probe(self, step: Step) -> Probe:
        return Probe.DONE if self.name in self.world else Probe.NOT_DONE


class Node:
    """A world that outlives the machines over it: a mark that is recorded, a gate, and a mark that is not."""

    def __init__(self, folder: Path) -> None:
        self.path, self.world = folder / "claims.journal", set[str]()
        self.first = Marks("first", self.world, recorded=True)
        self.gate = Marks("gate", self.world)
        self.gate.fails = NotYet("others are not ready")
        self.last = Marks("last", self.world)
        self.journal: Journal | None = None

    def start(self) -> Machine:
        if self.journal is not None:
            self.journal.close()
        loaded = load(self.path, DRIVER)
        entries = {} if loaded is None else loaded.entries
        self.journal = Journal.create(self.path, driver=DRIVER, boot_id="b", entries=tuple(entries.values()))
        return Machine(self.journal, Toolbox(self.first, self.gate, self.last), entries)

    def plan(self, uid: str = "u", **arguments: Any) -> Entry:
        steps = tuple(Step(tool.name, arguments) for tool in (self.first, self.gate, self.last))
        held = HeldDevice("channel", "node-a", "channel-0", "channel", ("x/y=z",), kind="channel")
        return Entry(ClaimReference("default", uid, ClaimUid(uid)), (held,), steps)


@pytest.fixture
def node(tmp_path: Path) -> Any:
    node = Node(tmp_path)
    yield node
    if node.journal is not None:
        node.journal.close()


async def wait(machine: Machine, plan: Entry) -> None:
    with pytest.raises(NotYet, match="others are not ready"):
        await machine.prepare(plan)


async def test_the_next_prepare_goes_on_where_the_claim_waits_and_repeats_nothing(node: Node) -> None:
    machine = node.start()
    await wait(machine, node.plan())
    await wait(machine, node.plan())
    waiting, world = machine.entry("u"), set(node.world)
    node.gate.fails = None

    entry = await machine.prepare(node.plan())

    assert waiting is not None
    assert waiting.state is State.WAITING
    assert world == {"first"}
    assert entry.state is State.PREPARED
    assert node.first.calls == ["do"]
    assert node.gate.calls == ["do", "do", "do"]


async def test_what_somebody_undid_while_the_claim_waited_is_done_again(node: Node) -> None:
    machine = node.start()
    await wait(machine, node.plan())
    node.world.clear()
    await wait(machine, node.plan())

    assert node.world == {"first"}


async def test_a_claim_that_waits_survives_a_kill_with_what_it_did(node: Node) -> None:
    await wait(node.start(), node.plan())
    again = node.start()
    await again.recover()
    waiting, world = again.entry("u"), set(node.world)
    node.gate.fails = None
    entry = await again.prepare(node.plan())

    assert waiting is not None
    assert waiting.state is State.WAITING
    assert world == {"first"}
    assert entry.state is State.PREPARED
    assert node.first.calls == ["do"]


async def test_a_release_undoes_a_claim_that_waits_and_the_journal_forgets_it(node: Node) -> None:
    machine = node.start()
    await wait(machine, node.plan())
    await machine.release("u")
    await machine.stop(timeout_seconds=5)
    kept = load(node.path, DRIVER)

    assert node.world == set()
    assert kept is not None
    assert kept.entries == {}


async def test_a_claim_that_waits_holds_its_devices(node: Node) -> None:
    machine = node.start()
    await wait(machine, node.plan())

    with pytest.raises(ClaimRefused, match="channel-0 is already allocated to different claim u"):
        await machine.prepare(node.plan("other"))


async def test_a_claim_that_comes_back_with_another_plan_begins_anew(node: Node) -> None:
    machine = node.start()
    await wait(machine, node.plan(domain="one"))
    await wait(machine, node.plan(domain="two"))

    assert node.first.calls == ["do", "undo", "do"]
    assert [step.arguments["domain"] for step in machine.entries[0].steps] == ["two"] * 3


async def test_what_fails_after_the_wait_is_rolled_back(node: Node) -> None:
    machine = node.start()
    await wait(machine, node.plan())
    node.gate.fails, node.last.fails = None, StepFailed("no room")
    with pytest.raises(StepFailed, match="no room"):
        await machine.prepare(node.plan())

    assert node.world == set()
    assert machine.entries == ()
