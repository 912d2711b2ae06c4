"""Which kernel driver hands a GPU to virtual machines: vfio-pci, or the variant that a module offers for this GPU.

Modules of variants name the functions that they are for in modules.alias, `alias vfio_pci:v000010DEd00002342…`, since
kernel 5.16; the pattern with the fewest wildcards is the best (Documentation/driver-api/vfio-pci-device-specific-…).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from claimwright.driver.ports import Host

GENERIC: Final = "vfio_pci"
_PREFIX: Final = "alias vfio_pci:"
_DRIVERS: Final = PurePosixPath("/sys/bus/pci/drivers")


def is_vfio(driver: str | None) -> bool:
    """Tell whether a driver is one of the family, by its name, as every variant in the kernel is called."""
    return driver is not None and "vfio" in re.split(r"[-_]", driver)


def module_for(host: Host, modalias: str) -> str:
    """Return the module whose driver suits the function best; `vfio_pci` suits all."""
    candidates = [
        (pattern.count("*"), module)
        for pattern, module in _aliases(host)
        if fnmatch.fnmatchcase(modalias.removeprefix("pci:"), pattern)
    ]
    return min(candidates)[1] if candidates else GENERIC


def driver_of_module(host: Host, module: str) -> str | None:
    """Return the name of a loaded module's driver: spelled as the module, or with dashes; None while not loaded."""
    spellings = (module, module.replace("_", "-"))
    return next((name for name in spellings if host.kind(_DRIVERS / name) is not None), None)


def cannot_load(host: Host, module: str) -> bool:
    """Tell whether the module is neither loaded nor known to the kernel's list of modules, when there is a list."""
    if driver_of_module(host, module) is not None:
        return False
    listed = [host.read_text(_modules(host) / name) for name in ("modules.dep", "modules.builtin")]
    spelled = re.compile(rf"/{module.replace('_', '[-_]')}\.ko")
    return any(listed) and not any(spelled.search(text or "") for text in listed)


def _aliases(host: Host) -> Iterator[tuple[str, str]]:
    text = host.read_text(_modules(host) / "modules.alias") or ""
    for line in text.splitlines():
        if line.startswith(_PREFIX):
            pattern, _, module = line.removeprefix(_PREFIX).partition(" ")
            yield pattern, module.strip()


def _modules(host: Host) -> PurePosixPath:
    release = host.read_text(PurePosixPath("/proc/sys/kernel/osrelease")) or "unknown"
    return PurePosixPath("/lib/modules") / release
