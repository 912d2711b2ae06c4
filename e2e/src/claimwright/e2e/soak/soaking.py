"""One soak: claims at random, kills at random, and looks at the node in between."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import psutil

from claimwright.dra.claims import ClaimReference
from claimwright.dra.kube import RESOURCE_CLAIMS
from claimwright.dra.kubelet import CallFailed, InvalidReply, RegistrationFailed
from claimwright.dra.prepared import PreparedDevice
from claimwright.dra.slices import Device
from claimwright.e2e.deadlines import DeadlineExceeded, wait_until
from claimwright.e2e.driven_node import DrivenNode
from claimwright.e2e.soak.admin import Admin
from claimwright.e2e.soak.findings import Findings
from claimwright.e2e.soak.memory import slope_of
from claimwright.e2e.soak.node_state import differences, remembered, world
from claimwright.e2e.soak.offering import Offering, allocation
from claimwright.e2e.soak.reckoning import BUS, Handed, handed, room_for

GATES: Final = "AllAlpha=true"
_MOST_HELD: Final = 6
_KILL_WITHIN_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 6.0
_SETTLED_SECONDS: Final = 30.0
_DEVICES_SECONDS: Final = 30.0
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class _Held:
    claim: ClaimReference
    device: Device
    prepared: tuple[PreparedDevice, ...]
    handed: Handed


class Soak:
    """One run on one node that is up and has no driver yet; 0 for an interval means never."""

    def __init__(
        self, node: DrivenNode, *, seed: int, kill_every: int = 0, admin_every: int = 0, look_every: int = 500
    ) -> None:
        self._node = node
        self._random = random.Random(seed)  # noqa: S311  a seed, so that a run can be repeated
        self._kill_every, self._admin_every, self._look_every = kill_every, admin_every, look_every
        self._offering = Offering(node, self._random)
        self._admin = Admin(node, self._random)
        self._held: list[_Held] = []
        self._age = 0
        self._cpu_of_life = 0.0
        self._memory: list[tuple[int, int]] = []
        self.findings = Findings()
        self.stopped = False

    def run(self, cycles: int, progress: Callable[[Findings], None] = lambda _: None) -> Findings:
        """Do so many cycles, release all, and look."""
        self._before = world(self._node)
        began = time.monotonic()
        self._start()
        wait_until("the devices", lambda: self._offering.devices() or None, seconds=_DEVICES_SECONDS)
        self._devices = set(self._offering.devices())
        looked = 0
        while self.findings.cycles < cycles and not self.stopped:
            self._step()
            if self._look_every and self.findings.cycles - looked >= self._look_every:
                looked = self.findings.cycles
                self._look()
            self.findings.seconds = time.monotonic() - began
            progress(self.findings)
        self._look()
        self._end()
        self.findings.seconds = time.monotonic() - began
        self.findings.memory = slope_of(self._memory)
        return self.findings

    def _step(self) -> None:
        if self._admin_every and self._random.random() < 1 / self._admin_every:
            self._turn_to_admin()
        elif len(self._held) >= _MOST_HELD or (self._held and self._random.random() < 0.4):
            self._release(self._random.choice(self._held))
        else:
            self._prepare()

    def _start(self) -> None:
        self._node.start(GATES)
        self._age, self._cpu_of_life = 0, 0.0

    def _turn_to_admin(self) -> None:
        if self._admin.act is not None:
            self._end_admin()
        elif what := self._admin.begin({str(each.device.attributes[BUS]) for each in self._held}):
            self.findings.admin_acts[what] += 1

    def _end_admin(self) -> None:
        if broken := self._admin.end():
            self.findings.leaks.append(broken)

    def _closed(self) -> set[str]:
        return set() if self._admin.act is None else {self._admin.act.bus}

    def _prepare(self) -> None:
        device = self._offering.choose(self._closed())
        name = f"soak-{self.findings.cycles}-{self._random.randrange(1 << 30)}"
        claim = self._node.claim(
            name, [device.name], configs=self._offering.config(device), **allocation(device)
        )
        full = room_for(device, [each.device for each in self._held], self._offering.sets)
        answer = self._ask(lambda: self._node.prepare(claim)[0])
        if answer.error and not full:
            answer = self._retried(claim)
        if answer.error:
            self._refused(device, answer.error, expected=bool(full))
            self._insist(lambda: self._node.release(claim)[0])
            self._forget(claim)
            return
        self.findings.prepared[str(device.attributes["type"])] += 1
        if full:
            self.findings.overlaps.append(full)
        self._hold(claim, device, answer.devices)

    def _hold(self, claim: ClaimReference, device: Device, prepared: tuple[PreparedDevice, ...]) -> None:
        given = handed(item.path for item in self._node.edits(prepared).device_nodes)
        for other in self._held:
            if shared := given.overlaps(other.handed):
                self.findings.overlaps.append(
                    f"{device.name} and {other.device.name}: {', '.join(sorted(shared))}"
                )
        self._held.append(_Held(claim, device, prepared, given))

    def _retried(self, claim: ClaimReference) -> Any:  # noqa: ANN401  the node's Answer
        """Ask again for a while, as the kubelet does; return the last answer."""
        deadline = time.monotonic() + _RETRY_SECONDS
        while (answer := self._node.prepare(claim)[0]).error and time.monotonic() < deadline:
            time.sleep(0.2)
        return answer

    def _refused(self, device: Device, error: str, *, expected: bool) -> None:
        """Count it; a device that is not offered any more was rightly refused."""
        if expected or device.name not in self._offering.devices():
            self.findings.refused += 1
        else:
            self.findings.unexpected[_short(f"{device.name}: {error}")] += 1

    def _release(self, held: _Held) -> None:
        self._held.remove(held)
        self._insist(lambda: self._node.release(held.claim)[0])
        self._forget(held.claim)
        self.findings.cycles += 1
        self._age += 1
        self._weigh()

    def _weigh(self) -> None:
        process = self._node.process
        if process is None or not process.alive:
            return
        seen = psutil.Process(process.pid)
        with seen.oneshot():
            times = seen.cpu_times()
            self._memory.append((self._age, seen.memory_info().rss))
        used = times.user + times.system + times.children_user + times.children_system
        self.findings.driver_cpu_seconds += used - self._cpu_of_life
        self._cpu_of_life = used

    def _insist(self, call: Callable[[], str]) -> None:
        """Ask until it is done, as the kubelet does; what is never done is told."""
        error = ""
        for _ in range(3):
            error = self._ask(call)
            if not error:
                return
        self.findings.unexpected[f"release: {_short(error)}"] += 1

    def _forget(self, claim: ClaimReference) -> None:
        self._node.api.remove(RESOURCE_CLAIMS, claim.name, namespace=claim.namespace)

    def _ask(self, call: Callable[[], _Answer]) -> _Answer:
        """Call, at times while the driver is killed; then once more, with the driver that comes after."""
        if not self._kill_every or self._random.random() >= 1 / (2 * self._kill_every):
            return call()
        killer = threading.Timer(self._random.uniform(0, _KILL_WITHIN_SECONDS), self._node.kill)
        killer.start()
        with suppress(CallFailed, InvalidReply, RegistrationFailed, RuntimeError):
            call()
        killer.join()
        self.findings.kills += 1
        began = time.monotonic()
        self._start()
        self.findings.restarts.append(time.monotonic() - began)
        answer = call()
        self._look_at_held()
        return answer

    def _look_at_held(self) -> None:
        """Look whether every claim that was prepared still is, with the same devices."""
        for held in self._held:
            answer = self._node.prepare(held.claim)[0]
            if answer.error or answer.devices != held.prepared:
                self.findings.lost.append(
                    f"{held.device.name}: {_short(answer.error or repr(answer.devices))}"
                )

    def _look(self) -> None:
        """Release all, and compare the node with what it was."""
        self._end_admin()
        for held in tuple(self._held):
            self._release(held)
        self.findings.looks += 1
        with suppress(DeadlineExceeded):
            wait_until("the devices", self._all_offered, seconds=_SETTLED_SECONDS)
        offered = set(self._offering.devices())
        self.findings.leaks += [f"not offered any more: {name}" for name in sorted(self._devices - offered)]
        self.findings.leaks += [f"offered now: {name}" for name in sorted(offered - self._devices)]
        self.findings.leaks += differences(world(self._node), self._before)
        self._node.api.requests.clear()  # a hundred thousand of them are of no use

    def _all_offered(self) -> bool:
        return set(self._offering.devices()) == self._devices

    def _end(self) -> None:
        self._node.stop()
        self.findings.leaks += [f"journal: {uid}" for uid in remembered(self._node)]
        self.findings.leaks += differences(world(self._node), self._before)


def _short(error: str) -> str:
    return error if len(error) < 400 else f"{error[:250]} … {error[-100:]}"
