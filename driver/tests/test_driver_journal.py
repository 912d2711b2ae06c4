"""The journal between its loop and its writer thread: order, waiting, failure."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claimwright.driver.entries import State
from claimwright.driver.errors import JournalUnwritable
from claimwright.driver.journal import DiskFile, Journal, reached, released


class GatedFile(DiskFile):
    """Keeps durable writes waiting while the gate is closed, and notes who wrote what."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.full = False
        self.threads: list[str] = []

    def append(self, data: bytes, *, durable: bool) -> None:
        if durable:
            self.waiting.set()
            assert self.gate.wait(10)
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.threads.append(threading.current_thread().name)
        super().append(data, durable=durable)


@pytest.fixture
def file(tmp_path: Path) -> GatedFile:
    return GatedFile(tmp_path / "journal")


@pytest.fixture
async def journal(file: GatedFile) -> AsyncIterator[Journal]:
    opened = Journal(file, driver="d", boot_id="b", entries=())
    yield opened
    file.gate.set()
    await asyncio.to_thread(opened.close)


def _order(file: GatedFile) -> list[str]:
    lines = file.path.read_bytes().rstrip(b"\0").decode().splitlines()[1:]
    return [line.partition('"uid":"')[2].partition('"')[0] for line in lines]


async def _blocked_commit(journal: Journal, file: GatedFile, uid: str) -> asyncio.Task[None]:
    file.gate.clear()
    commit = asyncio.create_task(journal.commit(reached(uid, State.RELEASING)))
    assert await asyncio.to_thread(file.waiting.wait, 10)
    return commit


async def test_a_record_that_nobody_waits_for_is_in_the_file_at_once(
    journal: Journal, file: GatedFile
) -> None:
    journal.post(released("a"))

    assert _order(file) == ["a"]
    assert file.threads == [threading.current_thread().name]


async def test_records_never_overtake_those_on_their_way(journal: Journal, file: GatedFile) -> None:
    first = await _blocked_commit(journal, file, "first")
    journal.post(released("second"))
    third = asyncio.create_task(journal.commit(reached("third", State.RELEASING)))
    await asyncio.sleep(0)
    journal.post(released("fourth"))
    assert not first.done()
    file.gate.set()
    await asyncio.gather(first, third)

    assert _order(file) == ["first", "second", "third", "fourth"]


async def test_a_cancelled_waiter_takes_no_answer_from_the_others(journal: Journal, file: GatedFile) -> None:
    first = await _blocked_commit(journal, file, "first")
    second = asyncio.create_task(journal.commit(reached("second", State.RELEASING)))
    await asyncio.sleep(0)
    first.cancel()
    file.gate.set()

    await asyncio.wait_for(second, 10)

    assert _order(file) == ["first", "second"]


async def test_all_who_wait_hear_that_the_disk_is_full_and_the_next_write_succeeds(
    journal: Journal, file: GatedFile
) -> None:
    file.full = True
    waiting = [journal.commit(reached(uid, State.RELEASING)) for uid in ("a", "b", "c")]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    journal.post(released("d"))
    file.full = False
    await journal.commit(reached("e", State.RELEASING))

    assert [type(answer) for answer in answers] == [JournalUnwritable] * 3
    assert _order(file) == ["e"]
