"""Every kind of opaque config. A new one is a module beside this one, and a line in `KINDS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from claimwright.driver.configs.compute_domain import ComputeDomainChannelConfig, ComputeDomainDaemonConfig
from claimwright.driver.configs.decoding import GPU_DRIVER, Config, Strictness, decode_as
from claimwright.driver.configs.duplicates import refuse_duplicates
from claimwright.driver.configs.gpu import GpuConfig
from claimwright.driver.configs.mig import MigDeviceConfig
from claimwright.driver.configs.vfio import VfioDeviceConfig
from claimwright.driver.configs.vgpu import VgpuDeviceConfig
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.quoting import shown

KINDS: Final[Mapping[str, type[Config]]] = {
    kind.__name__: kind
    for kind in (
        GpuConfig,
        MigDeviceConfig,
        VfioDeviceConfig,
        VgpuDeviceConfig,
        ComputeDomainChannelConfig,
        ComputeDomainDaemonConfig,
    )
}
DRIVERS: Final = tuple(dict.fromkeys(kind.driver for kind in KINDS.values()))


def decode(
    parameters: Mapping[str, Any], *, driver: str = GPU_DRIVER, unknown_fields: Strictness = "forbid"
) -> Config:
    """Decode one config of `driver`; ClaimRefused names what is wrong."""
    version, kind = parameters.get("apiVersion"), parameters.get("kind")
    known = [each for each in KINDS.values() if each.driver == driver]
    versions = tuple(dict.fromkeys(each.api_version for each in known))
    if version not in versions:
        raise ClaimRefused(
            f"opaque config has apiVersion {shown(version)}, expected {' or '.join(map(repr, versions))}"
        )
    found = next((each for each in known if each.__name__ == kind and each.api_version == version), None)
    if found is None:
        names = ", ".join(each.__name__ for each in known if each.api_version == version)
        raise ClaimRefused(f"opaque config has kind {shown(kind)}, expected one of {names}")
    if unknown_fields == "forbid":
        refuse_duplicates(parameters)
    fields = {name: value for name, value in parameters.items() if name not in ("apiVersion", "kind")}
    return decode_as(found, fields, unknown_fields=unknown_fields)
