"""Prepare and release at random over every kind of device of one node, with `kill -9`, and look for what is left.

    python -m claimwright.e2e.soak --cycles 1000          # with progress; a cycle takes 60 ms, a kill 2 s
    python -m claimwright.e2e.soak --cycles 100000 --kill-every 200 --seed 7 --json

The kinds are those that the driver publishes with all its gates on, so a new kind joins by being published. A cycle is
one claim: prepared, held while others come and go, released. About one cycle in `--kill-every` is met by SIGKILL at a
random moment of its calls; the driver starts again and the kubelet asks again. At the end, or after Ctrl-C, all is
released, and the node must be as it was.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from claimwright.dra.claims import ClaimReference
from claimwright.dra.kube import RESOURCE_CLAIMS
from claimwright.dra.kubelet import CallFailed, InvalidReply, RegistrationFailed
from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import CounterSet, Device
from claimwright.driver.journal import load
from claimwright.driver.testing.crashes import CONFIGS
from claimwright.e2e.deadlines import DeadlineExceeded
from claimwright.e2e.driven_node import DRIVER, DrivenNode
from claimwright.e2e.hardware import hardware

_GATES: Final = "AllAlpha=true"
_MOST_HELD: Final = 6
_CONFIG_KINDS: Final = {"gpu": "GpuConfig", "mig": "MigDeviceConfig", "vfio": "VfioDeviceConfig"}
_GROUP: Final = "resource.nvidia.com/v1beta1"
_BUS: Final = "resource.kubernetes.io/pciBusID"
_KILL_WITHIN_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 6.0
# A process grows while it meets each kind for the first time.
_WARM: Final = 30


@dataclass
class Findings:
    """What a soak found; all is well when `leaks`, `overlaps` and `unexpected` are empty."""

    cycles: int = 0
    kills: int = 0
    seconds: float = 0.0
    prepared: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    rss_megabytes: float = 0.0
    rss_kilobytes_per_cycle: float = 0.0
    leaks: list[str] = field(default_factory=list)
    overlaps: list[str] = field(default_factory=list)
    unexpected: Counter[str] = field(default_factory=Counter)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.leaks or self.overlaps or self.unexpected)


@dataclass(frozen=True)
class _Held:
    claim: ClaimReference
    device: Device


class Soak:
    """One run on one node that is up and has no driver yet."""

    def __init__(self, node: DrivenNode, *, seed: int, kill_every: int) -> None:
        self._node = node
        self._random = random.Random(seed)  # noqa: S311  a seed, so that a run can be repeated
        self._kill_every = kill_every
        self._held: list[_Held] = []
        self._age = 0
        self._memory: list[tuple[int, int]] = []
        self.findings = Findings()
        self.stopped = False

    def run(self, cycles: int, progress: Callable[[Findings], None] = lambda _: None) -> Findings:
        """Do so many cycles, release all, and look."""
        before = world(self._node)
        began = time.monotonic()
        self._start()
        devices = self._node.wait_devices(lambda found: len(found) > 1)
        self._sets = {each.name: each for found in self._node.slices() for each in found.shared_counters}
        while self.findings.cycles < cycles and not self.stopped:
            if len(self._held) >= _MOST_HELD or (self._held and self._random.random() < 0.4):
                self._release(self._random.choice(self._held))
            else:
                self._prepare(list(self._node.devices().values()))
            self.findings.seconds = time.monotonic() - began
            progress(self.findings)
        for held in tuple(self._held):
            self._release(held)
        self._look(before, set(devices))
        self.findings.seconds = time.monotonic() - began
        self._weigh()
        return self.findings

    def _start(self) -> None:
        self._node.start(_GATES)
        self._age = 0

    def _choose(self, devices: list[Device]) -> Device:
        """Choose a kind, a GPU and then a device, so that kinds with many devices do not crowd out the others."""
        kind = self._random.choice(sorted({str(device.attributes["type"]) for device in devices}))
        same = [device for device in devices if device.attributes["type"] == kind]
        bus = self._random.choice(sorted({str(device.attributes.get(_BUS)) for device in same}))
        return self._random.choice([device for device in same if str(device.attributes.get(_BUS)) == bus])

    def _config(self, device: Device) -> list[Mapping[str, Any]]:
        kind = _CONFIG_KINDS.get(str(device.attributes["type"]))
        bodies = list(CONFIGS.get(kind or "", {}).values())
        chosen = self._random.choice([None, *bodies])
        return [] if chosen is None else [{"apiVersion": _GROUP, "kind": kind, **chosen}]

    def _prepare(self, devices: list[Device]) -> None:
        device = self._choose(devices)
        name = f"soak-{self.findings.cycles}-{self._random.randrange(1 << 30)}"
        claim = self._node.claim(name, [device.name], configs=self._config(device))
        held = [each.device for each in self._held]
        excluded = next((each for each in held if excludes(each, device)), None)
        full = excluded is not None or not fits([*held, device], self._sets)
        error = self._ask(lambda: self._node.prepare(claim)[0].error)
        if error and not full:
            error = self._retried(claim)
        if error:
            self._refused(error, expected=full)
            self._insist(lambda: self._node.release(claim)[0])
            self._forget(claim)
        else:
            self.findings.prepared[str(device.attributes["type"])] += 1
            self._held.append(_Held(claim, device))
            if excluded is not None:
                self.findings.overlaps.append(f"{device.name} beside {excluded.name}")

    def _retried(self, claim: ClaimReference) -> str:
        """Ask again for a while, as the kubelet does; return the last error."""
        deadline = time.monotonic() + _RETRY_SECONDS
        while (error := self._node.prepare(claim)[0].error) and time.monotonic() < deadline:
            time.sleep(0.2)
        return error

    def _refused(self, error: str, *, expected: bool) -> None:
        if expected:
            self.findings.refused += 1
        else:
            self.findings.unexpected[_short(error)] += 1

    def _release(self, held: _Held) -> None:
        self._insist(lambda: self._node.release(held.claim)[0])
        self._forget(held.claim)
        self._held.remove(held)
        self.findings.cycles += 1
        self._age += 1
        process = self._node.process
        if process is not None and process.alive:
            self._memory.append((self._age, psutil.Process(process.plugin_pid).memory_info().rss))

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

    def _ask(self, call: Callable[[], str]) -> str:
        """Call, at times while the driver is killed; then once more, with the driver that comes after."""
        if self._random.random() >= 1 / (2 * self._kill_every):
            return call()
        killer = threading.Timer(self._random.uniform(0, _KILL_WITHIN_SECONDS), self._node.kill)
        killer.start()
        with suppress(CallFailed, InvalidReply, RegistrationFailed, RuntimeError):
            call()
        killer.join()
        self.findings.kills += 1
        self._start()
        return call()

    def _look(self, before: Mapping[str, Any], devices: set[str]) -> None:
        with suppress(DeadlineExceeded):
            self._node.wait_devices(lambda found: set(found) == devices)
        self.findings.leaks += [
            f"not offered any more: {name}" for name in devices - set(self._node.devices())
        ]
        self._node.stop()
        loaded = load(self._node.plugins / DRIVER / "claims.journal", DRIVER)
        self.findings.leaks += [f"journal: {uid}" for uid in (loaded.entries if loaded else ())]
        now = world(self._node)
        self.findings.leaks += [
            f"{key}: {now[key]!r}, was {before.get(key)!r}" for key in now if now[key] != before.get(key)
        ]

    def _weigh(self) -> None:
        """Fit a line through memory over the age of the process, which is new after each kill."""
        points = [(age, rss) for age, rss in self._memory if age > _WARM] or self._memory
        self.findings.rss_megabytes = max((rss for _, rss in points), default=0) / 1e6
        mean_age = sum(age for age, _ in points) / max(len(points), 1)
        mean_rss = sum(rss for _, rss in points) / max(len(points), 1)
        spread = sum((age - mean_age) ** 2 for age, _ in points)
        slope = sum((age - mean_age) * (rss - mean_rss) for age, rss in points) / spread if spread else 0.0
        self.findings.rss_kilobytes_per_cycle = slope / 1e3


def excludes(one: Device, other: Device) -> bool:
    """Tell from what is published whether two claims must not hold both."""
    if one.name == other.name:
        return not one.allow_multiple_allocations
    if one.attributes.get(_BUS) != other.attributes.get(_BUS):
        return False
    mine, theirs = _single(one), _single(other)
    return not (mine and theirs) or not mine.isdisjoint(theirs)


def fits(devices: list[Device], sets: Mapping[str, CounterSet]) -> bool:
    """Tell whether the counters have enough for all `devices`, as the scheduler reckons."""
    taken: Counter[tuple[str, str]] = Counter()
    for device in devices:
        for consumption in device.consumes_counters:
            for name, amount in consumption.counters.items():
                taken[consumption.counter_set, name] += int(amount.value)
    return all(amount <= sets[which].counters[name].value for (which, name), amount in taken.items())


def _short(error: str) -> str:
    return error if len(error) < 400 else f"{error[:250]} … {error[-100:]}"


def _single(device: Device) -> set[str]:
    """Return the counters of which there is one, such as memory slices; a device without any takes the whole."""
    return {
        name
        for consumption in device.consumes_counters
        for name, amount in consumption.counters.items()
        if name.startswith("memory-slice-") and amount == Quantity.parse("1")
    }


def world(node: DrivenNode) -> dict[str, Any]:
    """Return all that claims change on the node: its hardware, its files, its mounts and processes."""
    folder = str(node.folder)
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if folder in line]
    return {
        **hardware(node.node),
        "virtual functions": sorted(path.name for path in _virtual_functions(node)),
        "CDI files": sorted(path.name for path in node.cdi_root.iterdir()),
        "metadata": sorted(map(str, (node.plugins / DRIVER).glob("dra-device-metadata/*"))),
        "mounts": mounts,
        "MPS": sorted(path.name for path in (node.plugins / DRIVER / "mps").glob("*")),
        "processes": _daemons(folder),
    }


def _virtual_functions(node: DrivenNode) -> list[Path]:
    return list((node.node.host_root / "sys/bus/pci/devices").glob("*/virtfn*"))


def _daemons(folder: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            words = process.cmdline()
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            if "mps" in " ".join(words) and folder.encode() in environment:
                found.append(" ".join(words))
    return sorted(found)


def main() -> int:
    """Run from the command line; status 1 when something is wrong."""
    options = _options()
    with DrivenNode(options.profile) as node:
        soak = Soak(node, seed=options.seed, kill_every=options.kill_every)
        signal.signal(signal.SIGINT, lambda *_: setattr(soak, "stopped", True))
        findings = soak.run(options.cycles, _progress(options.cycles))
    print(file=sys.stderr)
    if options.json:
        print(json.dumps(asdict(findings)))
    else:
        _print(findings)
    return 0 if findings.clean else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--kill-every", type=int, default=50, help="cycles between two kills, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", default="every-mode")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _progress(cycles: int) -> Callable[[Findings], None]:
    last = 0.0

    def show(findings: Findings) -> None:
        nonlocal last
        if findings.seconds - last < 1:
            return
        last = findings.seconds
        rate = findings.cycles / findings.seconds
        left = (cycles - findings.cycles) / max(rate, 0.001)
        text = f"{findings.cycles}/{cycles} cycles, {findings.kills} kills, {rate:.1f}/s, {left:.0f} s left "
        print(text, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)

    return show


def _print(findings: Findings) -> None:
    for name, value in asdict(findings).items():
        print(f"{name:26} {dict(value) if isinstance(value, Counter) else value}")


if __name__ == "__main__":
    sys.exit(main())
