"""Feature gates: the community driver's names, stages and defaults, read from `A=true,B=false`; VGPUSupport is our own.

All may be on at once. The community driver refuses some pairs (dynamic MIG with passthrough, MPS or health checks);
here what excludes what is a matter of one GPU's state, not of the node's configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from claimwright.driver.errors import NodeUnusable

DEFAULTS: Mapping[str, bool] = MappingProxyType(
    {
        "ComputeDomainCliques": True,
        "ConsumableShares": False,
        "CrashOnNVLinkFabricErrors": True,
        "DRAListTypeAttributes": False,
        "DeviceMetadata": False,
        "DynamicMIG": False,
        "FabricManagerPartitioning": False,
        "HostManagedIMEXDaemon": False,
        "IMEXDaemonsWithDNSNames": True,
        "MPSSupport": False,
        "NVMLDeviceHealthCheck": False,
        "PassthroughSupport": False,
        "TimeSlicingSettings": False,
        "VGPUSupport": False,
    }
)
IMPLEMENTED = frozenset(
    {
        "ConsumableShares",
        "DRAListTypeAttributes",
        "DeviceMetadata",
        "DynamicMIG",
        "FabricManagerPartitioning",
        "HostManagedIMEXDaemon",
        "MPSSupport",
        "NVMLDeviceHealthCheck",
        "PassthroughSupport",
        "TimeSlicingSettings",
        "VGPUSupport",
    }
)
# Gates of the logging library that the community driver accepts; harmless here.
_LOGGING = frozenset({"ContextualLogging", "LoggingAlphaOptions", "LoggingBetaOptions"})
_ALPHA = frozenset(name for name, on in DEFAULTS.items() if not on)
_BETA = frozenset(DEFAULTS) - _ALPHA
_GROUPS = {"AllAlpha": _ALPHA, "AllBeta": _BETA}
_NEEDS = (("ComputeDomainCliques", "IMEXDaemonsWithDNSNames"),)


@dataclass(frozen=True)
class FeatureGates:
    """Every gate's value; an unknown gate does not exist."""

    values: Mapping[str, bool] = field(default_factory=lambda: DEFAULTS)

    @classmethod
    def parse(cls, text: str) -> FeatureGates:
        """Read `A=true,B=false,`; NodeUnusable names the first entry that is wrong."""
        asked = [_entry(item.strip()) for item in text.split(",") if item.strip()]
        groups = {name: on for group, on in asked for name in _GROUPS.get(group, ())}
        single = {name: on for name, on in asked if name in DEFAULTS}
        gates = cls(MappingProxyType({**DEFAULTS, **groups, **single}))
        gates._check()
        return gates

    def __getitem__(self, name: str) -> bool:
        """Tell whether the gate is on."""
        return self.values[name]

    def spelled(self) -> str:
        """Spell the gates that are not at their defaults as `parse` reads them."""
        changed = (name for name in sorted(self.values) if self.values[name] != DEFAULTS[name])
        return ",".join(f"{name}={str(self.values[name]).lower()}" for name in changed)

    def on_but_missing(self) -> tuple[str, ...]:
        """Return the gates that were switched on and that this version does nothing for."""
        return tuple(
            name for name, on in self.values.items() if on and not DEFAULTS[name] and name not in IMPLEMENTED
        )

    def _check(self) -> None:
        for one, needed in _NEEDS:
            if self[one] and not self[needed]:
                raise NodeUnusable(f"feature gate {one} needs {needed}: switch both on or both off")


def _entry(text: str) -> tuple[str, bool]:
    name, _, value = text.partition("=")
    if name not in DEFAULTS and name not in _LOGGING and name not in _GROUPS:
        raise NodeUnusable(f"unknown feature gate {name!r}; known: {', '.join(sorted(DEFAULTS))}")
    if value.lower() not in ("true", "false"):
        raise NodeUnusable(f"feature gate {text!r}: expected {name}=true or {name}=false")
    return name, value.lower() == "true"
