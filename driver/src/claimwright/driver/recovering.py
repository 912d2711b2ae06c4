"""Where the plugin begins: what the journal remembers, set against the node, before anybody is served."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from claimwright.driver.doors import Doors
from claimwright.driver.entries import Entry
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.journal import Journal
from claimwright.driver.machine import Machine
from claimwright.driver.planning import Planner
from claimwright.driver.repertoire import mps_tool
from claimwright.driver.restoring import Restorer, report_corruption
from claimwright.driver.settings import GPU_DRIVER, GpuPluginSettings
from claimwright.driver.steps import Toolbox
from claimwright.driver.sweeping import Sweeper
from claimwright.driver.tools import community_mps, mps_daemon

_BOOT_ID: Final = PurePosixPath("/proc/sys/kernel/random/boot_id")


def boot_id(doors: Doors) -> str:
    """Return what is another after each reboot."""
    return doors.host.read_text(_BOOT_ID) or ""


async def remembered(
    settings: GpuPluginSettings, doors: Doors, planner: Planner, able: Toolbox
) -> tuple[Journal, Mapping[str, Entry]]:
    """Remember, and open the journal anew with what is still true."""
    boot = boot_id(doors)
    restorer = Restorer(
        settings.journal, settings.cdi_root, boot, planner, doors.kube, doors.clock, able.before
    )
    known = await restorer.remember()
    if known.problem is not None:
        now = doors.clock.now()
        await asyncio.to_thread(report_corruption, doors.kube, settings.node_name, known.problem, now)
    entries = tuple(known.entries.values())
    return _open_journal(settings.journal, boot, entries), known.entries


async def recover(settings: GpuPluginSettings, doors: Doors, machine: Machine) -> None:
    """Finish or roll back what was interrupted, and remove what no claim owns."""
    await machine.recover()
    steps = [step for entry in machine.entries for step in entry.steps]
    known = {*map(mps_daemon.group_of, steps), *map(community_mps.daemon_of, steps)}
    await asyncio.to_thread(mps_tool(settings, doors).sweep, known)
    Sweeper(machine, doors.kube, settings.cdi_root, doors.clock).remove_orphans()


def _open_journal(path: Path, boot_id: str, entries: Sequence[Entry]) -> Journal:
    try:
        return Journal.create(path, driver=GPU_DRIVER, boot_id=boot_id, entries=entries)
    except OSError as error:
        raise NodeUnusable(f"journal {path} cannot be written: {error.strerror}; free space there") from error
