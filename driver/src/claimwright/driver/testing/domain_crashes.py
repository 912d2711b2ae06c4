"""A ComputeDomain plugin that is killed at one point of one claim's life, and what the next one finds.

As `crashes`, for claims that wait for others: a channel's claim waits until the node is ready in its domain, and keeps
the node's label meanwhile, since that is what brings the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from claimwright.dra.claims import Claim
from claimwright.dra.testing import FakeApi
from claimwright.driver.entries import State
from claimwright.driver.errors import NotYet
from claimwright.driver.ports import Finished
from claimwright.driver.testing.crashes import DyingFile, Fate, Killed, Outcome, difference, dying
from claimwright.driver.testing.domain_node import DomainNode, StartedPlugin

DOMAIN: Final = "ring"
WAITING: Final = "Channel of a ComputeDomain, which waits for its daemon"
HOSTED: Final = "Channel of a node whose nvidia-imex is the host's own"
_HOST_MANAGED: Final = ("--imex-mode=hostManaged", "--feature-gates=HostManagedIMEXDaemon=true")
Make = Callable[[DomainNode], Claim]


def _channel(node: DomainNode) -> Claim:
    node.daemon_says(node.domain(DOMAIN))
    return _waiting(node)


def _waiting(node: DomainNode) -> Claim:
    return node.channel("dying", node.domain(DOMAIN))


def _daemon(node: DomainNode) -> Claim:
    return node.daemon("dying", node.domain(DOMAIN))


def _hosted(node: DomainNode) -> Claim:
    node.processes.answers["nvidia-imex-ctl"] = Finished(0, "READY\n")
    return _waiting(node)


SCENARIOS: Final[Mapping[str, Make]] = {
    "Channel of a ComputeDomain": _channel,
    WAITING: _waiting,
    "Daemon of a ComputeDomain": _daemon,
    HOSTED: _hosted,
}


def domain_points(name: str) -> list[str]:
    """Return the points of a scenario in order."""
    with lived(name, fate := Fate()):
        return fate.passed


def domain_outcomes(name: str) -> Iterator[Outcome]:
    """Kill the plugin at every point of a scenario, each time on a fresh node."""
    with lived(name, fate := Fate()) as node:
        before = node.world()  # what a claim leaves that nobody interrupted
    for at, point in enumerate(fate.passed):
        with lived(name, Fate(dies_at=at)) as node:
            state, problem = asyncio.run(_aftermath(node, SCENARIOS[name], before))
        yield Outcome(point, state, problem)


@contextlib.contextmanager
def lived(name: str, fate: Fate) -> Iterator[DomainNode]:
    """Have a node on which a claim lived until its fate."""
    with (
        tempfile.TemporaryDirectory() as folder,
        FakeApi() as api,
        closing(DomainNode(Path(folder), api, flags=_HOST_MANAGED if name == HOSTED else ())) as node,
    ):
        with contextlib.suppress(Killed):
            asyncio.run(_live(node, SCENARIOS[name], fate))
        yield node


async def start_again(node: DomainNode, fate: Fate | None = None) -> StartedPlugin:
    """Start a plugin, which recovers; with a fate it may die of it."""
    if fate is None:
        started = await node.start()
    else:
        started = await node.start(
            wrap=functools.partial(dying, fate=fate), file=functools.partial(DyingFile, fate=fate)
        )
    await started.machine.recover()
    node.sweep(started)
    return started


async def _live(node: DomainNode, make: Make, fate: Fate) -> None:
    """Prepare, repair and release a claim; one that waits is prepared twice, and then its domain is ready."""
    claim = make(node)
    started = await start_again(node, fate)
    try:
        fate.phase = "prepare"
        with contextlib.suppress(NotYet):
            await started.machine.prepare(started.planner.plan(claim))
        fate.check()
        if make is _waiting:
            fate.phase = "prepare again"
            node.daemon_says(node.domain(DOMAIN))
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


async def _aftermath(node: DomainNode, make: Make, before: Mapping[str, Any]) -> tuple[str, str]:
    """Start again, and tell the claim's state and what is wrong; it goes on, or begins anew, and leaves nothing."""
    claim = make(node)
    started = await start_again(node)
    entry = started.machine.entry(claim.uid)
    state = "clean" if entry is None else entry.state.value
    left = difference(before, node.world()) if entry is None else ""
    if left:
        return state, f"is forgotten and left {left}"
    if entry is not None and entry.state not in (State.PREPARED, State.WAITING):
        return state, f"is {state}"
    node.daemon_says(node.domain(DOMAIN))
    prepared = await started.machine.prepare(started.planner.plan(claim))
    if prepared.state is not State.PREPARED:
        return state, f"cannot be prepared: {prepared.state.value}"
    await started.machine.release(claim.uid)
    left = difference(before, node.world())
    return state, left and f"its release left {left}"
