"""The kernel module that hands a GPU to virtual machines, loaded when it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claimwright.driver.errors import StepFailed
from claimwright.driver.inventory.vfio_drivers import driver_of_module, module_for
from claimwright.driver.ports import Host, Processes

_LOAD_SECONDS: Final = 15.0


@dataclass(frozen=True)
class VfioModules:
    """Chooses and loads modules of the host whose files are below `root`."""

    host: Host
    processes: Processes
    root: Path

    def driver_for(self, modalias: str) -> str:
        """Return the driver that suits the function best, its module loaded; StepFailed when that does not load."""
        module = module_for(self.host, modalias)
        return driver_of_module(self.host, module) or self._loaded(module)

    def _loaded(self, module: str) -> str:
        command = ["modprobe", module]
        if self.root != Path("/"):
            command = ["chroot", str(self.root), *command]
        ended = self.processes.run(command, environment={}, timeout_seconds=_LOAD_SECONDS)
        driver = driver_of_module(self.host, module)
        if driver is None:
            raise StepFailed(
                f"kernel module {module} is not loaded, and loading it ({' '.join(command)}) ended with status "
                f"{ended.status}: {ended.output.strip() or 'no word'}. Load it on the node; the kubelet tries again."
            )
        return driver
