"""A node's state as values."""

from __future__ import annotations

from dataclasses import dataclass

from claimwright.driver.recent_errors import RecentError


@dataclass(frozen=True)
class Holding:
    """One device of one claim."""

    claim: str
    uid: str
    state: str
    request: str
    device: str
    kind: str
    hardware: str
    share: str | None = None
    admin_access: bool = False


@dataclass(frozen=True)
class GpuStatus:
    """One physical GPU: what is offered of it and who holds any of it. `name` is empty where NVML does not see it."""

    address: str
    name: str
    product: str
    uuid: str
    mig: str
    offered: tuple[str, ...]
    holdings: tuple[Holding, ...]


@dataclass(frozen=True)
class Status:
    """All of it; `problems` are what could not be read or does not work."""

    serving: bool
    driver_version: str
    gpus: tuple[GpuStatus, ...]
    holdings: tuple[Holding, ...]
    errors: tuple[RecentError, ...]
    problems: tuple[str, ...]
