"""L-PUB: start the driver's process again and again, and watch its slices come."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from claimwright.dra.kube import RESOURCE_SLICES, Reflector
from claimwright.reports.errors import TargetError
from claimwright.reports.measuring.driver_process import StartedDriver, started
from claimwright.reports.measuring.progress import Progress
from claimwright.reports.measuring.recorder import Recorder
from claimwright.reports.measuring.slices import Pools, read_pools
from claimwright.reports.measuring.stage import wait_until
from claimwright.reports.measuring.target import Target

WORKLOAD = "publish/v1"
PUBLISH_SECONDS = 60.0
SETTLE_SECONDS = 1.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class _Seen:
    pools: Pools
    at_ns: int


class SliceWatch:
    """Follows the driver's slices on the node; remembers when the state that stands now was first seen."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._slices: dict[str, Mapping[str, Any]] = {}
        self._seen = _Seen(Pools((), complete=False), time.monotonic_ns())
        self._changed = threading.Condition()
        self._reflector = Reflector(target.kube, RESOURCE_SLICES, on_change=self._take)

    def __enter__(self) -> Self:
        self._reflector.start()
        if not self._reflector.synced.wait(10):
            self._reflector.stop()
            raise TargetError(
                f"cannot list ResourceSlices: {self._reflector.error or 'no answer within 10 s'}"
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._reflector.stop()

    @property
    def pools(self) -> Pools:
        """What stands now."""
        return self._seen.pools

    def settled(self, *, devices: int | None) -> int | None:
        """Give the instant of the event that completed the pools, once nothing followed it for a while."""
        with self._changed:
            seen = self._seen
        enough = devices is None or len(seen.pools.devices) >= devices
        quiet = time.monotonic_ns() - seen.at_ns > SETTLE_SECONDS * 1e9
        return seen.at_ns if seen.pools.complete and enough and quiet else None

    def _take(self, kind: str, entry: dict[str, Any]) -> None:
        at = time.monotonic_ns()
        name = entry["metadata"]["name"]
        if kind == "DELETED":
            self._slices.pop(name, None)
        else:
            self._slices[name] = entry
        pools = read_pools(self._slices.values(), driver=self._target.driver, node=self._target.node)
        with self._changed:
            if pools != self._seen.pools:
                self._seen = _Seen(pools, at)


def measure_starts(
    target: Target,
    command: tuple[str, ...],
    recorder: Recorder,
    *,
    starts: int,
    devices: int | None,
    log: Path,
    progress: Progress,
) -> None:
    """Start and stop the driver `starts` times; each start counts, one without slices as a timeout."""
    for number in range(starts):
        _remove_slices(target)
        with SliceWatch(target) as watch, recorder.repetition_of(number):
            began = time.monotonic_ns()
            with started(command, log) as driver:
                outcome, ended = _wait(watch, driver, devices=devices)
            count = len(watch.pools.devices)
            recorder.event("L-PUB", began, ended, outcome=outcome, parameters={"devices": count})
        progress.say(
            f"driver start {number + 1} of {starts}: {count} devices after "
            f"{(ended - began) / 1e9:.2f} s, {outcome}"
        )
    _remove_slices(target)


def _wait(watch: SliceWatch, driver: StartedDriver, *, devices: int | None) -> tuple[str, int]:
    until = time.monotonic() + PUBLISH_SECONDS
    while (ended := watch.settled(devices=devices)) is None:
        driver.check()
        if time.monotonic() > until:
            return "timeout", time.monotonic_ns()
        time.sleep(_POLL_SECONDS)
    return "ok", ended


def _remove_slices(target: Target) -> None:
    selector = f"spec.nodeName={target.node},spec.driver={target.driver}"
    target.kube.delete_collection(RESOURCE_SLICES, field_selector=selector)
    if not wait_until(lambda: not target.pools().devices, 10):
        raise TargetError(
            f"slices of {target.driver!r} on {target.node!r} come back after they were deleted: "
            "another instance "
            "of the driver is running. Stop it, or measure it with --driver-pid in place of --driver-command"
        )
