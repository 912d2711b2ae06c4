"""The virtual functions of a GPU as a step: switched on for its first vGPU, off again after its last.

Functions that an administrator switched on stay as they are. Whose they are is found out before the step acts and kept
by the journal: this driver's are those of a GPU that had none, and those that a claim holds as its own already.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from claimwright.driver.errors import StepFailed
from claimwright.driver.holdings import Holdings
from claimwright.driver.inventory import PCI_DEVICES
from claimwright.driver.inventory.vgpus import vgpu_type_on, virtual_functions
from claimwright.driver.ports import Host
from claimwright.driver.steps import Probe, Step

TOOL: Final = "sriov-functions"
_DRIVER: Final = "nvidia"


def sriov_functions(address: str) -> Step:
    """Have the virtual functions of the GPU at a PCI address."""
    return Step(TOOL, {"gpu": address})


class SriovFunctionsTool:
    """Writes `sriov_numvfs`, always all or none (Documentation/PCI/pci-iov-howto)."""

    name = TOOL
    visible = True
    recorded = True
    refreshes = False
    quick = False

    def __init__(self, host: Host, holdings: Holdings) -> None:
        self._host = host
        self._holdings = holdings

    def found(self, step: Step) -> Mapping[str, Any]:
        """Tell whether the functions are, or will be, this driver's."""
        gpu = step.arguments["gpu"]
        held = (each for _, each in self._holdings.steps(TOOL) if each.arguments["gpu"] == gpu)
        return {"own": not self._count(step) or any(map(_is_own, held))}

    def do(self, step: Step) -> None:
        """Switch all of them on unless there are some; StepFailed when the kernel refuses."""
        if self._count(step):
            return
        if not step.arguments.get("own", True):
            raise StepFailed(
                f"GPU {step.arguments['gpu']}: its virtual functions, which this driver did not make, are gone; "
                "switch them on again"
            )
        total = self._host.read_text(self._folder(step) / "sriov_totalvfs")
        if not total or total == "0":
            raise StepFailed(
                f"GPU {step.arguments['gpu']} has no virtual functions; is SR-IOV on in the firmware?"
            )
        self._write(step, total)

    def undo(self, step: Step) -> None:
        """Switch them off, if they are this driver's and nobody has put anything on one of them."""
        if not _is_own(step) or not self._count(step) or self._is_used(step):
            return
        self._write(step, "0")

    def probe(self, step: Step) -> Probe:
        """Count them."""
        return Probe.DONE if self._count(step) else Probe.NOT_DONE

    def _is_used(self, step: Step) -> bool:
        """Whether a function carries a vGPU, or another driver has it."""
        for function in virtual_functions(self._host, step.arguments["gpu"]):
            driver = self._host.read_link(PCI_DEVICES / function / "driver")
            if vgpu_type_on(self._host, function) or (driver and PurePosixPath(driver).name != _DRIVER):
                return True
        return False

    def _count(self, step: Step) -> int:
        text = self._host.read_text(self._folder(step) / "sriov_numvfs")
        return int(text) if text and text.isdecimal() else 0

    def _write(self, step: Step, number: str) -> None:
        try:
            self._host.write_text(self._folder(step) / "sriov_numvfs", number)
        except OSError as error:
            why = "its driver cannot configure SR-IOV" if error.errno == errno.ENOENT else str(error)
            raise StepFailed(
                f"GPU {step.arguments['gpu']}: {number} virtual functions could not be had: {why}"
            ) from error

    @staticmethod
    def _folder(step: Step) -> PurePosixPath:
        return PCI_DEVICES / str(step.arguments["gpu"])


def _is_own(step: Step) -> bool:
    return step.tool == TOOL and bool(step.arguments.get("own", False))
