"""What the driver is built on fails, at every call and with every word: one error in the reply, nothing half-done."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pynvml
import pytest

from claimwright.dra.claims import Claim
from claimwright.dra.testing import FakeApi
from claimwright.driver.claim_driver import ClaimDriver
from claimwright.driver.entries import State
from claimwright.driver.errors import ClaimRefused, DriverError, GpuGone, StepFailed
from claimwright.driver.metrics import Metrics
from claimwright.driver.settings import GPU_DRIVER
from claimwright.driver.testing import crash_points, domain_crashes
from claimwright.driver.testing.crash_points import found_scenarios
from claimwright.driver.testing.crashes import Scenario
from claimwright.driver.testing.memory_node import NODE, MemoryNode, Started

PAGE = Path(__file__).parents[2] / crash_points.PAGE
NAMES = [
    name
    for line in PAGE.read_text().splitlines()
    if line.startswith("## ") and "taken over" not in (name := line.removeprefix("## "))
    if name not in domain_crashes.SCENARIOS
]
CODES = sorted(
    value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_") and isinstance(value, int)
)
# The doors that fail, and what of them fails; reading a file gives None, which is no error.
FRAGILE = {"partitions": None, "usage": None, "processes": None, "mounts": None, "host": ("write_text",)}


class Trouble:
    """Counts the calls and fails one of them, or all from it on."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails_at: int | None = None
        self.lasts = False
        self.code = 0
        self.kind: type[StepFailed] = StepFailed

    def pass_by(self, name: str) -> None:
        self.calls.append(name)
        at = len(self.calls) - 1
        if self.fails_at is not None and (at == self.fails_at or (self.lasts and at > self.fails_at)):
            raise self._error(name)

    def _error(self, name: str) -> Exception:
        if name == "host.write_text":
            return OSError(errno.EIO, "Input/output error")
        try:
            word = str(pynvml.NVMLError(self.code))
        except (KeyError, TypeError):
            word = f"code {self.code}"
        return self.kind(f"{name}: {word}")

    def over(self) -> None:
        self.fails_at = None


class Fragile:
    """A door whose calls may fail."""

    def __init__(self, door: Any, name: str, only: tuple[str, ...] | None, trouble: Trouble) -> None:
        self._door, self._name, self._only, self._trouble = door, name, only, trouble

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._door, name)
        if not callable(found) or (self._only is not None and name not in self._only):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self._trouble.pass_by(f"{self._name}.{name}")
            return found(*arguments, **named)

        return call


class FragileNode(MemoryNode):
    """The node; `world` looks behind the trouble."""

    def __init__(self, folder: Path, api: FakeApi) -> None:
        super().__init__(folder, api)
        self.trouble = Trouble()
        self.sound = self.doors

    async def begin(self) -> tuple[Started, ClaimDriver]:
        """Start on sound doors, then let them be fragile for the steps."""
        self.doors = self.sound
        started = await self.start()
        await started.machine.recover()
        await started.machine.stop(timeout_seconds=5)
        fragile = {
            name: Fragile(getattr(self.sound, name), name, only, self.trouble)
            for name, only in FRAGILE.items()
        }
        self.doors = replace(self.sound, **fragile)
        again = await self.start()
        self.trouble.calls.clear()
        return again, ClaimDriver(again.planner, again.machine, Metrics(GPU_DRIVER, NODE))

    def world(self) -> Any:
        self.doors = self.sound
        return super().world()


@pytest.fixture(scope="module")
def scenarios() -> dict[str, Scenario]:
    return {each.name: each for each in found_scenarios()}


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[[], FragileNode]]:
    with FakeApi() as api:
        count = iter(range(10_000))

        nodes = ExitStack()

        def make() -> FragileNode:
            folder = tmp_path / str(next(count))
            folder.mkdir()
            return nodes.enter_context(closing(FragileNode(folder, api)))

        with nodes:
            yield make


def claim_of(node: FragileNode, scenario: Scenario) -> Claim:
    return node.claim("a", scenario.device, scenario.parameters)


async def calls_of(node: FragileNode, scenario: Scenario) -> tuple[list[str], list[str]]:
    """Return the calls of a prepare and of a release without trouble."""
    _, driver = await node.begin()
    claim = claim_of(node, scenario)
    (answer,) = (await driver.prepare([claim])).values()
    if isinstance(answer, Exception):
        raise ClaimRefused(str(answer))
    prepared = list(node.trouble.calls)
    await driver.release([claim.reference])
    return prepared, node.trouble.calls[len(prepared) :]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "lasts"),
    [(StepFailed, False), (StepFailed, True), (GpuGone, False)],
    ids=["once", "from then on", "says once that the GPU is gone"],
)
@pytest.mark.parametrize("name", NAMES)
async def test_a_call_that_fails_in_a_prepare_is_one_error_and_leaves_nothing(
    fresh: Callable[[], FragileNode],
    scenarios: dict[str, Scenario],
    name: str,
    kind: type[StepFailed],
    lasts: bool,
) -> None:
    scenario = scenarios[name]
    calls, _ = await calls_of(fresh(), scenario)
    for at, call in enumerate(calls):
        node = fresh()
        before = node.world()
        started, driver = await node.begin()
        node.trouble.fails_at, node.trouble.lasts = at, lasts
        node.trouble.code, node.trouble.kind = CODES[at % len(CODES)], kind
        claim = claim_of(node, scenario)

        answers = await driver.prepare([claim])

        assert list(answers) == [claim.uid]
        answer, entry = answers[claim.uid], started.machine.entry(claim.uid)
        if isinstance(answer, Exception):
            assert isinstance(answer, DriverError), f"{call} at {at}: {answer!r}"
            assert entry is None or entry.state is State.RELEASING
        node.trouble.over()
        assert (await driver.release([claim.reference]))[claim.uid] is None
        assert started.machine.entry(claim.uid) is None
        assert node.world() == before, f"{call} at {at} left something"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "lasts"),
    [(StepFailed, False), (StepFailed, True), (GpuGone, False)],
    ids=["once", "from then on", "says once that the GPU is gone"],
)
@pytest.mark.parametrize("name", NAMES)
async def test_a_call_that_fails_in_a_release_is_one_error_and_the_next_release_ends_it(
    fresh: Callable[[], FragileNode],
    scenarios: dict[str, Scenario],
    name: str,
    kind: type[StepFailed],
    lasts: bool,
) -> None:
    scenario = scenarios[name]
    prepared, calls = await calls_of(fresh(), scenario)
    for at, call in enumerate(calls):
        node = fresh()
        before = node.world()
        started, driver = await node.begin()
        node.trouble.fails_at, node.trouble.lasts = len(prepared) + at, lasts
        node.trouble.code, node.trouble.kind = CODES[at % len(CODES)], kind
        claim = claim_of(node, scenario)
        assert not isinstance((await driver.prepare([claim]))[claim.uid], Exception)

        error = (await driver.release([claim.reference]))[claim.uid]

        assert error is None or isinstance(error, DriverError), f"{call} at {at}: {error!r}"
        assert error is None or started.machine.entry(claim.uid) is not None
        node.trouble.over()
        assert (await driver.release([claim.reference]))[claim.uid] is None
        assert node.world() == before, f"{call} at {at} left something"


@pytest.mark.parametrize("code", CODES)
async def test_every_word_of_nvml_reaches_the_reply(fresh: Callable[[], FragileNode], code: int) -> None:
    node = fresh()
    _, driver = await node.begin()
    claim = node.claim("a", "gpu-0-mig-1g10gb-19-0")
    node.trouble.fails_at, node.trouble.lasts, node.trouble.code = 0, True, code

    answer = (await driver.prepare([claim]))[claim.uid]

    assert isinstance(answer, DriverError)
    assert "partitions." in str(answer)


@pytest.mark.parametrize("damage", ["missing", "a file", "read-only"])
async def test_a_cdi_folder_that_cannot_be_written_is_made_or_told(
    fresh: Callable[[], FragileNode], damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = fresh()
    started, driver = await node.begin()
    claim = node.claim("a", "gpu-0-mig-1g10gb-19-0")
    node.cdi.rmdir()
    if damage == "a file":
        node.cdi.touch()
    if damage == "read-only":
        node.cdi.mkdir()

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system", str(node.cdi))

        monkeypatch.setattr("claimwright.driver.tools.claim_spec.write_atomically", refuse)

    answer = (await driver.prepare([claim]))[claim.uid]

    assert isinstance(answer, Exception) is (damage != "missing")
    if isinstance(answer, Exception):
        assert str(node.cdi) in str(answer)
        assert started.machine.entries == ()
        assert all(not each.partitions for each in list(node.sound.partitions.gpus.values())[:2])


@pytest.mark.parametrize(
    "uid", ["../../etc/cron.d/x", "..", "a/b", "/etc/passwd", "a\x00b", "", ".", "a" * 300, "a\nb"]
)
async def test_a_uid_that_would_leave_the_cdi_folder_is_refused(
    fresh: Callable[[], FragileNode], uid: str, tmp_path: Path
) -> None:
    node = fresh()
    _, driver = await node.begin()
    claim = node.claim("a", "gpu-3")
    files = everything(tmp_path)
    evil = replace(claim, reference=replace(claim.reference, uid=uid))

    answer = (await driver.prepare([evil]))[uid]

    assert isinstance(answer, DriverError)
    assert everything(tmp_path) == files
    assert (await driver.release([evil.reference]))[uid] is None


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))
