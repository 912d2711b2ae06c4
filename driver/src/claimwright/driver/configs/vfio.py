"""VfioDeviceConfig: what a claim may ask of a GPU that is passed through to a virtual machine."""

from __future__ import annotations

from typing import ClassVar

import pydantic

from claimwright.driver.configs.decoding import Block, Config
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.quoting import quoted

BACKEND_POLICIES = ("LegacyOnly", "PreferIommuFD")


class IommuConfig(Block):
    """Which kernel interface carries the device, and whether its API device node is injected."""

    backend_policy: str = pydantic.Field(
        default="LegacyOnly", json_schema_extra={"enum": list(BACKEND_POLICIES)}
    )
    enable_api_device: bool | None = pydantic.Field(default=None, alias="enableAPIDevice")


class VfioDeviceConfig(Config):
    """Configuration of a passed-through GPU."""

    device_type: ClassVar[str] = "vfio"

    iommu: IommuConfig | None = None

    def check(self, gates: FeatureGates) -> None:  # noqa: ARG002  the three kinds are checked alike
        """Refuse an unknown backend policy."""
        if self.iommu is not None and self.iommu.backend_policy not in BACKEND_POLICIES:
            raise ClaimRefused(
                f"iommu.backendPolicy: unknown IOMMU backend policy {quoted(self.iommu.backend_policy)}, "
                f"supported: {', '.join(BACKEND_POLICIES)}"
            )
