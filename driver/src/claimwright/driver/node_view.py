"""The node as the commands see it that only look: nothing here changes it or disturbs a running driver."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from claimwright.driver import journal
from claimwright.driver.adapters import HostTree, NvmlLibrary, NvmlSession
from claimwright.driver.driver_root import DriverRoot
from claimwright.driver.entries import Entry
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.inventory import Inventory, IsOwn, IsOwnVgpu, discover
from claimwright.driver.journal import CorruptJournal
from claimwright.driver.settings import GPU_DRIVER

# A reader may see half of what a running driver is just writing; a moment later it is whole.
_JOURNAL_TRIES: Final = 4
_JOURNAL_WAIT_SECONDS: Final = 0.05


@dataclass(frozen=True)
class NodePaths:
    """Where things are on this node, as the flags of `gpu-plugin` say it."""

    driver_root_on_host: PurePosixPath
    container_driver_root: Path
    host_root: Path
    cdi_root: Path
    plugins_dir: Path
    registry_dir: Path

    @property
    def plugin_dir(self) -> Path:
        """The folder of the driver's sockets and state."""
        return self.plugins_dir / GPU_DRIVER

    @property
    def driver_root(self) -> DriverRoot:
        """The driver installation."""
        return DriverRoot.choose(self.driver_root_on_host, self.container_driver_root)


def read_inventory(
    paths: NodePaths,
    is_own: IsOwn = lambda _gpu, _partition: False,
    is_own_vgpu: IsOwnVgpu | None = None,
) -> Inventory:
    """Read the GPUs now, and their vGPUs if they are asked for; NodeUnusable when driver or NVML are not usable."""
    session = NvmlSession(lambda: paths.driver_root.nvml_library().readable)
    return discover(NvmlLibrary(session), HostTree(paths.host_root), is_own, is_own_vgpu)


def read_claims(paths: NodePaths) -> Mapping[str, Entry]:
    """Return the claims that this node holds; NodeUnusable when the journal cannot be read."""
    path = paths.plugin_dir / "claims.journal"
    for attempt in range(1, _JOURNAL_TRIES + 1):
        try:
            loaded = journal.load(path, GPU_DRIVER)
        except OSError as error:
            raise NodeUnusable(f"journal {path} cannot be read: {error.strerror}") from error
        except CorruptJournal as error:
            if attempt == _JOURNAL_TRIES:
                raise NodeUnusable(
                    f"{error}; a restart of the driver sets it aside and rebuilds it"
                ) from error
            time.sleep(_JOURNAL_WAIT_SECONDS)
        else:
            return {} if loaded is None else loaded.entries
    raise AssertionError("the last attempt returns or raises")
