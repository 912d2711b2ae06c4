"""Where a node sits in a rack: what NVML's platform info tells of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tray:
    """A compute tray; `index` counts compute trays only, `slot` all trays of the chassis."""

    chassis_serial: str
    slot: int | None
    index: int | None
    host_id: int = 1
