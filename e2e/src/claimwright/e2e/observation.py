"""What the probe in a container saw, as a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


class UnreadableObservation(Exception):
    """The probe printed something else than its one JSON line; the text is in the message."""


@dataclass(frozen=True)
class SeenGpu:
    """One GPU as NVML named it inside the container."""

    uuid: str
    name: str


@dataclass(frozen=True)
class Observation:
    """The answers of the probe: kernel outcomes by device, NVML's own list, and the files for virtual machines.

    `nodes` maps the minors that have a node in `/dev` to what open() said; `foreign` maps all other minors to
    what open() said of a node made by the probe itself. `ENXIO` is allowed (no kernel driver behind the node),
    `EPERM` is forbidden by the device cgroup. `foreign` is empty where no device cgroup is in force.
    `special` maps the paths of VFIO, IOMMUFD, capability and IMEX channel nodes to what open() said, and
    `strangers` counts what it said of others of their kinds, made by the probe; `parts` are the UUIDs of MIG
    devices that NVML finds; `mps` is "connected" where an MPS control daemon listens, empty where none is promised;
    `metadata` maps the path below KEP-5304's folder to a file's text, and `writable` are those that it may change.
    """

    nodes: Mapping[int, str]
    foreign: Mapping[int, str]
    gpus: tuple[SeenGpu, ...]
    nvml: str
    visible_devices: str
    parts: tuple[str, ...] = ()
    special: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    strangers: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    mps: str = ""
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    writable: tuple[str, ...] = ()

    @property
    def uuids(self) -> tuple[str, ...]:
        """The UUIDs that NVML listed, in its order."""
        return tuple(gpu.uuid for gpu in self.gpus)

    @classmethod
    def parse(cls, text: str) -> Observation:
        """Read the probe's first line of output."""
        try:
            seen = json.loads(text.strip().splitlines()[0])
            return cls(
                nodes={int(minor): outcome for minor, outcome in seen["nodes"].items()},
                foreign={int(minor): outcome for minor, outcome in seen.get("foreign", {}).items()},
                gpus=tuple(SeenGpu(**gpu) for gpu in seen["gpus"]),
                nvml=seen["nvml"],
                visible_devices=seen["visible_devices"],
                parts=tuple(seen.get("parts", ())),
                special=dict(seen.get("special", {})),
                strangers=dict(seen.get("strangers", {})),
                mps=seen.get("mps", ""),
                metadata={path: file["text"] for path, file in seen.get("metadata", {}).items()},
                writable=tuple(path for path, file in seen.get("metadata", {}).items() if file["writable"]),
            )
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise UnreadableObservation(
                f"the probe printed {text[:500]!r}, expected one JSON object"
            ) from error
