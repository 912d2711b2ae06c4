"""What a run is asked to do; checked at the command's door."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from claimwright.reports.environment import Hardware

Kubelet = Literal["real", "stand-in"]


@dataclass(frozen=True, slots=True)
class DriverChoice:
    """The driver under measure: already running (`pid` lets its memory be read), or started by `command`."""

    name: str
    node: str
    registry_dir: Path
    pid: int | None = None
    command: tuple[str, ...] = ()
    starts: int = 5


@dataclass(frozen=True, slots=True)
class LoadShape:
    """The prepare workload, `prepare/v1`: cycles per load, in blocks, loads taking turns block by block."""

    cycles: int = 1000
    repetitions: int = 5
    warm_up: int = 20
    in_flight: int = 8
    per_second: int = 100
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class PodShape:
    """The pod workload, `pod-start/v1`: waves that fill the free devices, pods due at a fixed spacing."""

    pods: int = 24
    manifest: Path | None = None
    image: str = "claimwright.local/pause:1"
    device_class: str | None = None
    kubelet: Kubelet | None = None
    spacing_seconds: float = 0.1
    start_timeout_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """One run."""

    kubeconfig: Path
    hardware: Hardware
    out: Path
    driver: DriverChoice
    load: LoadShape = LoadShape()
    pods: PodShape = PodShape()
    state_dir: Path | None = None
    expect_devices: int | None = None

    @property
    def journal_dir(self) -> Path:
        """Where the driver keeps its state: its filesystem's fsync is part of each prepare."""
        if self.state_dir is not None:
            return self.state_dir
        plugins = self.driver.registry_dir.parent / "plugins"
        return plugins if plugins.is_dir() else self.driver.registry_dir.parent

    def settings(self) -> dict[str, Any]:
        """Give what belongs into the environment block."""
        return {
            "cycles_per_load": self.load.cycles,
            "repetitions": self.load.repetitions,
            "warm_up_cycles_discarded": self.load.warm_up,
            "open_load_per_second": self.load.per_second,
            "driver_starts": self.driver.starts if self.driver.command else 0,
            "pods": self.pods.pods,
            "pod_spacing_seconds": self.pods.spacing_seconds,
            "order": "loads take turns in each repetition",
        }
