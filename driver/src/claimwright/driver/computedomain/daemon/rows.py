"""The rows of a clique as values: which place is free, who is where. Rows are others' words and may be anything."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from claimwright.driver.computedomain.resources import Member
from claimwright.driver.errors import DriverError

Members = Mapping[str, Member]


class CliqueFull(DriverError):
    """The operator must act: more nodes want to be in one clique than an IMEX domain may have."""


def members_of(rows: object, clique: str) -> dict[str, Member]:
    """Read the rows of a clique by node; those of others are left out, and what is no row."""
    found = _read(rows if isinstance(rows, list) else [])
    return {member.node: member for member in found if member.node and member.clique == clique}


def choose_index(members: Members, node: str, liked: int | None, *, limit: int) -> int:
    """Choose a place for `node`: the one it likes if nobody else has it, else the lowest free one.

    When several nodes wrote the same place at the same moment, all but the first move, and each takes the next free
    place; whoever chooses after them leaves as many to them, so that they do not meet again.
    CliqueFull when there is none.
    """
    others = (member.index for member in members.values() if member.node != node)
    taken = [index for index in others if 0 <= index < limit]
    if liked is not None and 0 <= liked < limit and liked not in taken:
        return liked
    free = [index for index in range(limit) if index not in taken]
    if not free:
        raise CliqueFull(
            f"all {limit} places of the clique are taken, by {', '.join(sorted(members.keys() - {node}))}: "
            "a ComputeDomain cannot have more nodes of one NVLink clique (--max-nodes-per-imex-domain); "
            "end the workload on one of them"
        )
    moving = len(taken) - len(set(taken))
    return free[min(moving, len(free) - 1)]


def addresses(members: Members, own: Member, *, limit: int) -> dict[int, str]:
    """Give the address of each place, in order; `own` counts as given, whatever the rows say of it.

    Rows without an address or a place are left out. Where two rows name one place, as they do for
    a moment, the ready one counts; an address of ours in another row belonged to a pod that is gone.
    """
    found = {own.index: own.address}
    for member in sorted(members.values(), key=lambda each: (not each.ready, each.node)):
        good = member.node != own.node and 0 <= member.index < limit
        if good and member.address != own.address and _is_address(member.address):
            found.setdefault(member.index, member.address)
    return dict(sorted(found.items()))


def _read(rows: list[Any]) -> Iterator[Member]:
    for row in rows:
        try:
            yield Member.from_object(row)
        except (TypeError, ValueError, AttributeError, OverflowError):
            continue


def _is_address(text: str) -> bool:
    # A scope may hold any text, and the text ends in a file that others read line by line.
    try:
        return "%" not in text and not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False
