"""DeviceClasses as values (resource.k8s.io/v1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DeviceClass:
    """A category of devices: CEL selectors that must all hold, and configs as (driver, parameters)."""

    name: str
    selectors: tuple[str, ...] = ()
    configs: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    extended_resource_name: str | None = None

    @classmethod
    def from_object(cls, device_class: Mapping[str, Any]) -> DeviceClass:
        """Read a DeviceClass object."""
        spec = device_class.get("spec") or {}
        opaque = [item["opaque"] for item in spec.get("config") or () if item.get("opaque")]
        return cls(
            name=device_class["metadata"]["name"],
            selectors=tuple(
                item["cel"]["expression"] for item in spec.get("selectors") or () if item.get("cel")
            ),
            configs=tuple((item["driver"], item.get("parameters") or {}) for item in opaque),
            extended_resource_name=spec.get("extendedResourceName"),
        )

    def to_object(self) -> dict[str, Any]:
        """Write a DeviceClass object."""
        spec: dict[str, Any] = {}
        if self.selectors:
            spec["selectors"] = [{"cel": {"expression": expression}} for expression in self.selectors]
        if self.configs:
            spec["config"] = [
                {"opaque": {"driver": driver, "parameters": dict(parameters)}}
                for driver, parameters in self.configs
            ]
        if self.extended_resource_name:
            spec["extendedResourceName"] = self.extended_resource_name
        return {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "DeviceClass",
            "metadata": {"name": self.name},
            "spec": spec,
        }
