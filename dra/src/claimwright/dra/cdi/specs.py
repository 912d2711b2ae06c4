"""CDI specs as values (Container Device Interface specification 1.1.0)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from claimwright.dra.errors import DraError

_Item = TypeVar("_Item")
HookName = Literal["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]


class CdiError(DraError):
    """Anything wrong with CDI specs."""


class UnresolvableDevice(CdiError):
    """CDI ids that no spec defines, or that several specs define."""

    def __init__(self, ids: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.ids = ids


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device node in the container; the runtime stats `host_path` (or `path`) for what is left out."""

    path: str
    host_path: str | None = None
    type: Literal["b", "c", "u", "p"] | None = None
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    permissions: str | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount into the container."""

    host_path: str
    container_path: str
    options: tuple[str, ...] = ()
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Hook:
    """An OCI hook; `args` starts with the program's own name."""

    hook_name: HookName
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class NetDevice:
    """A host network interface to move into the container, and its name there."""

    host_interface_name: str
    name: str


@dataclass(frozen=True, slots=True)
class IntelRdt:
    """Resource director settings."""

    clos_id: str | None = None
    l3_cache_schema: str | None = None
    memory_bandwidth_schema: str | None = None
    schemata: tuple[str, ...] = ()
    enable_monitoring: bool = False


@dataclass(frozen=True, slots=True)
class ContainerEdits:
    """What a runtime changes in a container; `env` entries are NAME=VALUE."""

    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    mounts: tuple[Mount, ...] = ()
    hooks: tuple[Hook, ...] = ()
    additional_gids: tuple[int, ...] = ()
    net_devices: tuple[NetDevice, ...] = ()
    intel_rdt: IntelRdt | None = None

    def __add__(self, other: ContainerEdits) -> ContainerEdits:
        """Merge as a runtime does: in order, a later variable, node or mount of the same target replacing."""
        return ContainerEdits(
            env=_replacing(self.env + other.env, lambda item: item.partition("=")[0]),
            device_nodes=_replacing(self.device_nodes + other.device_nodes, lambda item: item.path),
            mounts=_replacing(self.mounts + other.mounts, lambda item: item.container_path),
            hooks=self.hooks + other.hooks,
            additional_gids=tuple(dict.fromkeys(self.additional_gids + other.additional_gids)),
            net_devices=_replacing(
                self.net_devices + other.net_devices, lambda item: item.host_interface_name
            ),
            intel_rdt=other.intel_rdt or self.intel_rdt,
        )

    def __bool__(self) -> bool:
        return self != _NO_EDITS


_NO_EDITS = ContainerEdits()


@dataclass(frozen=True, slots=True)
class CdiDevice:
    """A named device of a spec."""

    name: str
    edits: ContainerEdits = _NO_EDITS
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CdiSpec:
    """All devices of one kind in one file; `edits` apply once to a container that gets any of them.

    No `version` means the lowest one that covers the fields in use.
    """

    kind: str
    devices: tuple[CdiDevice, ...] = ()
    edits: ContainerEdits = _NO_EDITS
    annotations: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The qualified names of its devices."""
        return tuple(qualified_name(self.kind, device.name) for device in self.devices)


def qualified_name(kind: str, device: str) -> str:
    """Give the CDI id of a device: `vendor/class=name`."""
    return f"{kind}={device}"


def split_qualified_name(cdi_id: str) -> tuple[str, str]:
    """Split a CDI id into kind and device name; raises CdiError."""
    kind, equals, device = cdi_id.partition("=")
    vendor, slash, device_class = kind.partition("/")
    if not (vendor and slash and device_class and equals and device):
        raise CdiError(f"CDI id {cdi_id!r}: expected vendor/class=name")
    return kind, device


def _replacing(items: tuple[_Item, ...], key: Callable[[_Item], str]) -> tuple[_Item, ...]:
    found: dict[str, _Item] = {}
    for item in items:
        found.pop(key(item), None)  # so that the replacement takes the later place
        found[key(item)] = item
    return tuple(found.values())
