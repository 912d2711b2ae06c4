"""`kill -9` at each step and each journal write of a channel's and of a daemon's life."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from claimwright.dra.claims import Claim
from claimwright.dra.testing import FakeApi
from claimwright.driver.entries import State
from claimwright.driver.errors import NotYet
from claimwright.driver.testing.crashes import DyingFile, Fate, Killed, dying
from claimwright.driver.testing.domain_node import DomainNode, StartedPlugin


def channel(node: DomainNode) -> Claim:
    domain = node.domain("ring")
    node.daemon_says(domain)
    return node.channel("dying", domain)


def waiting(node: DomainNode) -> Claim:
    return node.channel("dying", node.domain("ring"))


def daemon(node: DomainNode) -> Claim:
    return node.daemon("dying", node.domain("ring"))


async def start(node: DomainNode, fate: Fate | None = None) -> StartedPlugin:
    if fate is None:
        started = await node.start()
    else:
        started = await node.start(
            wrap=functools.partial(dying, fate=fate), file=functools.partial(DyingFile, fate=fate)
        )
    await started.machine.recover()
    node.sweep(started)
    return started


async def live(node: DomainNode, make: Callable[[DomainNode], Claim], fate: Fate) -> None:
    """Prepare, repair and release a claim; one that waits is prepared twice, and then its domain is ready."""
    claim = make(node)
    started = await start(node, fate)
    try:
        fate.phase = "prepare"
        with contextlib.suppress(NotYet):
            await started.machine.prepare(started.planner.plan(claim))
            fate.check()
        if make is waiting:
            fate.check()
            fate.phase = "prepare again"
            node.daemon_says(node.domain("ring"))
            await started.machine.prepare(started.planner.plan(claim))
        fate.check()
        for path in node.cdi.glob(f"*{claim.uid}*"):
            path.unlink()
        fate.phase = "repair"
        await started.machine.prepare(started.planner.plan(claim))
        fate.check()
        fate.phase = "release"
        await started.machine.release(claim.uid)
    finally:
        await asyncio.to_thread(started.journal.close)


def lives(folder: Path, api: FakeApi, make: Callable[[DomainNode], Claim], fate: Fate) -> DomainNode:
    folder.mkdir()
    node = DomainNode(folder, api)
    with contextlib.suppress(Killed):
        asyncio.run(live(node, make, fate))
    return node


async def aftermath(node: DomainNode, claim: Claim, before: Any) -> str:
    """Start again, and return what is wrong then; the claim goes on, or begins anew, and leaves nothing."""
    started = await start(node)
    entry = started.machine.entry(claim.uid)
    if entry is None and node.world() != before:
        return f"is forgotten and left {node.world()}, was {before}"
    if entry is not None and entry.state not in (State.PREPARED, State.WAITING):
        return f"is {entry.state.value}"
    node.daemon_says(node.domain("ring"))
    prepared = await started.machine.prepare(started.planner.plan(claim))
    if prepared.state is not State.PREPARED:
        return f"cannot be prepared: {prepared.state.value}"
    await started.machine.release(claim.uid)
    return "" if node.world() == before else f"its release left {node.world()}, was {before}"


@pytest.mark.slow
@pytest.mark.parametrize("make", [channel, waiting, daemon])
def test_a_plugin_killed_at_any_point_leaves_the_claim_prepared_waiting_or_clean(
    tmp_path: Path, make: Callable[[DomainNode], Claim]
) -> None:
    with FakeApi() as api:
        fate = Fate()
        with closing(lives(tmp_path / "whole", api, make, fate)) as node:
            before, claim = node.world(), make(node)
    assert len(fate.passed) > 8
    for at, point in enumerate(fate.passed):
        with FakeApi() as api, closing(lives(tmp_path / str(at), api, make, Fate(dies_at=at))) as node:
            wrong = asyncio.run(aftermath(node, claim, before))
        assert not wrong, f"killed {point}: the claim {wrong}"


def test_a_plugin_killed_while_it_waits_keeps_the_label_for_the_daemon(tmp_path: Path) -> None:
    with FakeApi() as api:
        fate = Fate()
        with closing(lives(tmp_path / "whole", api, waiting, fate)):
            after = next(at for at, point in enumerate(fate.passed) if point.startswith("prepare again"))
    with FakeApi() as api, closing(lives(tmp_path / "killed", api, waiting, Fate(dies_at=after))) as node:
        label = node.label
        asyncio.run(start(node))
        kept = node.label

    assert label is not None
    assert kept == label
