"""Features of a driver as they show themselves, whatever it declares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from claimwright.conformance.cdi_folder import SpecFile, edits_of
from claimwright.conformance.instance import Registration
from claimwright.conformance.published import PublishedDevice, PublishedPool
from claimwright.conformance.wire import PreparedDevice

VISIBLE: Final = frozenset(
    {
        "bindingConditions",
        "consumableCapacity",
        "deviceMetadata",
        "health",
        "nodeAllocatable",
        "partitionable",
    }
)
_METADATA_FOLDER: Final = "/var/run/kubernetes.io/dra-device-attributes/"


def observed_features(
    registration: Registration,
    pools: Sequence[PublishedPool],
    prepared: Iterable[PreparedDevice] = (),
    specs: Sequence[SpecFile] = (),
) -> set[str]:
    """Return the features that left a trace; those that never leave one are not in VISIBLE."""
    devices = [device for pool in pools for device in pool.devices]
    traces = {
        "health": any(one.endswith(".DRAResourceHealth") for one in registration.info.versions),
        "partitionable": any(device.consumes for device in devices),
        "consumableCapacity": any(device.multiple for device in devices),
        "deviceTaints": _any_has(devices, "taints"),
        "bindingConditions": _any_has(devices, "bindingConditions"),
        "nodeAllocatable": _any_has(devices, "nodeAllocatableResources"),
        "deviceMetadata": _mounts_metadata(prepared, specs),
    }
    return {feature for feature, seen in traces.items() if seen}


def _any_has(devices: Iterable[PublishedDevice], field: str) -> bool:
    return any(device.raw.get(field) for device in devices)


def _mounts_metadata(prepared: Iterable[PreparedDevice], specs: Sequence[SpecFile]) -> bool:
    identifiers = [identifier for one in prepared for identifier in one.cdi_ids]
    mounts = [mount for edits in edits_of(specs, identifiers) for mount in edits.get("mounts") or ()]
    return any(str(mount.get("containerPath", "")).startswith(_METADATA_FOLDER) for mount in mounts)
