"""The rules of the CDI specification (1.0.0 and its history of versions), as far as a spec file shows them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

KNOWN_VERSIONS: Final = ("0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")
_KIND: Final = re.compile(
    r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
)
_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.:]*[A-Za-z0-9])?")
_TOP: Final = frozenset({"cdiVersion", "kind", "annotations", "devices", "containerEdits"})
_DEVICE: Final = frozenset({"name", "annotations", "containerEdits"})
_EDITS: Final = frozenset(
    {"env", "deviceNodes", "mounts", "hooks", "intelRdt", "additionalGids", "netDevices"}
)


def faults_of(spec: Mapping[str, Any]) -> list[str]:
    """Return every rule that a spec breaks, in words; an empty list is a valid spec."""
    return list(_faults(spec))


def _faults(spec: Mapping[str, Any]) -> Iterator[str]:
    if spec.get("cdiVersion") not in KNOWN_VERSIONS:
        yield f"cdiVersion {spec.get('cdiVersion')!r} is none of {', '.join(KNOWN_VERSIONS)}"
    if not _KIND.fullmatch(str(spec.get("kind"))):
        yield f"kind {spec.get('kind')!r} is not of the form vendor/class"
    yield from (f"unknown field {name!r}" for name in spec if name not in _TOP)
    devices = spec.get("devices") or []
    if not devices:
        yield "devices is empty"
    names = [device.get("name") for device in devices]
    yield from (
        f"device {name!r} is defined twice" for name in sorted({n for n in names if names.count(n) > 1})
    )
    for device in devices:
        yield from _device_faults(device)
    yield from _edits_faults("containerEdits", spec.get("containerEdits") or {})


def _device_faults(device: Mapping[str, Any]) -> Iterator[str]:
    name = device.get("name")
    if not _NAME.fullmatch(str(name)):
        yield f"device name {name!r} is malformed"
    if not device.get("containerEdits"):
        yield f"device {name!r} has no containerEdits"
    yield from (f"device {name!r}: unknown field {field!r}" for field in device if field not in _DEVICE)
    yield from _edits_faults(f"device {name!r}", device.get("containerEdits") or {})


def _edits_faults(where: str, edits: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{where}: unknown edit {field!r}" for field in edits if field not in _EDITS)
    yield from (
        f"{where}: env {one!r} is not NAME=value" for one in edits.get("env") or () if "=" not in one[1:]
    )
    for node in edits.get("deviceNodes") or ():
        if not str(node.get("path", "")).startswith("/"):
            yield f"{where}: device node path {node.get('path')!r} is not absolute"
    for mount in edits.get("mounts") or ():
        if not (mount.get("hostPath") and str(mount.get("containerPath", "")).startswith("/")):
            yield f"{where}: a mount needs hostPath and an absolute containerPath: {dict(mount)}"
    for hook in edits.get("hooks") or ():
        if not (hook.get("hookName") and str(hook.get("path", "")).startswith("/")):
            yield f"{where}: a hook needs hookName and an absolute path: {dict(hook)}"


def least_version(spec: Mapping[str, Any]) -> str:
    """Return the oldest version that knows all fields of a spec (history in the specification's own table)."""
    return max(("0.3.0", *_needs(spec)), key=KNOWN_VERSIONS.index)


def _needs(spec: Mapping[str, Any]) -> Iterator[str]:
    devices = spec.get("devices") or []
    if spec.get("annotations") or any(device.get("annotations") for device in devices):
        yield "0.6.0"
    if "." in str(spec.get("kind", "")).partition("/")[2]:
        yield "0.6.0"
    if any(str(device.get("name", ""))[:1].isdigit() for device in devices):
        yield "0.5.0"
    for edits in [
        spec.get("containerEdits") or {},
        *(device.get("containerEdits") or {} for device in devices),
    ]:
        yield from _edit_needs(edits)


def _edit_needs(edits: Mapping[str, Any]) -> Iterator[str]:
    if edits.get("netDevices"):
        yield "1.1.0"
    if edits.get("intelRdt") or edits.get("additionalGids"):
        yield "0.7.0"
    if any("hostPath" in node for node in edits.get("deviceNodes") or ()):
        yield "0.5.0"
    if any("type" in mount for mount in edits.get("mounts") or ()):
        yield "0.4.0"
