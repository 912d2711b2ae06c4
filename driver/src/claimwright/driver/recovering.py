"""Where the plugin begins: what the journal remembers, set against the node, before anybody is served."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from claimwright.dra.kube import Kube
from claimwright.driver.entries import Entry
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.journal import Journal
from claimwright.driver.machine import Machine
from claimwright.driver.ports import Clock, Host
from claimwright.driver.restoring import Plans, Restorer, TakeOver, report_corruption
from claimwright.driver.settings import PluginSettings
from claimwright.driver.sweeping import Sweeper
from claimwright.driver.tools.claim_spec import kind_of

_BOOT_ID: Final = PurePosixPath("/proc/sys/kernel/random/boot_id")


class Outside(Protocol):
    """What of the world outside is looked at."""

    @property
    def host(self) -> Host:
        """The host's files."""
        ...

    @property
    def kube(self) -> Kube:
        """The API server."""
        ...

    @property
    def clock(self) -> Clock:
        """Time."""
        ...


def boot_id(doors: Outside) -> str:
    """Return what is another after each reboot."""
    return doors.host.read_text(_BOOT_ID) or ""


async def remembered(
    settings: PluginSettings,
    doors: Outside,
    planner: Plans,
    take_over: TakeOver | None = None,
    *,
    over_boots: bool = False,
) -> tuple[Journal, Mapping[str, Entry]]:
    """Remember, and open the journal anew with what is still true; `over_boots` as in Restorer."""
    boot = boot_id(doors)
    restorer = Restorer(
        settings.journal, settings.cdi_root, boot, planner, doors.kube, doors.clock, take_over, over_boots
    )
    known = await restorer.remember()
    if known.problem is not None:
        now = doors.clock.now()
        await asyncio.to_thread(
            report_corruption, doors.kube, planner.driver, settings.node_name, known.problem, now
        )
    entries = tuple(known.entries.values())
    return _open_journal(settings.journal, planner.driver, boot, entries), known.entries


async def recover(settings: PluginSettings, doors: Outside, machine: Machine) -> None:
    """Finish or roll back what was interrupted, and remove CDI specs that no claim owns."""
    await machine.recover()
    kind = kind_of(settings.driver)
    Sweeper(machine, doors.kube, settings.cdi_root, doors.clock, kind=kind).remove_orphans()


def _open_journal(path: Path, driver: str, boot_id: str, entries: Sequence[Entry]) -> Journal:
    try:
        return Journal.create(path, driver=driver, boot_id=boot_id, entries=entries)
    except OSError as error:
        raise NodeUnusable(f"journal {path} cannot be written: {error.strerror}; free space there") from error
