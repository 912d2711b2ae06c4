"""The rules of the CDI specification, and the lowest version that covers a spec."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from claimwright.dra.cdi.specs import CdiError, CdiSpec, ContainerEdits

# Released versions, oldest first.
VERSIONS: Final = ("0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")
EARLIEST: Final = "0.3.0"
_VENDOR: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?", re.ASCII)
_CLASS: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?", re.ASCII)
_DEVICE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?", re.ASCII)


class InvalidSpec(CdiError):
    """A spec that breaks the CDI specification; the message gives every fault."""

    def __init__(self, kind: str, faults: tuple[str, ...]) -> None:
        super().__init__(f"CDI spec {kind!r}: " + "; ".join(faults))
        self.faults = faults


def minimum_version(spec: CdiSpec) -> str:
    """Give the lowest cdiVersion that covers the fields in use (SPEC.md, table of released versions)."""
    needed = [version for version, needs in _NEEDS.items() if needs(spec)]
    return max([EARLIEST, *needed], key=VERSIONS.index)


def validate(spec: CdiSpec) -> None:
    """Check a spec as a container runtime does on loading; raises InvalidSpec with every fault."""
    faults = tuple(_faults(spec))
    if faults:
        raise InvalidSpec(spec.kind, faults)


def _faults(spec: CdiSpec) -> Iterator[str]:
    vendor, slash, device_class = spec.kind.partition("/")
    if not slash or not _VENDOR.fullmatch(vendor) or not _CLASS.fullmatch(device_class):
        yield f"kind is {spec.kind!r}, expected vendor/class"
    if spec.version is not None:
        yield from _version_faults(spec, spec.version)
    if not spec.devices:
        yield "devices is empty, expected at least one device"
    names = [device.name for device in spec.devices]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"device {name!r} is defined twice"
    for device in spec.devices:
        if not _DEVICE.fullmatch(device.name):
            yield f"device name {device.name!r}: expected letters, digits, _-.: and an alphanumeric end"
        if not device.edits:
            yield f"device {device.name!r} has empty containerEdits"
        yield from (f"device {device.name!r}: {fault}" for fault in _edit_faults(device.edits))
    yield from (f"containerEdits: {fault}" for fault in _edit_faults(spec.edits))


def _version_faults(spec: CdiSpec, version: str) -> Iterator[str]:
    if version not in VERSIONS:
        yield f"cdiVersion is {version!r}, expected one of {', '.join(VERSIONS)}"
    elif VERSIONS.index(version) < VERSIONS.index(minimum_version(spec)):
        yield f"cdiVersion is {version!r}, but the fields in use need {minimum_version(spec)}"


def _edit_faults(edits: ContainerEdits) -> Iterator[str]:
    for variable in edits.env:
        if not variable.partition("=")[0] or "=" not in variable:
            yield f"env {variable!r}: expected NAME=VALUE"
    for node in edits.device_nodes:
        if not node.path:
            yield "a deviceNode has no path"
        if node.type not in (None, "b", "c", "u", "p"):
            yield f"deviceNode {node.path!r}: type {node.type!r}, expected b, c, u or p"
        if set(node.permissions or "") - set("rwm"):
            yield f"deviceNode {node.path!r}: permissions {node.permissions!r}, expected letters of rwm"
    yield from _host_faults(edits)


def _host_faults(edits: ContainerEdits) -> Iterator[str]:
    for mount in edits.mounts:
        if not mount.host_path or not mount.container_path:
            yield f"mount {mount.host_path!r} to {mount.container_path!r}: both paths are needed"
    for hook in edits.hooks:
        if not hook.path:
            yield f"hook {hook.hook_name!r} has no path"
        yield from (f"hook {hook.hook_name!r}: env {item!r}" for item in hook.env if "=" not in item)
    for device in edits.net_devices:
        if not device.host_interface_name or not device.name:
            yield f"netDevice {device.host_interface_name!r}: both names are needed"


def _all_edits(spec: CdiSpec) -> list[ContainerEdits]:
    return [*(device.edits for device in spec.devices), spec.edits]


def _needs_0_4(spec: CdiSpec) -> bool:
    return any(mount.type for edits in _all_edits(spec) for mount in edits.mounts)


def _needs_0_5(spec: CdiSpec) -> bool:
    digit = any(device.name[:1].isdigit() for device in spec.devices)
    return digit or any(node.host_path for edits in _all_edits(spec) for node in edits.device_nodes)


def _needs_0_6(spec: CdiSpec) -> bool:
    dotted = "." in spec.kind.partition("/")[2]
    return dotted or bool(spec.annotations) or any(device.annotations for device in spec.devices)


def _needs_0_7(spec: CdiSpec) -> bool:
    return any(edits.intel_rdt is not None or edits.additional_gids for edits in _all_edits(spec))


def _needs_1_1(spec: CdiSpec) -> bool:
    newer_rdt = any(
        edits.intel_rdt is not None and (edits.intel_rdt.schemata or edits.intel_rdt.enable_monitoring)
        for edits in _all_edits(spec)
    )
    return newer_rdt or any(edits.net_devices for edits in _all_edits(spec))


_NEEDS: Final[dict[str, Callable[[CdiSpec], bool]]] = {
    "0.4.0": _needs_0_4,
    "0.5.0": _needs_0_5,
    "0.6.0": _needs_0_6,
    "0.7.0": _needs_0_7,
    "1.1.0": _needs_1_1,
}
