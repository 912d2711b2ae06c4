"""The program nvidia-cdi-hook, which container runtimes of the host call by the path that a CDI spec says."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Final

from claimwright.dra.files import write_atomically
from claimwright.driver.driver_root import DriverRoot
from claimwright.driver.settings import PluginSettings

_OWN_HOOK: Final = Path("/usr/bin/nvidia-cdi-hook")


def own_hook(settings: PluginSettings, root: DriverRoot) -> PurePosixPath | None:
    """Return the hook as the host calls it: as told, our image's own copied to the host, or the root's."""
    if settings.nvidia_cdi_hook_path is not None:
        return settings.nvidia_cdi_hook_path
    if _OWN_HOOK.is_file():
        copy = settings.plugin_dir / _OWN_HOOK.name
        write_atomically(copy, _OWN_HOOK.read_bytes(), mode=0o755, durable=False)
        return PurePosixPath(copy)
    found = root.program(_OWN_HOOK.name)
    return None if found is None else root.host_path(found.inside)
