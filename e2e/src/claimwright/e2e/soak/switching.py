"""What it takes to change a GPU's mode: every kind of device that a GPU offers, followed by every other one."""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from claimwright.dra.slices import Device
from claimwright.e2e.deadlines import DeadlineExceeded, wait_until
from claimwright.e2e.driven_node import DrivenNode
from claimwright.e2e.soak.offering import Offering, allocation
from claimwright.e2e.soak.reckoning import BUS

ORDER: Final = ("gpu", "mig", "vfio", "vgpu")
_PREPARED_WITHIN_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 0.02


@dataclass(frozen=True)
class Switch:
    """Times of one ordered pair of modes on one GPU, in milliseconds.

    They are those of the release of `before`, of the prepare of `after`, and of both; `refusals` is how often all
    rounds together asked for `after` in vain, `refusal` the last such answer.
    """

    gpu: str
    before: str
    after: str
    rounds: int
    release_p50: float
    prepare_p50: float
    total_p50: float
    total_max: float
    refusals: int
    refusal: str = ""

    def as_object(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {name: round(v, 1) if isinstance(v, float) else v for name, v in asdict(self).items()}


def switches(node: DrivenNode, rounds: int, progress: Callable[[str], None] = lambda _: None) -> list[Switch]:
    """Measure every ordered pair on each GPU that offers three kinds or more; the driver runs, nothing is held."""
    found = []
    for gpu, devices in _by_gpu(node).items():
        times: defaultdict[tuple[str, str], list[tuple[float, float, int, str]]] = defaultdict(list)
        for number in range(rounds):
            progress(f"{gpu}: round {number + 1} of {rounds}")
            for before, after in itertools.permutations(sorted(devices, key=ORDER.index), 2):
                times[before, after].append(_switch(node, devices[before], devices[after]))
        found += [_summed(gpu, before, after, measured) for (before, after), measured in times.items()]
    return found


def _by_gpu(node: DrivenNode) -> dict[str, dict[str, Device]]:
    """Return one device of each kind by GPU: the first published, and the smallest partition."""
    gpus: defaultdict[str, dict[str, Device]] = defaultdict(dict)
    offering = Offering(node, random.Random(0))  # noqa: S311  nothing is chosen
    wait_until("the devices", lambda: offering.devices() or None, seconds=_PREPARED_WITHIN_SECONDS)
    for device in offering.devices().values():
        kind = str(device.attributes["type"])
        if kind in ORDER:
            gpus[str(device.attributes[BUS])].setdefault(kind, device)
    return {gpu: devices for gpu, devices in sorted(gpus.items()) if len(devices) > 2}


def _switch(node: DrivenNode, before: Device, after: Device) -> tuple[float, float, int, str]:
    """Return the seconds of the release and of the prepare, how often it was refused, and with what last."""
    one, _, _ = _prepare(node, before)
    began = time.perf_counter()
    node.released(one)
    released = time.perf_counter()
    other, refusals, refusal = _prepare(node, after)
    prepared = time.perf_counter()
    node.released(other)
    return released - began, prepared - released, refusals, refusal


_names: Iterator[int] = itertools.count()


def _prepare(node: DrivenNode, device: Device) -> tuple[Any, int, str]:
    claim = node.claim(f"switch-{next(_names)}", [device.name], **allocation(device))
    deadline = time.monotonic() + _PREPARED_WITHIN_SECONDS
    refusals, refusal = 0, ""
    while error := node.prepare(claim)[0].error:
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"{device.name} was refused for {_PREPARED_WITHIN_SECONDS:g} s: {error}")
        refusals, refusal = refusals + 1, error
        time.sleep(_PAUSE_SECONDS)
    return claim, refusals, refusal


def _summed(gpu: str, before: str, after: str, measured: list[tuple[float, float, int, str]]) -> Switch:
    releases, prepares, refusals, texts = zip(*measured, strict=True)
    totals = [1e3 * (one + other) for one, other in zip(releases, prepares, strict=True)]
    return Switch(
        gpu,
        before,
        after,
        rounds=len(measured),
        release_p50=1e3 * statistics.median(releases),
        prepare_p50=1e3 * statistics.median(prepares),
        total_p50=statistics.median(totals),
        total_max=max(totals),
        refusals=sum(refusals),
        refusal=next(filter(None, reversed(texts)), ""),
    )
