"""The PCI bus as the kernel keeps it: who is present, who drives whom, IOMMU groups, modules, VFIO.

`Bus` and `BusFunction` are the values, fields of NodeState; the modules `binding`, `presence`, `virtual_functions`,
`loading` and `vfio` hold the rules (drivers/base/bus.c, drivers/pci, drivers/vfio), as functions from a
state to a state that raise KernelRefused with the kernel's errno; `model.operations.bus` is what others call.
"""

from claimwright.emulator.model.bus.drivers import ANY, DRIVERS, DriverSpec, PciId
from claimwright.emulator.model.bus.modules import MODULES, ModuleSpec
from claimwright.emulator.model.bus.values import Bus, BusFunction, Leaving

__all__ = ["ANY", "DRIVERS", "MODULES", "Bus", "BusFunction", "DriverSpec", "Leaving", "ModuleSpec", "PciId"]
