"""Places in a clique in any order of events (quirk 20): late views, lost answers, deaths, rows that others remove."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.dra.kube import Unavailable
from claimwright.driver.computedomain.daemon.membership import Membership
from claimwright.driver.computedomain.daemon.rows import CliqueFull, Members
from claimwright.driver.computedomain.daemon.settings import DaemonSettings
from claimwright.driver.computedomain.resources import Member

LIMIT = 4
Step = tuple[str, int]


class Turn:
    """Where an actor waits until the schedule lets it go on."""

    def __await__(self) -> Generator[None]:
        yield


class Server:
    """Puts all writes in one order."""

    def __init__(self) -> None:
        self.rows: dict[str, Member] = {}
        self.writes = 0


class Actor:
    """One daemon: it knows what it saw last, and acts in steps between which others act."""

    def __init__(self, server: Server, number: int, limit: int) -> None:
        self.server = server
        self.settings = DaemonSettings(
            domain_uid="d", clique="c", node=f"node-{number}", pod="p", pod_uid="u", pod_namespace="n",
            pod_ip=f"10.0.0.{number}", max_nodes=limit, folder=Path(), hosts=Path(),
        )  # fmt: skip
        self.view: dict[str, Member] = {}
        self.acting: Coroutine[Any, Any, None] | None = None
        self.loses = False
        self.membership = Membership(self, self.settings)
        self.evicted = False

    def members(self) -> Members:
        return self.view

    async def write(self, row: Member) -> Members:
        await Turn()
        self.server.rows[row.node] = row
        self.server.writes += 1
        self.evicted = False
        if self.loses:
            self.loses = False
            raise Unavailable(0, "Lost", "the answer was lost")
        self.view = dict(self.server.rows)
        return self.view

    async def remove(self) -> bool:
        await Turn()
        self.view = dict(self.server.rows)
        return self.server.rows.pop(self.settings.node, None) is not None

    def step(self) -> None:
        """Go on to the next write, or to the end."""
        if self.acting is None:
            self.acting = self.membership.settle(ready=False)
        try:
            self.acting.send(None)
        except (StopIteration, Unavailable, CliqueFull):
            self.acting = None

    def see(self) -> None:
        # A write's answer is never older than what was seen before it: only between steps the view moves.
        if self.acting is None:
            self.view = dict(self.server.rows)

    def lose(self) -> None:
        self.loses = True

    def die(self) -> None:
        if self.acting is not None:
            self.acting.close()
        self.acting = None
        self.membership = Membership(self, self.settings)

    def evict(self) -> None:
        """Somebody else removes the row, as a controller does that takes the daemon for gone."""
        self.evicted = self.server.rows.pop(self.settings.node, None) is not None or self.evicted

    @property
    def place(self) -> int | None:
        """The place under which nvidia-imex runs."""
        return None if self.evicted else self.membership.index


def assert_nobody_shares(actors: list[Actor]) -> None:
    places = [actor.place for actor in actors if actor.place is not None]
    assert len(places) == len(set(places)), places


def come_to_rest(actors: list[Actor]) -> None:
    """Let each see all and act, in turn, until nobody has anything to write."""
    for _ in range(20):
        before = actors[0].server.writes
        for actor in actors:
            while actor.acting is not None:
                actor.step()
            actor.see()
            actor.step()
            while actor.acting is not None:
                actor.step()
            assert_nobody_shares(actors)
        if actors[0].server.writes == before:
            return
    raise AssertionError("they write without end")


def schedules(actors: int, *actions: str) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.tuples(st.sampled_from(actions), st.integers(0, actors - 1)), max_size=60)


@settings(max_examples=300)
@given(schedule=schedules(4, "step", "step", "step", "see", "lose", "die", "evict"))
def test_whatever_happens_nobody_shares_a_place_and_all_come_to_one(schedule: list[Step]) -> None:
    server = Server()
    actors = [Actor(server, number, LIMIT) for number in range(4)]
    for action, number in schedule:
        getattr(actors[number], action)()
        assert_nobody_shares(actors)

    come_to_rest(actors)

    assert sorted(member.index for member in server.rows.values()) == [0, 1, 2, 3]
    assert [server.rows[each.settings.node].index for each in actors] == [each.place for each in actors]


@settings(max_examples=200)
@given(schedule=schedules(5, "step", "step", "see"))
def test_who_has_a_place_keeps_it_while_others_come(schedule: list[Step]) -> None:
    server = Server()
    actors = [Actor(server, number, 5) for number in range(5)]
    had: dict[int, int] = {}
    for action, number in schedule:
        getattr(actors[number], action)()
        for each, actor in enumerate(actors):
            if actor.place is not None:
                assert had.setdefault(each, actor.place) == actor.place
    come_to_rest(actors)
    assert {number: actors[number].place for number in had} == had


@settings(max_examples=200)
@given(schedule=schedules(6, "step", "step", "see", "lose"))
def test_a_place_too_few_leaves_one_without_a_row(schedule: list[Step]) -> None:
    server = Server()
    actors = [Actor(server, number, 5) for number in range(6)]
    for action, number in schedule:
        getattr(actors[number], action)()
        assert_nobody_shares(actors)

    come_to_rest(actors)

    assert sorted(member.index for member in server.rows.values()) == [0, 1, 2, 3, 4]
    assert [actor.place for actor in actors].count(None) == 1


@given(rounds=st.lists(st.permutations(range(18)), min_size=20, max_size=20))
def test_eighteen_that_begin_at_once_need_two_writes_each_at_most(rounds: list[list[int]]) -> None:
    """In each round all act once: whoever chose a place then finds all others at theirs."""
    server = Server()
    actors = [Actor(server, number, 18) for number in range(18)]
    for order in rounds:
        for number in order:
            if actors[number].place is None:
                actors[number].step()
    come_to_rest(actors)
    assert sorted(actor.place for actor in actors if actor.place is not None) == list(range(18))
    assert server.writes <= 2 * 18
