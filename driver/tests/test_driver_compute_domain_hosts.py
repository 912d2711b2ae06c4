"""The block of peers in a hosts file (quirk 22), and which peers of a clique's rows get into it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimwright.driver.computedomain.daemon.hosts import every_place, with_mappings, write_mappings
from claimwright.driver.computedomain.daemon.rows import CliqueFull, addresses, choose_index, members_of
from claimwright.driver.computedomain.resources import Member

TITLE = b"# Compute Domain Daemon mappings\n"
KUBELETS = b"# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n10.0.0.9\tdaemon-x\n"
TWO = {0: "10.0.0.5", 1: "10.0.0.6"}
BLOCK = TITLE + b"10.0.0.5\tcompute-domain-daemon-0000\n10.0.0.6\tcompute-domain-daemon-0001\n"
OWN = Member("node-a", "10.0.0.5", "cluster.1", 0, ready=True)

_lines = st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b""))
_texts = st.lists(_lines, max_size=6).map(b"\n".join)
_addresses = st.dictionaries(st.integers(0, 17), st.ip_addresses(v=4).map(str), max_size=18)


def others(text: bytes) -> list[bytes]:
    """Give what is nobody's business, without the ends of lines, of which the last may lack one."""
    return [line for line in text.split(b"\n") if b"ompute" not in line]


def test_peers_get_names_after_the_lines_of_others() -> None:
    assert with_mappings(KUBELETS, TWO) == KUBELETS + BLOCK


def test_what_changes_is_replaced_and_nothing_grows() -> None:
    text = KUBELETS
    for last in range(40):
        text = with_mappings(text, {**TWO, 2: f"10.0.1.{last}"})
    assert text == KUBELETS + BLOCK + b"10.0.1.39\tcompute-domain-daemon-0002\n"
    assert with_mappings(text, {}) == KUBELETS


def test_what_the_community_daemon_left_is_cleared_away() -> None:
    grown = TITLE * 3 + KUBELETS + TITLE + b"10.9.9.9 compute-domain-daemon-0003\n" + TITLE
    assert with_mappings(grown, TWO) == KUBELETS + BLOCK


def test_lines_that_only_mention_our_names_stay() -> None:
    foreign = b"10.0.0.7 compute-domain-daemon-0001 mine\n# compute-domain-daemon-0001\n"
    assert with_mappings(foreign, TWO) == foreign + BLOCK


@given(text=_texts, steps=st.lists(_addresses, min_size=1, max_size=5))
def test_lines_of_others_stay_byte_for_byte_whatever_they_are(
    text: bytes, steps: list[dict[int, str]]
) -> None:
    after = text
    for step in steps:
        after = with_mappings(after, step)
    mapped = [line for line in after.split(b"\n") if b"compute-domain-daemon-" in line]
    assert [line for line in others(after) if line] == [line for line in others(text) if line]
    assert mapped == [f"{ip}\tcompute-domain-daemon-{at:04d}".encode() for at, ip in steps[-1].items()]
    assert after.count(TITLE) == bool(steps[-1])
    assert with_mappings(after, steps[-1]) == after


@given(text=_texts, before=_addresses, wanted=_addresses)
def test_a_kill_before_the_rest_is_cut_off_leaves_nothing_but_empty_lines(
    text: bytes, before: dict[int, str], wanted: dict[int, str]
) -> None:
    old = with_mappings(text, before)
    new = with_mappings(old, wanted)
    left = new.ljust(len(old), b"\n")
    assert with_mappings(left, wanted).replace(b"\n", b"") == new.replace(b"\n", b"")


def test_a_place_that_nobody_has_is_not_asked_of_dns() -> None:
    places = every_place({1: "10.0.0.6"}, 3)
    assert places == {0: "127.0.0.2", 1: "10.0.0.6", 2: "127.0.0.2"}
    assert with_mappings(b"", places).count(b"compute-domain-daemon-") == 3


def test_the_file_is_written_in_place_and_only_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(KUBELETS)
    before = path.stat()
    write_mappings(path, TWO)
    write_mappings(path, {0: "10.0.0.5"})  # shorter than before
    assert path.read_bytes() == KUBELETS + TITLE + b"10.0.0.5\tcompute-domain-daemon-0000\n"
    after = path.stat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    path.chmod(0o644)
    written = path.stat().st_mtime_ns
    write_mappings(path, {0: "10.0.0.5"})
    assert path.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "rows",
    [
        None,
        "rubbish",
        [None, 3, "x", [], {}, {"nodeName": None}, {"nodeName": "n", "index": "many"}, {"nodeName": 5, "index": {}}],
        [{"nodeName": "b", "ipAddress": "10.0.0.6\n6.6.6.6 evil", "cliqueID": "cluster.1", "index": 1}],
        [{"nodeName": "b", "ipAddress": "fe80::1%a\nb", "cliqueID": "cluster.1", "index": 1}],
        [{"nodeName": "b", "ipAddress": "0.0.0.0", "cliqueID": "cluster.1", "index": 1}],
        [{"nodeName": "b", "ipAddress": "10.0.0.6", "cliqueID": "cluster.2", "index": 1}],
        [{"nodeName": "b", "ipAddress": "10.0.0.6", "cliqueID": "cluster.1", "index": 18}],
        [{"nodeName": "b", "ipAddress": "10.0.0.6", "cliqueID": "cluster.1", "index": -1}],
        [{"nodeName": "b", "ipAddress": "10.0.0.5", "cliqueID": "cluster.1", "index": 1}],
        [{"nodeName": "node-a", "ipAddress": "10.0.0.77", "cliqueID": "cluster.1", "index": 4}],
    ],
    ids=[
        "none", "text", "no rows", "two lines", "scope", "nowhere", "other clique", "too high", "negative",
        "own address", "own row",
    ],
)  # fmt: skip
def test_rubbish_in_a_clique_gets_no_name(rows: object) -> None:
    assert addresses(members_of(rows, "cluster.1"), OWN, limit=18) == {0: "10.0.0.5"}


def test_of_two_rows_at_one_place_the_ready_one_counts() -> None:
    rows = [
        Member("node-b", "10.0.0.6", "cluster.1", 1, ready=False),
        Member("node-c", "10.0.0.7", "cluster.1", 1, ready=True),
    ]
    assert addresses({row.node: row for row in rows}, OWN, limit=18) == {0: "10.0.0.5", 1: "10.0.0.7"}


def row(node: str, index: int) -> Member:
    return Member(node, "10.0.0.6", "cluster.1", index, ready=False)


@pytest.mark.parametrize(
    ("taken", "liked", "chosen"),
    [
        ((), None, 0),
        ((0, 1, 3), None, 2),
        ((0, 1), 7, 7),
        ((0, 1), 0, 2),
        ((0, 0, 0), 0, 3),
        ((0, 0, 1), 0, 3),
        ((0, 0, 0), None, 3),
        ((0, 0, 1, 2), None, 4),
        ((0, 0, *range(17)), None, 17),
        ((0,), 99, 1),
        ((-1, -1, 50), None, 0),
    ],
    ids=["first", "lowest free", "liked", "one before", "three before", "one moved already",
        "three meet", "two meet", "the last one", "no place", "rubbish"],
)  # fmt: skip
def test_a_place_is_chosen(taken: tuple[int, ...], liked: int | None, chosen: int) -> None:
    members = {f"node-{at}": row(f"node-{at}", index) for at, index in enumerate(taken)}
    assert choose_index(members, "me", liked, limit=18) == chosen


def test_a_full_clique_says_who_is_in_it() -> None:
    members = {f"node-{at}": row(f"node-{at}", at) for at in range(2)}
    with pytest.raises(CliqueFull, match="all 2 places of the clique are taken, by node-0, node-1: "):
        choose_index(members, "me", None, limit=2)
