"""VgpuDeviceConfig: what a claim may ask of a vGPU. The community driver has none: group and kind are our own."""

from __future__ import annotations

from typing import ClassVar, Final

import pydantic

from claimwright.driver.configs.decoding import Config
from claimwright.driver.configs.vfio import BACKEND_POLICIES, IommuConfig
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.quoting import quoted

OWN_API_VERSION: Final = "gpu.claimwright.dev/v1alpha1"
ANY_SIZE, EQUAL_SIZE, MIXED_SIZE = "Any", "EqualSize", "MixedSize"
SIZE_POLICIES: Final = (ANY_SIZE, EQUAL_SIZE, MIXED_SIZE)


class VgpuDeviceConfig(Config):
    """Configuration of a vGPU."""

    api_version: ClassVar[str] = OWN_API_VERSION
    device_type: ClassVar[str] = "vgpu"

    iommu: IommuConfig | None = None
    size_policy: str = pydantic.Field(
        default=ANY_SIZE,
        description=(
            "EqualSize insists on a GPU whose vGPUs are all of one size, MixedSize on one that allows several. Which "
            "of the two a GPU does is its administrator's choice."
        ),
        json_schema_extra={"enum": list(SIZE_POLICIES)},
    )

    def check(self, gates: FeatureGates) -> None:  # noqa: ARG002  the gate decides what is offered
        """Refuse unknown policies; ClaimRefused names the field."""
        if self.size_policy not in SIZE_POLICIES:
            raise ClaimRefused(
                f"sizePolicy: unknown size policy {quoted(self.size_policy)}, supported: {', '.join(SIZE_POLICIES)}"
            )
        if self.iommu is not None and self.iommu.backend_policy not in BACKEND_POLICIES:
            raise ClaimRefused(
                f"iommu.backendPolicy: unknown IOMMU backend policy {quoted(self.iommu.backend_policy)}, "
                f"supported: {', '.join(BACKEND_POLICIES)}"
            )

    def spelled(self) -> str:
        """Return nothing: each share of a type is a vGPU of its own, and one's config does not concern the others."""
        return ""
