"""The driver's last act on a node: one that holds no claim and knows of no fault leaves no file behind.

Its state is then next to nothing, so a restart loses little by it (the best that was seen of each GPU is learned
anew), and an uninstalled driver needs nobody to sweep after it.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from claimwright.dra.plugin.leadership import LEADER_FILE
from claimwright.driver import custody, folder_lock, journal, known_gpus, recent_errors
from claimwright.driver.settings import GpuPluginSettings, PluginSettings

logger = logging.getLogger(__name__)
HOOK = "nvidia-cdi-hook"
_EVERY_PLUGIN = (HOOK, recent_errors.NAME, folder_lock.NAME, custody.QUEUE, LEADER_FILE)


def leave_gpus(settings: GpuPluginSettings) -> None:
    """Leave, if no fault of a GPU is remembered."""
    try:
        if _is_well(settings.health_file):
            leave(settings, settings.health_file, settings.plugin_dir / known_gpus.NAME)
    except (OSError, ValueError) as error:
        logger.warning("%s stays: %s", settings.plugin_dir, error)


def leave(settings: PluginSettings, *others: Path) -> None:
    """Remove the driver's files, and `others`, when nothing else is in their folder; the caller holds its lock.

    Whatever is not known here stays, and with it the journal: another instance serves when its socket is there, and a
    checkpoint of the community driver would be read again by a start that finds no journal. Who waits for the
    lock finds its file gone, and makes a new one.
    """
    folder = settings.plugin_dir
    own = [settings.journal, *others, *(folder / name for name in _EVERY_PLUGIN)]
    try:
        if _is_empty(settings.journal, settings.driver) and _files(folder) <= set(own):
            for path in own:
                path.unlink(missing_ok=True)
            _remove_folders(folder)
    except (OSError, ValueError, journal.CorruptJournal) as error:
        logger.warning("%s stays: %s", folder, error)


def _is_empty(path: Path, driver: str) -> bool:
    loaded = journal.load(path, driver)
    return loaded is None or not loaded.entries


def _is_well(path: Path) -> bool:
    """Say whether no XID is remembered: a GPU that had one must not be offered as a sound one by the next start."""
    return not path.exists() or not json.loads(path.read_text(encoding="utf-8")).get("xids")


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


def _remove_folders(folder: Path) -> None:
    """Remove a folder of nothing but folders, such as those that metadata of claims were in."""
    for inside, _, _ in os.walk(folder, topdown=False):
        Path(inside).rmdir()
