"""A driver that is killed at one point of one claim's life, and what the next one finds.

The points are found by doing: each claim is prepared, repaired and released once on a node in memory, and each step and
journal write on the way is a point before it, one after it, and for writes one in the middle. A new recipe or tool
needs nothing here as long as the node in memory (`memory_node.py`) has what it works on.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from claimwright.dra.kube import DEPLOYMENTS, RESOURCE_CLAIMS
from claimwright.driver.configs import KINDS
from claimwright.driver.entries import Entry, State
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.journal import DiskFile
from claimwright.driver.recipes.recipe import AnyOffer
from claimwright.driver.steps import Probe, Step, Tool
from claimwright.driver.testing import checkpoints
from claimwright.driver.testing.memory_node import BOOT, NODE, PLAIN, MemoryNode, Started
from claimwright.driver.testing.nvml import gpu_reading
from claimwright.driver.tools.claim_spec import KIND

# What a claim may ask for by the kind of config that its device takes; refused ones are left out.
CONFIGS: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "GpuConfig": {
        "time-slicing": {"sharing": {"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": "Long"}}},
        "MPS": {"sharing": {"strategy": "MPS", "mpsConfig": {"defaultActiveThreadPercentage": 50}}},
    },
    "MigDeviceConfig": {
        "MPS": {"sharing": {"strategy": "MPS", "mpsConfig": {"defaultActiveThreadPercentage": 50}}},
    },
    "VgpuDeviceConfig": {
        "API device": {"iommu": {"enableAPIDevice": True}},
    },
    "VfioDeviceConfig": {
        "IOMMUFD": {"iommu": {"backendPolicy": "PreferIommuFD", "enableAPIDevice": True}},
    },
}


class Killed(BaseException):
    """The driver's process ends here."""


@dataclass
class Fate:
    """Counts the points that are passed once it is armed, and kills at number `dies_at` and ever after."""

    dies_at: int | None = None
    phase: str = ""
    passed: list[str] = field(default_factory=list)

    def at(self, point: str) -> None:
        """Pass a point, or die there."""
        if self.phase:
            self.passed.append(f"{self.phase}: {point}")
            self.check()

    def check(self) -> None:
        """Die if the time has come: nobody waits for some journal writes, nor hears that they failed."""
        if self.dies_at is not None and len(self.passed) > self.dies_at:
            raise Killed


@dataclass(frozen=True)
class Scenario:
    """One kind of claim: a device, its config, and a device that another claim holds meanwhile."""

    name: str
    device: str
    parameters: Mapping[str, Any] | None = None
    neighbour: str | None = None
    taken_over: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a claim whose driver died at `point`; `problem` is empty when all is as it must be."""

    point: str
    state: str
    problem: str = ""


class DyingFile(DiskFile):
    """A journal file under which the process dies before, within and after each write."""

    def __init__(self, path: Path, *, fate: Fate) -> None:
        super().__init__(path)
        self._fate = fate

    def append(self, data: bytes, *, durable: bool) -> None:
        """Add `data`, or half of it."""
        names = ", ".join(json.loads(line[9:])["is"] for line in data.splitlines())
        self._fate.at(f"before writing `{names}`")
        try:
            self._fate.at(f"in the middle of writing `{names}`")
        except Killed:
            if len(self._fate.passed) == (self._fate.dies_at or 0) + 1:
                super().append(data[: len(data) // 2], durable=durable)
            raise
        super().append(data, durable=durable)
        self._fate.at(f"after writing `{names}`")

    def replace(self, data: bytes) -> None:
        """Make `data` the whole content."""
        self._fate.at("before rewriting the journal")
        super().replace(data)
        self._fate.at("after rewriting the journal")


def scenarios(node: MemoryNode) -> Iterator[Scenario]:
    """Yield one claim for every kind of device and config that the node can serve, alone and beside another."""
    offers = list(asyncio.run(node.start()).planner.stock.offers.values())
    for first in {_kind(offer): offer for offer in reversed(offers)}.values():
        beside = next((other for other in offers if _fits_beside(first, other)), None)
        for config, parameters in _configs(first).items():
            name = f"{_kind(first)}{config and f', {config}'}"
            yield Scenario(name, first.name, parameters)
            if beside is not None:
                yield Scenario(
                    f"{name}, beside another claim of the GPU", first.name, parameters, beside.name
                )
    yield Scenario("taken over from the community driver, MPS", f"gpu-{PLAIN}", taken_over=True)


def _kind(offer: AnyOffer) -> str:
    return f"{type(offer.recipe).__name__} ({offer.recipe.type})"


def _fits_beside(one: AnyOffer, other: AnyOffer) -> bool:
    apart = bool(one.parts and other.parts) and one.parts.isdisjoint(other.parts)
    return one.hardware == other.hardware and apart and _kind(one) == _kind(other)


def _configs(offer: AnyOffer) -> dict[str, Mapping[str, Any] | None]:
    kind = offer.recipe.config
    asked = CONFIGS.get(kind, {}).items()
    version = KINDS[kind].api_version
    return {"": None, **{name: {"apiVersion": version, "kind": kind, **body} for name, body in asked}}


def points(node: MemoryNode, scenario: Scenario) -> list[str]:
    """Return the points of a scenario in order; none when the claim is refused."""
    fate = Fate()
    try:
        asyncio.run(_neighbourhood(node, scenario))
        _hand_over(node, scenario)
        asyncio.run(_live(node, scenario, fate))
    except ClaimRefused:
        return []
    return fate.passed


def die(node: MemoryNode, scenario: Scenario, at: int, *, again_at: int | None = None) -> Outcome:
    """Kill the driver at one point, with `again_at` also at one of the recovery, and see what is left."""
    before = asyncio.run(_neighbourhood(node, scenario))
    _hand_over(node, scenario)
    fate = Fate(dies_at=at)
    with contextlib.suppress(Killed):
        asyncio.run(_live(node, scenario, fate))
    if again_at is not None:
        _die_recovering(node, Fate(dies_at=again_at))
    state, problem = asyncio.run(_aftermath(node, scenario, before))
    return Outcome(fate.passed[at], state, problem)


async def _neighbourhood(node: MemoryNode, scenario: Scenario) -> Mapping[str, Any]:
    """Prepare the neighbour, and return the world as it is without the scenario's claim."""
    if scenario.taken_over:
        return node.world()  # a start would leave a journal, and then the checkpoint is not read
    started = await _recovered(node)
    if scenario.neighbour is not None:
        await started.machine.prepare(started.planner.plan(node.claim("neighbour", scenario.neighbour)))
    await started.machine.stop(timeout_seconds=5)
    return node.world()


def _hand_over(node: MemoryNode, scenario: Scenario) -> None:
    """Leave the node as the community driver leaves it that has given the device to the claim."""
    if not scenario.taken_over:
        return
    claim = node.claim("dying", scenario.device)
    node.api.put(RESOURCE_CLAIMS, dict(claim.raw))
    daemon = f"{claim.uid}-0a1b2"
    (node.settings.plugin_dir / "mps" / daemon / "pipe").mkdir(parents=True)
    metadata = {"name": f"mps-control-daemon-{daemon}", "namespace": node.settings.namespace}
    node.api.put(DEPLOYMENTS, {"metadata": metadata})
    (node.cdi / f"k8s.gpu.nvidia.com-claim_{claim.uid}.yaml").write_text("kind: k8s.gpu.nvidia.com/claim\n")
    device = checkpoints.device(scenario.device, f"{KIND}={claim.uid}-{scenario.device}", pool=NODE)
    group = checkpoints.group("gpu", {"uuid": gpu_reading(PLAIN).uuid}, device, mpsControlDaemonID=daemon)
    entry = checkpoints.completed(claim.raw["status"], group)
    file = node.settings.plugin_dir / "checkpoint.json"
    file.write_bytes(checkpoints.checkpoint({claim.uid: entry}, boot_id=BOOT))


async def _live(node: MemoryNode, scenario: Scenario, fate: Fate) -> None:
    fate.phase = "take over" if scenario.taken_over else ""
    started = await node.start(
        wrap=functools.partial(dying, fate=fate), file=functools.partial(DyingFile, fate=fate)
    )
    claim = node.claim("dying", scenario.device, scenario.parameters)
    try:
        await started.machine.recover()
        plan = started.planner.plan(claim)
        if scenario.taken_over:
            fate.phase = "release"
            await started.machine.release(claim.uid)
            return
        fate.phase = "prepare"
        await started.machine.prepare(plan)
        fate.check()
        for path in node.cdi.glob(f"*{claim.uid}*"):
            path.unlink()
        fate.phase = "repair"
        await started.machine.prepare(plan)
        fate.check()
        fate.phase = "release"
        await started.machine.release(claim.uid)
    finally:
        await asyncio.to_thread(started.journal.close)


def _die_recovering(node: MemoryNode, fate: Fate) -> None:
    async def live() -> None:
        fate.phase = "recover"
        started = await node.start(
            wrap=functools.partial(dying, fate=fate), file=functools.partial(DyingFile, fate=fate)
        )
        try:
            await started.machine.recover()
        finally:
            await asyncio.to_thread(started.journal.close)

    with contextlib.suppress(Killed):
        asyncio.run(live())


async def _recovered(node: MemoryNode) -> Started:
    started = await node.start()
    await started.machine.recover()
    node.sweep(started)
    return started


async def _aftermath(node: MemoryNode, scenario: Scenario, before: Mapping[str, Any]) -> tuple[str, str]:
    started = await _recovered(node)
    claim = node.claim("dying", scenario.device, scenario.parameters)
    entry = started.machine.entry(claim.uid)
    try:
        if entry is None:
            if left := difference(before, node.world()):
                return "clean", f"is forgotten and left {left}"
        elif wrong := _not_prepared(started, entry):
            return "prepared", wrong
        await started.machine.prepare(started.planner.plan(claim))
        await started.machine.release(claim.uid)
        left = difference(before, node.world())
        return ("clean" if entry is None else "prepared"), left and f"its release left {left}"
    finally:
        await started.machine.stop(timeout_seconds=5)


def _not_prepared(started: Started, entry: Entry) -> str:
    if entry.state is not State.PREPARED:
        return f"is {entry.state.value}"
    missing = [step for step in entry.steps if _probe(started, step) not in (Probe.DONE, Probe.NOT_VISIBLE)]
    return f"is called prepared without {', '.join(map(str, missing))}" if missing else ""


def _probe(started: Started, step: Step) -> Probe:
    return started.toolbox.of(step).probe(step)


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say what of a world is another than before; empty when nothing is."""
    keys = sorted({*before, *now})
    found = {key: (now.get(key), before.get(key)) for key in keys if now.get(key) != before.get(key)}
    return "; ".join(f"{key}: {is_now!r}, was {was!r}" for key, (is_now, was) in found.items())


def dying(tool: Tool, *, fate: Fate) -> Tool:
    """Have the process die before or after what the tool does; the tool is one that nobody else has."""
    for verb in ("do", "undo"):
        # Not by assignment: a tool may be a frozen value.
        object.__setattr__(tool, verb, _surrounded(getattr(tool, verb), f"{verb} {tool.name}", fate))
    return tool


def _surrounded(call: Callable[[Step], None], name: str, fate: Fate) -> Callable[[Step], None]:
    def surrounded(step: Step) -> None:
        fate.at(f"before {name}")
        call(step)
        fate.at(f"after {name}")

    return surrounded
