"""What a driver that ends leaves in its folder, and that the next one gets the folder for itself."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from claimwright.driver.errors import NodeUnusable
from claimwright.driver.folder_lock import FolderLock
from claimwright.driver.leaving import leave_gpus
from claimwright.driver.settings import GPU_DRIVER


async def test_a_lock_whose_file_was_removed_is_taken_anew_by_the_one_who_waited(tmp_path: Path) -> None:
    former, latter, third = (FolderLock(tmp_path / "plugin") for _ in range(3))
    await former.acquire(timeout_seconds=1)
    waiting = asyncio.create_task(latter.acquire(timeout_seconds=10))
    await asyncio.sleep(0)

    former.path.unlink()
    former.path.parent.rmdir()
    former.release()
    await waiting

    with pytest.raises(NodeUnusable, match="another driver"):
        await third.acquire(timeout_seconds=0)
    latter.release()
    await third.acquire(timeout_seconds=1)
    third.release()


def folder_after(tmp_path: Path, **files: str) -> set[str]:
    """Leave a folder with these files; `_` in a name stands for a dot."""
    plugin = tmp_path / "plugins" / GPU_DRIVER
    plugin.mkdir(parents=True)
    (plugin / "driver.lock").touch()
    for name, text in files.items():
        (plugin / name.replace("_", ".")).write_text(text)
    places = SimpleNamespace(
        driver=GPU_DRIVER,
        plugin_dir=plugin,
        journal=plugin / "claims.journal",
        health_file=plugin / "health.json",
    )
    leave_gpus(places)  # type: ignore[arg-type]  what it reads of the settings
    return {path.name for path in plugin.iterdir()} if plugin.exists() else set()


def test_a_sound_node_without_claims_is_left_as_it_was_found(tmp_path: Path) -> None:
    best = json.dumps({"version": 1, "boot": "b", "xids": [], "best": {"0000:21:00.0": {}}})

    assert folder_after(tmp_path, health_json=best) == set()


@pytest.mark.parametrize(
    "files",
    [
        {"health_json": json.dumps({"xids": [{"xid": 79}]})},
        {"health_json": "rubbish"},
        {"checkpoint_json": "{}"},
        {"claims_journal": "rubbish\nrubbish\n"},
    ],
    ids=["an XID", "unreadable health", "somebody else's file", "unreadable journal"],
)
def test_what_the_next_start_must_know_stays(tmp_path: Path, files: dict[str, str]) -> None:
    assert folder_after(tmp_path, **files) == {"driver.lock", *(name.replace("_", ".") for name in files)}


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(NodeUnusable, match=r"plugin folder .*file/plugin cannot be used"):
        await FolderLock(tmp_path / "file" / "plugin").acquire(timeout_seconds=1)
