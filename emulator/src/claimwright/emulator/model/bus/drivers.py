"""PCI drivers that an emulated node can have, and which functions each accepts (pci_match_device, pci-driver.c)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from claimwright.emulator.model.pci import PciIdentity

ANY = 0xFFFFFFFF  # PCI_ANY_ID
_NVIDIA, _MELLANOX = 0x10DE, 0x15B3
_EVERY_BIT = 0xFFFFFF


@dataclass(frozen=True, slots=True)
class PciId:
    """`struct pci_device_id`: ids that match exactly or any, and the bits of the class that count."""

    vendor: int = ANY
    device: int = ANY
    subsystem_vendor: int = ANY
    subsystem_device: int = ANY
    class_code: int = 0
    class_mask: int = 0
    driver_data: int = 0

    def matches(self, identity: PciIdentity) -> bool:
        """Tell whether a function has these ids."""
        return (
            self.vendor in (ANY, identity.vendor)
            and self.device in (ANY, identity.device)
            and self.subsystem_vendor in (ANY, identity.subsystem_vendor)
            and self.subsystem_device in (ANY, identity.subsystem_device)
            and not (self.class_code ^ identity.class_code) & self.class_mask
        )


@dataclass(frozen=True, slots=True)
class DriverSpec:
    """One driver: `override_only` ids count only when the function's driver_override names it.

    `vfio` drivers make VFIO devices; `sriov` ones have a sriov_configure; with `managed_dma` a bound function does
    not stand in the way of its group's users (driver_managed_dma).
    """

    name: str
    module: str
    ids: tuple[PciId, ...] = ()
    override_only: bool = False
    vfio: bool = False
    sriov: bool = False
    managed_dma: bool = False

    def accepts(
        self, identity: PciIdentity, override: str | None = None, dynamic: Iterable[PciId] = ()
    ) -> bool:
        """Tell whether the driver matches: dynamic ids first, then its table, then an override that names it."""
        if override is not None:
            return override == self.name
        if any(each.matches(identity) for each in dynamic):
            return True
        return not self.override_only and any(each.matches(identity) for each in self.ids)


def _of_class(code: int, vendor: int = ANY) -> PciId:
    return PciId(vendor, class_code=code, class_mask=_EVERY_BIT)


_SPECS = (
    DriverSpec("pcieport", "", (_of_class(0x060400),), managed_dma=True),
    DriverSpec("nvidia", "nvidia", (_of_class(0x030000, _NVIDIA), _of_class(0x030200, _NVIDIA)), sriov=True),
    DriverSpec("nvidia-nvswitch", "nvidia", (_of_class(0x068000, _NVIDIA),)),
    DriverSpec("mlx5_core", "mlx5_core", (PciId(_MELLANOX),), sriov=True),
    DriverSpec("snd_hda_intel", "snd_hda_intel", (_of_class(0x040300),)),
    DriverSpec("pci-stub", "", managed_dma=True),
    DriverSpec(
        "vfio-pci", "vfio_pci", (PciId(),), override_only=True, vfio=True, sriov=True, managed_dma=True
    ),
    DriverSpec(
        "nvgrace_gpu_vfio_pci",
        "nvgrace_gpu_vfio_pci",
        tuple(PciId(_NVIDIA, device) for device in (0x2342, 0x2345, 0x2348, 0x2941, 0x31C2)),
        override_only=True,
        vfio=True,
        managed_dma=True,
    ),
)
DRIVERS = {spec.name: spec for spec in _SPECS}
