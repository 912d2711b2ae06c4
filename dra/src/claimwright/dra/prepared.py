"""What a plugin tells the kubelet: prepared devices and their health."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from claimwright.dra.slices.devices import Attribute

Health = Literal["Healthy", "Unhealthy", "Unknown"]


@dataclass(frozen=True, slots=True)
class NetworkData:
    """Network details of a device for its metadata file; `ips` are CIDRs."""

    interface_name: str | None = None
    ips: tuple[str, ...] = ()
    hardware_address: str | None = None


@dataclass(frozen=True, slots=True)
class PreparedDevice:
    """A device that containers may get; no `requests` means all requests of the claim.

    `attributes` and `network` stay on the node: they go into the device metadata file (KEP-5304).
    """

    requests: tuple[str, ...]
    pool: str
    device: str
    cdi_ids: tuple[str, ...] = ()
    share_id: str | None = None
    attributes: Mapping[str, Attribute] | None = field(default=None, compare=False)
    network: NetworkData | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """The health of one device; a kubelet that hears nothing for `timeout_seconds` takes it as Unknown."""

    pool: str
    device: str
    health: Health
    message: str = ""
    timeout_seconds: int = 30
    updated_unix_seconds: int = 0
