"""CDI specs to and from their JSON or YAML documents."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, TypeVar, get_args

from claimwright.dra.cdi.specs import (
    CdiDevice,
    CdiError,
    CdiSpec,
    ContainerEdits,
    DeviceNode,
    Hook,
    HookName,
    IntelRdt,
    Mount,
    NetDevice,
)
from claimwright.dra.cdi.validation import minimum_version

_Value = TypeVar("_Value")


class MalformedSpec(CdiError):
    """A document that is no CDI spec; the message names the source, the field and the value."""


# Document key of each field; the order is the specification's.
_NODE: Final = {
    "path": "path",
    "hostPath": "host_path",
    "type": "type",
    "major": "major",
    "minor": "minor",
    "fileMode": "file_mode",
    "permissions": "permissions",
    "uid": "uid",
    "gid": "gid",
}
_MOUNT: Final = {
    "hostPath": "host_path",
    "containerPath": "container_path",
    "options": "options",
    "type": "type",
}
_HOOK: Final = {
    "hookName": "hook_name",
    "path": "path",
    "args": "args",
    "env": "env",
    "timeout": "timeout_seconds",
}
_NET: Final = {"hostInterfaceName": "host_interface_name", "name": "name"}
_RDT: Final = {
    "closID": "clos_id",
    "l3CacheSchema": "l3_cache_schema",
    "memBwSchema": "memory_bandwidth_schema",
    "schemata": "schemata",
    "enableMonitoring": "enable_monitoring",
}
_LISTS: Final[Mapping[str, tuple[str, type[Any], Mapping[str, str]]]] = {
    "deviceNodes": ("device_nodes", DeviceNode, _NODE),
    "netDevices": ("net_devices", NetDevice, _NET),
    "mounts": ("mounts", Mount, _MOUNT),
    "hooks": ("hooks", Hook, _HOOK),
}
_TYPES: Final[Mapping[str, type]] = {
    "major": int,
    "minor": int,
    "fileMode": int,
    "uid": int,
    "gid": int,
    "timeout": int,
    "options": list,
    "args": list,
    "env": list,
    "schemata": list,
    "enableMonitoring": bool,
}


def spec_to_object(spec: CdiSpec) -> dict[str, Any]:
    """Write a spec as its document, with the lowest version that covers it unless it names one."""
    document: dict[str, Any] = {"cdiVersion": spec.version or minimum_version(spec), "kind": spec.kind}
    if spec.annotations:
        document["annotations"] = dict(spec.annotations)
    document["devices"] = [_device_object(device) for device in spec.devices]
    if spec.edits:
        document["containerEdits"] = _edits_object(spec.edits)
    return document


def spec_from_object(document: object, *, source: str | os.PathLike[str] = "CDI spec") -> CdiSpec:
    """Read a document; unknown fields are an error, as in the runtimes. Raises MalformedSpec."""
    reader = _Reader(str(source))
    top = reader.known(document, "", ("cdiVersion", "kind", "annotations", "devices", "containerEdits"))
    return CdiSpec(
        kind=reader.field(top, "kind", "", str) or "",
        devices=tuple(
            _read_device(reader, item, f"devices[{index}]")
            for index, item in enumerate(reader.field(top, "devices", "", list) or ())
        ),
        edits=_read_edits(reader, top.get("containerEdits"), "containerEdits"),
        annotations=reader.field(top, "annotations", "", dict) or {},
        version=reader.field(top, "cdiVersion", "", str) or "",
    )


def _device_object(device: CdiDevice) -> dict[str, Any]:
    annotations = {"annotations": dict(device.annotations)} if device.annotations else {}
    return {"name": device.name, **annotations, "containerEdits": _edits_object(device.edits)}


def _edits_object(edits: ContainerEdits) -> dict[str, Any]:
    found: dict[str, Any] = {"env": list(edits.env)}
    for key, (name, _, fields) in _LISTS.items():
        found[key] = [_plain(item, fields) for item in getattr(edits, name)]
    if edits.intel_rdt is not None:
        found["intelRdt"] = _plain(edits.intel_rdt, _RDT)
    found["additionalGids"] = list(edits.additional_gids)
    return {key: value for key, value in found.items() if value}


def _plain(item: object, fields: Mapping[str, str]) -> dict[str, Any]:
    found = {key: getattr(item, name) for key, name in fields.items()}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in found.items()
        if value is not None and value != () and value is not False
    }


def _read_device(reader: _Reader, item: object, at: str) -> CdiDevice:
    found = reader.known(item, at, ("name", "annotations", "containerEdits"))
    return CdiDevice(
        name=reader.field(found, "name", at, str) or "",
        edits=_read_edits(reader, found.get("containerEdits"), f"{at}.containerEdits"),
        annotations=reader.field(found, "annotations", at, dict) or {},
    )


def _read_edits(reader: _Reader, document: object, at: str) -> ContainerEdits:
    if document is None:
        return ContainerEdits()
    found = reader.known(document, at, ("env", *_LISTS, "intelRdt", "additionalGids"))
    rdt = found.get("intelRdt")
    lists = {
        name: tuple(
            reader.value(kind, fields, item, f"{at}.{key}[{index}]")
            for index, item in enumerate(reader.field(found, key, at, list) or ())
        )
        for key, (name, kind, fields) in _LISTS.items()
    }
    for index, hook in enumerate(lists["hooks"]):
        if hook.hook_name not in get_args(HookName):
            allowed = ", ".join(get_args(HookName))
            raise reader.error(f"{at}.hooks[{index}].hookName", hook.hook_name, f"one of {allowed}")
    return ContainerEdits(
        env=tuple(reader.field(found, "env", at, list) or ()),
        additional_gids=tuple(reader.field(found, "additionalGids", at, list) or ()),
        intel_rdt=None if rdt is None else reader.value(IntelRdt, _RDT, rdt, f"{at}.intelRdt"),
        **lists,
    )


class _Reader:
    """Reads parts of one document; every complaint names the source, the field and the value."""

    def __init__(self, source: str) -> None:
        self._source = source

    def error(self, field: str, value: object, expected: str) -> MalformedSpec:
        return MalformedSpec(f"{self._source}: {field or 'the document'} is {value!r}, expected {expected}")

    def known(self, document: object, at: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
        if not isinstance(document, Mapping):
            raise self.error(at, document, "an object")
        unknown = sorted(str(key) for key in document if key not in keys)
        if unknown:
            raise self.error(
                f"{at}.{unknown[0]}".lstrip("."), document[unknown[0]], f"only {', '.join(keys)} there"
            )
        return document

    def field(self, parent: Mapping[str, Any], key: str, at: str, kind: type[_Value]) -> _Value | None:
        value = parent.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.error(f"{at}.{key}".lstrip("."), value, f"a {kind.__name__}")
        return value

    def value(self, kind: type[_Value], fields: Mapping[str, str], document: object, at: str) -> _Value:
        found = self.known(document, at, tuple(fields))
        given = {
            name: tuple(value) if isinstance(value, list) else value
            for key, name in fields.items()
            if (value := self.field(found, key, at, _TYPES.get(key, str))) is not None
        }
        try:
            return kind(**given)
        except TypeError as error:  # a required field is missing
            raise self.error(at, dict(found), f"an object with {', '.join(fields)}: {error}") from error
