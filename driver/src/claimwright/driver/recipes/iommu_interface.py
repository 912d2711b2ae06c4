"""Which of the kernel's two interfaces to the IOMMU a virtual machine gets: IOMMUFD, or VFIO's legacy groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

if TYPE_CHECKING:
    from claimwright.driver.configs.vfio import IommuConfig

_PREFER_IOMMUFD: Final = "PreferIommuFD"


class IommuInterface(TypedDict):
    """What the makers of device nodes take."""

    prefer_iommufd: bool
    api_device: bool


def iommu_interface(iommu: IommuConfig | None) -> IommuInterface:
    """Read the config; without one it is the legacy group, and no node that opens the interface itself."""
    return {
        "prefer_iommufd": iommu is not None and iommu.backend_policy == _PREFER_IOMMUFD,
        "api_device": iommu is not None and bool(iommu.enable_api_device),
    }
