"""The operations table as text, and its runner on files that need no kernel lab."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from claimwright.e2e.kernel_lab import (
    NotRun,
    RealDoor,
    Result,
    TableInvalid,
    World,
    WorldBroken,
    differences,
    load_table,
    read_cases,
    run_case,
    run_table,
)


@dataclass
class FolderDoor:
    """A door to a folder that plays a host: no attribute acts, so only what the runner does is seen."""

    root: Path
    real: RealDoor = field(default_factory=RealDoor)

    def _at(self, path: str) -> str:
        return f"{self.root}{path}"

    def read(self, path: str) -> bytes:
        return self.real.read(self._at(path))

    def write(self, path: str, data: bytes, *, truncate: bool = False) -> int:
        return self.real.write(self._at(path), data, truncate=truncate)

    def readlink(self, path: str) -> str:
        return self.real.readlink(self._at(path))

    def list(self, path: str) -> list[str]:
        return self.real.list(self._at(path))

    def stat(self, path: str) -> os.stat_result:
        return self.real.stat(self._at(path))

    def open(self, path: str, flags: int):
        return self.real.open(self._at(path), flags)


def _world(root: Path, **homes: str) -> World:
    return World("folder", FolderDoor(root), {"gpu": "0000:01:00.0"}, homes)


def _run(root: Path, text: str) -> list[Result]:
    (case,) = read_cases(f"- case: it\n  steps:\n{text}", "here")
    return list(run_case(case, _world(root)))


def test_the_table_names_every_case_once_and_expects_something_of_every_step():
    cases = load_table()
    assert len({(case.subject, case.name) for case in cases}) == len(cases) >= 40


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("case: it", "list of cases"),
        ("- steps: []", "`case`"),
        ("- {case: it, steps: []}", "without steps"),
        ("- {case: it, needs: [gold], steps: [{read: /x}]}", "gold"),
        ("- {case: it, step: 1, steps: [{read: /x}]}", "step"),
        ("- {case: it, steps: [{wrote: /x}]}", "no verb"),
        ("- {case: it, steps: [{read: /x, give: y}]}", "give"),
        ("- {case: it, steps: [{open: /x}]}", "named"),
        ("- {case: it, steps: [{read: /x, errno: EBUSSY}]}", "EBUSSY"),
        ("- {case: it, steps: [{read: /x, matches: '('}]}", "regular expression"),
        ("- {case: it, steps: [{ioctl: VFIO_FLY, at: x}]}", "VFIO_FLY"),
        ("- {case: it, steps: [read]}", "mapping"),
        ("- {case: it", "expected"),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_name(text, told):
    with pytest.raises(TableInvalid, match=told):
        list(read_cases(text, "here"))


def test_an_expected_errno_passes_and_any_other_fails(tmp_path):
    passed, failed, surprised = _run(
        tmp_path,
        "    - {read: /none, errno: ENOENT}\n    - {read: /none, errno: EBUSY}\n    - {list: /, errno: ENOENT}\n",
    )
    assert (passed.outcome, passed.wrong) == ("ENOENT", None)
    assert failed.wrong
    assert "EBUSY is expected, not ENOENT" in failed.wrong
    assert surprised.wrong
    assert "succeeded" in surprised.wrong


def test_a_failed_step_does_not_stop_its_case(tmp_path):
    assert [
        result.number for result in _run(tmp_path, "    - {read: /none}\n    - {list: /, gives: ''}\n")
    ] == [1, 2]


def test_a_match_makes_symbols_for_the_steps_that_follow(tmp_path):
    (tmp_path / "group").write_text("7")
    (tmp_path / "7").write_text("seven")
    results = _run(
        tmp_path, "    - {read: /group, matches: '(?P<group>[0-9])'}\n    - {read: /$group, gives: seven}\n"
    )
    assert [result.wrong for result in results] == [None, None]


def test_a_symbol_that_no_step_made_fails_the_step_and_not_the_run(tmp_path):
    (result,) = _run(tmp_path, "    - {read: /$nobody}\n")
    assert result.outcome == "unknown"


def test_a_write_must_be_accepted_whole(tmp_path):
    (tmp_path / "file").write_text("")
    whole, short = _run(tmp_path, "    - {write: ab, to: /file}\n    - {write: ab, to: /file, gives: '1'}\n")
    assert whole.wrong is None
    assert short.wrong == "'1' is expected, not '2'"


def test_a_write_that_waits_is_pending_until_it_is_let_go(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    begun, pending, opened, finished = _run(
        tmp_path,
        "    - {write: $gpu, to: /pipe, begin: it}\n    - {pending: it}\n"
        "    - {open: /pipe, named: reader}\n    - {finish: it, gives: '12'}\n",
    )
    assert [begun.wrong, pending.wrong, opened.wrong, finished.wrong] == [None] * 4


def test_a_write_that_does_not_wait_is_not_pending(tmp_path):
    (tmp_path / "file").write_text("")
    _, pending, _ = _run(
        tmp_path,
        "    - {write: x, to: /file, begin: it}\n    - {pending: it}\n    - {finish: it, gives: '1'}\n",
    )
    assert pending.wrong
    assert "ended" in pending.wrong


def test_worlds_differ_where_an_errno_or_a_value_does(tmp_path):
    ours = Result("s", "c", 1, "read x", "EBUSY", "")
    theirs = Result("s", "c", 1, "read x", "ENODEV", "")
    same = Result("s", "c", 2, "read y", "ok", "1", wrong="but not as the table says")
    (difference,) = differences([ours, same], [theirs, same])
    assert (difference.place, difference.first, difference.second) == (("s", "c", 1), "EBUSY", "ENODEV")


def test_a_step_that_one_world_never_reached_is_a_difference():
    first, second = (Result("s", "c", number, "step", "ok", "") for number in (1, 2))
    assert [difference.second for difference in differences([first, second], [first])] == [None]


def test_a_case_that_a_world_cannot_offer_is_named_and_not_compared(tmp_path):
    case = next(case for case in load_table() if "sriov" in case.needs)
    (skipped,) = run_table([case], _world(tmp_path))
    assert skipped == NotRun(case.subject, case.name, ("sriov",))


def test_a_world_that_is_not_as_at_its_start_stops_the_run(tmp_path):
    (case,) = read_cases("- {case: it, steps: [{list: /}]}", "here")
    with pytest.raises(WorldBroken, match=r"0000:01:00\.0 is on no driver, not nvidia"):
        list(run_case(case, _world(tmp_path, **{"0000:01:00.0": "nvidia"})))


def test_the_real_door_tells_the_kernel_s_errno(tmp_path):
    with pytest.raises(OSError, match="Is a directory") as refused:
        RealDoor().write(str(tmp_path), b"x")
    assert refused.value.errno == errno.EISDIR
