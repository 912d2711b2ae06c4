"""What administrators set on a GPU and on a node through NVML, beyond the modes that every tool knows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class BandwidthMode(IntEnum):
    """`NVML_GPU_NVLINK_BW_MODE_*` of a node's NVLinks (nvml.h 13.5)."""

    FULL = 0
    OFF = 1
    MIN = 2
    HALF = 3
    THREE_QUARTERS = 4


@dataclass(frozen=True, slots=True)
class PowerSmoothing:
    """Power smoothing (Blackwell): on or off, the preset in force, and values that an admin put in a preset's place.

    `overrides` maps (preset, parameter) to a value; parameters are `NVML_POWER_SMOOTHING_PROFILE_PARAM_*`.
    """

    enabled: bool = False
    preset: int = 0
    overrides: tuple[tuple[tuple[int, int], float], ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """What is set on one GPU; clocks in MHz, None where the driver decides."""

    accounting: bool = False
    accounting_cleared: int = 0  # how often the finished processes were forgotten
    memory_lock: tuple[int, int] | None = None
    application_clocks: tuple[int, int] | None = None  # memory, graphics
    free_application_clocks: bool = False  # everybody may set them, not administrators alone
    fan_percent: tuple[int | None, ...] = ()
    workload_profiles: tuple[int, ...] = ()
    smoothing: PowerSmoothing = PowerSmoothing()
    link_threshold: int | None = None  # in units of 100 us, or 50 on NVLink 5 (field 224)
    link_bandwidth_mode: int = 0  # an index into the GPU's supported modes
    hostname: str = ""
    draining: bool = False  # takes no new clients
    metrics_streaming: bool = False  # GPM (Hopper and later)


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What is set on the node: NVLink bandwidth."""

    bandwidth_mode: BandwidthMode = BandwidthMode.FULL
