"""Giving functions of the PCI bus to drivers, through sysfs (Documentation/ABI/testing/sysfs-bus-pci).

A function is named for one driver (driver_override) before its present driver lets go, so that at no moment another
driver may take it, and whoever looks can tell where it was to go. Letting go may wait for a user of the device, and
the kernel gives no deadline: it is done aside, and whoever comes later finds it still at work.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import PurePosixPath
from typing import Final

from claimwright.driver.errors import StepFailed
from claimwright.driver.inventory import PCI_DEVICES, driver_of
from claimwright.driver.ports import Host

logger = logging.getLogger(__name__)
DRIVERS: Final = PurePosixPath("/sys/bus/pci/drivers")
LET_GO_SECONDS: Final = 20.0
_NO_OVERRIDE: Final = ("", "(null)")


class PciDrivers:
    """Changes drivers of functions, one change at a time per function."""

    def __init__(self, host: Host, *, let_go_seconds: float = LET_GO_SECONDS) -> None:
        self._host = host
        self._let_go_seconds = let_go_seconds
        self._leaving: dict[str, _Letting] = {}

    def driver(self, address: str) -> str | None:
        """Return the driver that holds a function now."""
        return driver_of(self._host, address)

    def override(self, address: str) -> str | None:
        """Return the one driver that may take the function; None when all may that match it."""
        text = self._host.read_text(PCI_DEVICES / address / "driver_override")
        return None if text is None or text in _NO_OVERRIDE else text

    def is_loaded(self, driver: str) -> bool:
        """Tell whether a driver is there."""
        return self._host.kind(DRIVERS / driver / "bind") is not None

    def give(self, address: str, driver: str) -> None:
        """Give a function to a driver, from wherever it is between two; StepFailed tells what is in the way."""
        self.check_settled(address)
        if self.driver(address) == driver:
            return
        self.name_for(address, driver)
        self.let_go(address)
        self._write(DRIVERS / driver / "bind", address)
        if self.driver(address) != driver:
            raise StepFailed(
                f"PCI function {address}: driver {driver} did not take it, and the kernel says no more"
            )

    def name_for(self, address: str, driver: str | None) -> None:
        """Let only `driver` take the function, or with None any that matches it."""
        if self.override(address) != driver:
            self._write(PCI_DEVICES / address / "driver_override", f"{driver or ''}\n")

    def let_go(self, address: str) -> None:
        """Take a function from its driver; StepFailed when that takes too long, and then goes on by itself."""
        self.check_settled(address)
        driver = self.driver(address)
        if driver is None:
            return
        letting = _Letting(self._host, DRIVERS / driver / "unbind", address)
        self._leaving[address] = letting
        letting.start()
        letting.join(self._let_go_seconds)
        self.check_settled(address)
        if letting.error is not None:
            raise _explained(DRIVERS / driver / "unbind", address, letting.error)

    def check_settled(self, address: str) -> None:
        """StepFailed while a driver still is letting go of the function: any write would wait with it."""
        letting = self._leaving.get(address)
        if letting is None:
            return
        if letting.is_alive():
            raise StepFailed(
                f"PCI function {address}: its driver {letting.path.parent.name} has not let go of it yet, because "
                "somebody uses the device; it goes on as soon as that ends"
            )
        self._leaving.pop(address, None)

    def _write(self, path: PurePosixPath, text: str) -> None:
        try:
            self._host.write_text(path, text)
        except OSError as error:
            raise _explained(path, text.strip(), error) from error


class _Letting(threading.Thread):
    """One driver letting go of one function; a daemon, since it may never end."""

    def __init__(self, host: Host, path: PurePosixPath, address: str) -> None:
        super().__init__(name=f"unbind {address}", daemon=True)
        self.path = path
        self.error: OSError | None = None
        self._host = host
        self._address = address

    def run(self) -> None:
        try:
            self._host.write_text(self.path, self._address)
        except OSError as error:
            self.error = error
        except BaseException:
            logger.exception("unbinding %s", self._address)
            self.error = OSError("see the log")


def _explained(path: PurePosixPath, text: str, error: OSError) -> StepFailed:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return StepFailed(f"the kernel refused {text!r} in {path}: {reason}; see the kernel's log (dmesg)")
