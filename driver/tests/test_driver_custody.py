"""Two instances on one node: one at a time has it, and gives it to the other without failing a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claimwright.driver.custody import SOCKET, Custody
from claimwright.driver.errors import NodeUnusable, TryAgain
from claimwright.driver.testing import wait_until


class Instance:
    """One instance; `story` is written by all of them."""

    def __init__(self, name: str, folder: Path, story: list[str], *, shared: bool = True) -> None:
        self.name, self.story = name, story
        self.custody = Custody(folder, shared=shared, call_seconds=5)

    async def start(self) -> None:
        await self.custody.begin(timeout_seconds=5)
        self.custody.settle(gain=self.gain, lose=self.lose)

    async def gain(self) -> None:
        self.story.append(f"{self.name} has it")

    async def lose(self) -> None:
        self.story.append(f"{self.name} gives it")

    async def call(self, seconds: float = 0) -> None:
        async with self.custody.held():
            assert self.custody.mine
            self.story.append(f"{self.name} works")
            await asyncio.sleep(seconds)
            self.story.append(f"{self.name} is done")


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Instance, Instance]]:
    story: list[str] = []
    old, new = Instance("old", tmp_path, story), Instance("new", tmp_path, story)
    yield old, new
    await old.custody.end()
    await new.custody.end()


async def test_who_starts_takes_the_node_after_running_calls(pair: tuple[Instance, Instance]) -> None:
    old, new = pair
    await old.start()
    working = asyncio.create_task(old.call(0.1))
    await wait_until(lambda: old.story)

    await new.start()

    assert old.story == ["old works", "old is done", "old gives it"]
    assert (old.custody.mine, new.custody.mine) == (False, True)
    await working


async def test_who_is_called_takes_it_back(pair: tuple[Instance, Instance]) -> None:
    old, new = pair
    await old.start()
    await new.start()

    await old.call()

    assert old.story == ["old gives it", "new gives it", "old has it", "old works", "old is done"]


async def test_calls_of_both_at_once_are_all_served(pair: tuple[Instance, Instance]) -> None:
    old, new = pair
    await old.start()
    await new.start()

    await asyncio.gather(*((old, new)[number % 2].call(0.01) for number in range(12)))

    assert old.story.count("old is done") == old.story.count("new is done") == 6


async def test_one_that_ends_leaves_it_to_the_other(pair: tuple[Instance, Instance]) -> None:
    old, new = pair
    await old.start()
    await new.start()
    await new.custody.end()

    await old.call()

    assert old.custody.mine


async def test_a_socket_that_a_killed_one_left_is_in_nobodys_way(
    tmp_path: Path, pair: tuple[Instance, Instance]
) -> None:
    old, _ = pair
    server = await asyncio.start_unix_server(lambda *_: None, tmp_path / SOCKET)
    server.close()
    assert (tmp_path / SOCKET).exists()

    await old.start()
    await old.call()


async def test_one_that_cannot_go_on_gives_the_node_free_and_says_why(
    pair: tuple[Instance, Instance],
) -> None:
    old, new = pair
    await old.start()
    await new.start()

    async def fail() -> None:
        raise TryAgain("the journal is on a full disk")

    old.custody._gain = fail

    with pytest.raises(TryAgain, match="full disk"):
        await old.call()
    await new.call()


async def test_one_that_gives_nothing_is_named(tmp_path: Path) -> None:
    story: list[str] = []
    deaf, new = Instance("deaf", tmp_path, story, shared=False), Instance("new", tmp_path, story)
    await deaf.start()
    try:
        with pytest.raises(NodeUnusable, match=r"another driver \(process \d+\) uses"):
            await new.custody.begin(timeout_seconds=0.1)
    finally:
        await deaf.custody.end()
