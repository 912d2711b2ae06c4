"""Keeping nvidia-imex (quirk 21): when it is started, signalled, restarted, and what it finds in its files."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claimwright.driver.computedomain.daemon.keeping import ImexKeeper, Places
from claimwright.driver.computedomain.daemon.settings import DaemonSettings
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.testing import HandClock, ScriptedImex

OWN, PEER, OTHER, NOBODY = "10.0.0.5", "10.0.0.6", "10.0.0.7", "127.0.0.2"


def settings(folder: Path, **changed: object) -> DaemonSettings:
    given = {
        "domain_uid": "d", "clique": "cluster.1", "node": "node-a", "pod": "pod-a", "pod_uid": "u",
        "pod_namespace": "driver", "pod_ip": OWN, "folder": folder, "hosts": folder / "hosts", **changed,
    }  # fmt: skip
    return DaemonSettings(**given)  # type: ignore[arg-type]


class Kept:
    """A keeper whose time stands still."""

    def __init__(self, folder: Path, gates: str) -> None:
        self.settings = settings(folder, feature_gates=FeatureGates.parse(gates), domain_name="training")
        self.settings.hosts.write_text("127.0.0.1\tlocalhost\n")
        self.imex, self.clock = ScriptedImex(), HandClock()
        self.keeper = ImexKeeper(self.imex, self.settings, self.clock)

    async def want(self, own: int, **peers: int) -> None:
        known = {own: OWN, **{index: {"peer": PEER, "other": OTHER}[name] for name, index in peers.items()}}
        self.keeper.want(Places(own, known))
        await settled()

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await settled()

    @property
    def hosts(self) -> list[str]:
        """The lines of places that somebody has."""
        lines = self.settings.hosts.read_text().splitlines()[2:]
        assert len(lines) == 18
        return [line for line in lines if not line.startswith(NOBODY)]


async def settled() -> None:
    """Let everything go on that waits for nothing but its turn."""
    for _ in range(30):
        await asyncio.sleep(0)


@pytest.fixture
async def kept(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Kept]:
    made = Kept(tmp_path, getattr(request, "param", ""))
    running = asyncio.create_task(made.keeper.run())
    yield made
    running.cancel()
    await asyncio.wait([running])
    await made.keeper.stop()
    assert not made.imex.runs


async def test_it_starts_when_the_place_is_known_and_finds_its_files(kept: Kept) -> None:
    await settled()
    assert kept.imex.history == []
    await kept.want(1, peer=0)
    assert kept.imex.history == ["start"]
    assert kept.hosts == [f"{PEER}\tcompute-domain-daemon-0000", f"{OWN}\tcompute-domain-daemon-0001"]
    names = kept.settings.nodes.read_text().splitlines()
    assert (len(names), names[0], names[-1]) == (
        18,
        "compute-domain-daemon-0000",
        "compute-domain-daemon-0017",
    )
    assert dict(line.split("=") for line in kept.settings.configuration.read_text().splitlines()) == {
        "SERVER_PORT": "50000",
        "IMEX_CMD_ENABLED": "1",
        "IMEX_CMD_PORT": "50005",
        "IMEX_CMD_BIND_INTERFACE_IP": OWN,
        "IMEX_NODE_CONFIG_FILE": str(kept.settings.folder / "nodes.cfg"),
        "IMEX_WAIT_FOR_QUORUM": "RECOVERY",
        "DAEMONIZE": "0",
        "LOG_LEVEL": "4",
        "LOG_FILE_NAME": "",
    }


async def test_another_place_of_its_own_restarts_it(kept: Kept) -> None:
    await kept.want(1, peer=0)
    await kept.want(2, peer=0)
    assert kept.imex.history == ["start", "stop", "start"]
    assert f"{OWN}\tcompute-domain-daemon-0002" in kept.hosts


async def test_peers_that_come_move_and_go_are_told_by_a_signal_only(kept: Kept) -> None:
    await kept.want(0)
    for peers in ({"peer": 1}, {"peer": 2}, {}):
        await kept.pass_time(10)
        await kept.want(0, **peers)
    assert kept.imex.history == ["start", "SIGUSR1", "SIGUSR1", "SIGUSR1"]


@pytest.mark.parametrize("kept", ["ComputeDomainCliques=false,IMEXDaemonsWithDNSNames=false"], indirect=True)
async def test_without_names_each_change_of_peers_restarts_it(kept: Kept) -> None:
    await kept.want(0)
    await kept.want(0, peer=1)
    assert kept.imex.history == ["start", "stop", "start"]
    assert kept.settings.nodes.read_text() == f"{OWN}\n{PEER}\n"
    assert kept.settings.hosts.read_text() == "127.0.0.1\tlocalhost\n"


async def test_the_same_peers_again_are_no_news(kept: Kept) -> None:
    await kept.want(0, peer=1)
    await kept.pass_time(60)
    await kept.want(0, peer=1)
    assert kept.imex.history == ["start"]


async def test_signals_that_it_would_not_hear_are_sent_later_with_the_last_news(kept: Kept) -> None:
    await kept.want(0)
    await kept.want(0, peer=1)  # it has no handler yet
    assert kept.imex.history == ["start"]
    await kept.pass_time(2.1)
    assert kept.imex.history == ["start", "SIGUSR1"]
    await kept.want(0, peer=2)
    await kept.want(0, peer=2, other=1)  # it hears one in five seconds
    assert kept.imex.history == ["start", "SIGUSR1"]
    assert f"{OTHER}\tcompute-domain-daemon-0001" in kept.hosts  # names are right at once
    await kept.pass_time(5.6)
    assert kept.imex.history == ["start", "SIGUSR1", "SIGUSR1"]
    await kept.pass_time(60)
    assert kept.imex.history == ["start", "SIGUSR1", "SIGUSR1"]


async def test_one_that_dies_is_started_again_ever_more_slowly(kept: Kept) -> None:
    await kept.want(0)
    for seconds in (1, 2, 4, 8, 10, 10):
        kept.imex.end(1)
        await settled()
        await kept.pass_time(seconds - 0.1)
        assert not kept.imex.runs
        await kept.pass_time(0.2)
        assert kept.imex.runs
    await kept.pass_time(61)  # it lived long: what ended it before is over
    kept.imex.end(1)
    await settled()
    await kept.pass_time(1.1)
    assert kept.imex.runs


async def test_one_that_dies_while_its_place_changes_is_started_once(kept: Kept) -> None:
    await kept.want(0)
    kept.imex.end(1)
    await kept.want(3)
    await kept.pass_time(1.1)
    assert kept.imex.history == ["start", "end", "start"]


@pytest.mark.parametrize("turns", range(8))
async def test_an_end_is_heard_at_any_moment_of_a_restart(tmp_path: Path, turns: int) -> None:
    kept = Kept(tmp_path, "")
    running = asyncio.create_task(kept.keeper.run())
    await kept.want(0)
    kept.keeper.want(Places(1, {1: OWN}))
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([running])
        await kept.keeper.stop()
    assert running.cancelled()
    assert not kept.imex.runs


async def test_one_that_cannot_be_started_is_tried_again_and_told(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    kept.imex.missing = True
    await kept.want(0)
    await kept.pass_time(1.1)
    assert "could not be started" in caplog.text
    kept.imex.missing = False
    await kept.pass_time(2.1)
    assert kept.imex.history == ["start"]


async def test_a_hosts_file_that_cannot_be_written_delays_the_start(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    kept.settings.hosts.rename(kept.settings.folder / "elsewhere")
    with caplog.at_level(logging.ERROR):
        await kept.want(0)
    assert str(kept.settings.hosts) in caplog.text
    assert kept.imex.history == []
    (kept.settings.folder / "elsewhere").rename(kept.settings.hosts)
    await kept.pass_time(1.1)
    assert kept.imex.history == ["start"]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"domain_uid": ""}, "COMPUTE_DOMAIN_UUID is not set: CDI container edits did not apply"),
        ({"pod_ip": ""}, "--pod-ip ''"),
        ({"pod_ip": "10.0.0.5\n"}, "--pod-ip"),
        (
            {"feature_gates": FeatureGates.parse("ComputeDomainCliques=false")},
            "--compute-domain-name is empty",
        ),
    ],
    ids=["no claim", "no address", "two lines", "no domain"],
)
def test_what_no_retry_can_mend_is_refused(tmp_path: Path, changed: dict[str, object], problem: str) -> None:
    with pytest.raises(NodeUnusable, match=problem):
        settings(tmp_path, **changed).check()


def test_a_node_without_a_clique_needs_no_address(tmp_path: Path) -> None:
    settings(tmp_path, clique="", pod_ip="").check()
