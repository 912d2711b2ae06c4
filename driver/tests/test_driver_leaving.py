"""What a driver that ends leaves in its folder, and that the next one gets the folder for itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from claimwright.driver.errors import NodeUnusable
from claimwright.driver.folder_lock import FolderLock


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


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(NodeUnusable, match=r"plugin folder .*file/plugin cannot be used"):
        await FolderLock(tmp_path / "file" / "plugin").acquire(timeout_seconds=1)
