"""A GPU on the driver that hands it to virtual machines, as a step; and back to the driver that it came from.

What of the GPU's card is in its IOMMU group goes with it, since a group belongs to one user as a whole. Each function
goes back to where it was found: what an administrator had put on vfio-pci stays there. A function that no driver holds
is what a crash or a failure leaves between two drivers, and is taken up both ways.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from claimwright.driver.errors import StepFailed, StepRefused
from claimwright.driver.inventory import PciFunction, read_function
from claimwright.driver.inventory.functions import read_iommu
from claimwright.driver.inventory.vfio_drivers import is_vfio
from claimwright.driver.inventory.viability import companions, obstacle
from claimwright.driver.ports import Host
from claimwright.driver.steps import Probe, Step
from claimwright.driver.tools.device_users import DeviceUsers, listing
from claimwright.driver.tools.pci_drivers import PciDrivers
from claimwright.driver.tools.vfio_modules import VfioModules

logger = logging.getLogger(__name__)
TOOL: Final = "vfio-bind"
NVIDIA_DRIVER: Final = "nvidia"
# A process that just ended closes its files within this; who still uses the GPU then is asked to stop by name.
PATIENCE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.05


def vfio_bind(address: str) -> Step:
    """Have the GPU on its VFIO driver."""
    return Step(TOOL, {"gpu": address})


@dataclass(frozen=True)
class _Found:
    """A function as it was before: its driver and its driver_override."""

    address: str
    driver: str | None
    override: str | None


class VfioBindTool:
    """Moves GPUs between NVIDIA's driver (any of `native`) and VFIO's."""

    name = TOOL
    visible = True
    recorded = True
    refreshes = False
    quick = False

    def __init__(
        self,
        host: Host,
        drivers: PciDrivers,
        modules: VfioModules,
        users: DeviceUsers,
        *,
        native: Sequence[str] = (NVIDIA_DRIVER,),
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._host = host
        self._drivers = drivers
        self._modules = modules
        self._users = users
        self._native = tuple(native)
        self._patience_seconds = patience_seconds

    def found(self, step: Step) -> Mapping[str, Any]:
        """Remember driver and override of each function that moves, and choose the driver to move to."""
        gpu = self._gpu(step)
        target = gpu.driver if is_vfio(gpu.driver) else self._modules.driver_for(gpu.modalias)
        functions = [
            asdict(_Found(each.address, each.driver, self._drivers.override(each.address)))
            for each in (*companions(gpu), gpu)
        ]
        return {"driver": target, "functions": functions}

    def do(self, step: Step) -> None:
        """Move them; StepRefused, with everything as it was, names who or what is in the way."""
        gpu, target = self._gpu(step), str(step.arguments["driver"])
        self._drivers.check_settled(gpu.address)
        self._refuse_unfit(gpu, target)
        with self._users.aside():
            if not is_vfio(gpu.driver):
                self._refuse_users(gpu)
            for each in _functions(step):
                if not is_vfio(self._drivers.driver(each.address)):
                    self._drivers.give(each.address, target)

    def undo(self, step: Step) -> None:
        """Bring each back; StepFailed while a virtual machine still has the GPU."""
        gpu = self._gpu(step)
        if is_vfio(gpu.driver) and not all(is_vfio(_home(step, each)) for each in _functions(step)):
            users = self._users.of_vfio(gpu.address, gpu.iommu_group)
            if users:
                raise StepFailed(
                    f"GPU {gpu.address} is still in use by {listing(users)}, which must end first"
                )
        for each in reversed(_functions(step)):
            self._bring_back(each, _home(step, each))

    def probe(self, step: Step) -> Probe:
        """Look at the drivers."""
        functions = _functions(step)
        if all(is_vfio(self._drivers.driver(each.address)) for each in functions):
            return Probe.DONE
        untouched = all(
            self._drivers.driver(each.address) == _home(step, each)
            and self._drivers.override(each.address) == each.override
            for each in functions
        )
        return Probe.NOT_DONE if untouched else Probe.PARTLY

    def _gpu(self, step: Step) -> PciFunction:
        found = read_function(self._host, str(step.arguments["gpu"]))
        if found is None:
            raise StepFailed(f"GPU {step.arguments['gpu']} is not on the PCI bus: it was removed or fell off")
        return found

    def _refuse_unfit(self, gpu: PciFunction, target: str) -> None:
        if gpu.driver is not None and not is_vfio(gpu.driver) and gpu.driver not in self._native:
            raise StepRefused(
                f"GPU {gpu.address} is bound to driver {gpu.driver}, which this driver does not take it from: "
                f"expected {' or '.join(self._native)}, {target}, or none"
            )
        problem = obstacle(gpu, read_iommu(self._host))
        if problem is not None:
            raise StepRefused(f"GPU {gpu.address} cannot be passed through: {problem}")
        if gpu.virtual_functions:
            raise StepRefused(
                f"GPU {gpu.address} has {gpu.virtual_functions} SR-IOV virtual functions enabled, which would be torn "
                "away; write 0 into its sriov_numvfs when nobody uses them"
            )

    def _refuse_users(self, gpu: PciFunction) -> None:
        deadline = time.monotonic() + self._patience_seconds
        while users := self._users.of_gpu(gpu.address):
            if time.monotonic() >= deadline:
                raise StepRefused(
                    f"GPU {gpu.address} is in use by {listing(users)}; end that, or let it leave the GPU. "
                    "The kubelet tries again."
                )
            time.sleep(_LOOK_SECONDS)

    def _bring_back(self, was: _Found, home: str | None) -> None:
        now = self._drivers.driver(was.address)
        if now is not None and now != home and not is_vfio(now):
            logger.warning("PCI function %s: driver %s took it; it stays there", was.address, now)
        elif home is None:
            self._drivers.let_go(was.address)
        elif now != home and self._drivers.is_loaded(home):
            self._drivers.give(was.address, home)
        elif now != home:
            logger.warning("PCI function %s: its driver %s is not loaded; it has none now", was.address, home)
            self._drivers.let_go(was.address)
        self._drivers.check_settled(was.address)
        self._drivers.name_for(was.address, was.override if was.override in (None, home) else None)


def _home(step: Step, was: _Found) -> str | None:
    """Return the driver that a function goes back to; a GPU without one was lost between two, and gets NVIDIA's."""
    return was.driver or (NVIDIA_DRIVER if was.address == step.arguments["gpu"] else None)


def _functions(step: Step) -> tuple[_Found, ...]:
    """Return what was found, companions first; a claim that was rebuilt without its journal knows the GPU only."""
    remembered = step.arguments.get("functions")
    if remembered is None:
        return (_Found(str(step.arguments["gpu"]), NVIDIA_DRIVER, None),)
    return tuple(_Found(**each) for each in remembered)
