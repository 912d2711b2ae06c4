"""`node fault run`, `cure`, `stop`, `node watch` and `node events` as programs: signals, deaths, terminals."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from claimwright.emulator import running
from claimwright.emulator.commands import node as node_command

pytestmark = pytest.mark.slow

_LONG = """name: long
steps:
  - {at: 0, inject: power-cap gpu=1}
  - {at: 0, load: constant gpu=2 over=1h}
  - {at: 1ms, inject: gpu-lost gpu=3, as: lost}
  - {at: 1h, clear: lost}
  - {at: 1h, inject: power-brake gpu=1}
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.RunningNode]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield running.up("hgx-h100", name="scripted", files="plain")
        running.down("scripted")


@pytest.fixture
def node(shared: running.RunningNode) -> Iterator[running.RunningNode]:
    """Give a whole node; end what a test leaves on it."""
    yield shared
    for run in shared.call("list_scripts"):
        shared.call("cancel_script", run=run["run"])
    wait_until(lambda: all(run["end"] for run in shared.call("list_scripts")))
    shared.call("clear_faults")
    for record in shared.call("snapshot")["gpus"][1]["processes"]:
        shared.call("stop_process", gpu=1, pid=record["pid"])


@pytest.fixture
def mortal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[running.RunningNode]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield running.up("l4", name="mortal", files="plain")
    running.down("mortal")


@pytest.fixture
def program() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command as a program; what still runs at the end is ended."""
    made: list[subprocess.Popen[str]] = []

    def start(*words: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "claimwright.cli.main", "node", *words]
        made.append(subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True))
        return made[-1]

    yield start
    for each in made:
        if each.poll() is None:
            each.kill()
        each.communicate()


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "script.yaml"
        path.write_text(text)
        return str(path)

    return write


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def command(*words: str) -> Result:
    return CliRunner().invoke(node_command, list(words), catch_exceptions=False)


def active(node: running.RunningNode) -> list[str]:
    return [each["name"] for each in node.call("list_faults")]


def numberless(text: str) -> str:
    """Leave out which fault and run it was: one node serves all tests, and counts on."""
    return re.sub(r"(fault|run) \d+", r"\1 N", text)


def last_run(node: running.RunningNode) -> dict[str, Any]:
    found: dict[str, Any] = node.call("list_scripts")[-1]
    return found


def started(node: running.RunningNode) -> None:
    wait_until(lambda: active(node) == ["power-cap", "gpu-lost"])


def test_a_script_whose_command_is_killed_does_no_more_and_says_so(
    node: running.RunningNode, program: Callable[..., subprocess.Popen[str]], script: Callable[[str], str]
) -> None:
    node.call("inject_fault", fault="power-cap", parameters={"gpu": 7})
    killed = program("fault", "run", script(_LONG))
    wait_until(lambda: active(node) == ["power-cap", "power-cap", "gpu-lost"])
    killed.kill()
    killed.wait(20)
    wait_until(lambda: active(node) == ["power-cap"])
    assert node.call("snapshot")["gpus"][2]["utilization_percent"] == 0
    run = last_run(node)
    assert (run["end"], run["why"]) == ("cancelled", "the command that ran it is gone")
    assert (run["done"], run["left"]) == (3, 2)
    assert list(map(numberless, run["undone"])) == ["fault N gpu-lost", "fault N power-cap"]
    assert list(map(numberless, run["in_force"])) == ["fault N power-cap"]
    assert "3 of 5      cancelled: the command that ran it is gone" in command("fault", "scripts").output


def test_ctrl_c_cancels_a_script_and_reports_the_state(
    node: running.RunningNode, program: Callable[..., subprocess.Popen[str]], script: Callable[[str], str]
) -> None:
    interrupted = program("fault", "run", script(_LONG))
    started(node)
    interrupted.send_signal(signal.SIGINT)
    said, errors = interrupted.communicate(timeout=20)
    assert (interrupted.returncode, errors) == (130, "")
    assert numberless(said).endswith(
        "cancelled after 3 of 5 steps: Ctrl-C\n  ended with it    fault N gpu-lost, fault N power-cap\n"
        "  still in force   nothing\n"
    )
    assert not active(node)


def test_a_detached_script_runs_on_until_it_is_stopped(
    node: running.RunningNode, script: Callable[[str], str]
) -> None:
    record = json.loads(command("fault", "run", "--detach", "--json", script(_LONG)).output)
    number = record.pop("run")
    assert record == {"name": "long", "steps": 5, "seconds": 3600.0}
    started(node)
    assert command("fault", "stop", str(number)).output == f"run {number}: cancelled\n"
    wait_until(lambda: not active(node))
    assert last_run(node)["why"] == "fault stop"


def test_a_script_that_completes_says_so_in_lines_and_in_json(
    node: running.RunningNode, script: Callable[[str], str]
) -> None:
    text = script("steps:\n  - {at: 0, inject: power-cap gpu=1}\n  - {at: 20ms, inject: xid=13 gpu=0}\n")
    result = command("fault", "run", text)
    assert result.exit_code == 0
    assert numberless(result.output).splitlines() == [
        "scripted: script, 2 steps in 20ms, run N",
        "     0ms  inject power-cap gpu=1  (fault N)",
        "    20ms  inject xid xid=13 gpu=0  (happened)",
        "completed after 2 of 2 steps",
        "  still in force   fault N power-cap",
    ]
    command("fault", "clear", "--all")
    lines = [json.loads(line) for line in command("fault", "run", "--json", text).output.splitlines()]
    assert [min(line) for line in lines] == ["name", "at", "at", "done"]
    assert lines[1]["next_at"] == 0.02
    assert lines[-1]["end"] == "completed"


def test_a_failed_step_ends_the_script_with_status_1_and_both_values(
    node: running.RunningNode, script: Callable[[str], str]
) -> None:
    text = script(
        "steps:\n  - {at: 0, inject: gpu-lost gpu=1}\n  - {at: 0, expect: {gpus.1.lost: false}}\n"
        "  - {at: 0, clear: all}\n"
    )
    result = command("fault", "run", text)
    assert result.exit_code == 1
    assert "gpus.1.lost is True, expected False" in result.output
    assert "failed after 1 of 3 steps" in result.output
    assert not active(node)


def test_the_death_of_the_node_ends_whoever_follows_it_by_name(
    mortal: running.RunningNode, program: Callable[..., subprocess.Popen[str]], script: Callable[[str], str]
) -> None:
    following = [program("watch"), program("watch", "--json"), program("events")]
    for each in following:
        wait_until(lambda watching=each: _hears(mortal, watching))  # type: ignore[misc]
    text = script("steps:\n  - {at: 0, inject: power-cap gpu=0}\n  - {at: 1h, clear: all}\n")
    following.append(program("fault", "run", text))
    wait_until(lambda: active(mortal) == ["power-cap"])
    os.kill(mortal.pid, signal.SIGKILL)
    for each in following:
        _, errors = each.communicate(timeout=20)
        assert each.returncode == 1
        assert "node 'mortal' has gone: its process ended" in errors
        assert "Traceback" not in errors


@pytest.mark.parametrize("words", [("watch",), ("watch", "--json"), ("events",)])
def test_ctrl_c_ends_who_only_watches_with_status_130_and_not_a_word(
    node: running.RunningNode, program: Callable[..., subprocess.Popen[str]], words: tuple[str, ...]
) -> None:
    watching = program(*words)
    assert watching.stdout is not None
    wait_until(lambda: _hears(node, watching))
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=20)
    assert (watching.returncode, errors) == (130, "")


def _hears(node: running.RunningNode, watching: subprocess.Popen[str]) -> bool:
    """Cause something until the watcher prints it: it may still be starting."""
    assert watching.stdout is not None
    node.call("report_xid", gpu=0, code=13)
    return bool(select.select([watching.stdout], [], [], 0.05)[0])


def test_watch_shows_changes_events_and_steps_as_they_happen(
    node: running.RunningNode, program: Callable[..., subprocess.Popen[str]], script: Callable[[str], str]
) -> None:
    watching = program("watch", "--json")
    assert watching.stdout is not None
    first = json.loads(watching.stdout.readline())
    assert first["state"]["name"] == "scripted"
    began = time.monotonic()
    node.call("run_script", text="steps: [{at: 0, inject: gpu-lost gpu=3}]", source="x.yaml")
    items = [json.loads(watching.stdout.readline()) for _ in range(4)]
    assert time.monotonic() - began < 5
    kinds = [next(iter(item)) for item in items]
    assert sorted(kinds) == ["changes", "event", "script", "script"]
    changed = {each["path"]: (each["was"], each["now"]) for item in items for each in item.get("changes", ())}
    assert changed["gpus.3.lost"] == (False, True)
    assert next(item["event"]["data"] for item in items if "event" in item) == 79


def test_lines_of_watch_are_one_a_change(
    node: running.RunningNode, program: Callable[..., subprocess.Popen[str]]
) -> None:
    watching = program("watch")
    assert watching.stdout is not None
    while "HGX H100" not in watching.stdout.readline():
        pass  # events of before
    node.call("start_process", gpu=1, pid=4242, name="train", memory_bytes=1 << 30)
    paths = {}
    while "gpus.1.processes" not in paths:
        _, path, what = watching.stdout.readline().rstrip().split("  ")
        paths[path] = what
    assert paths["gpus.1.processes"] == "+(4242 train)"
    assert paths["gpus.1.memory_used_bytes"] == "0 → 1073741824"


def test_on_a_terminal_a_bar_shows_how_far_a_script_is(
    node: running.RunningNode, program: Callable[..., subprocess.Popen[str]], script: Callable[[str], str]
) -> None:
    ours, theirs = pty.openpty()
    try:
        shown = program("fault", "run", script(_LONG), stdout=theirs)
        os.close(theirs)
        text = b""
        wait_reading = time.monotonic() + 20
        while b"3 of 5 steps" not in text:
            assert time.monotonic() < wait_reading
            text += os.read(ours, 65536)
        assert b"of 60:00" in text
        shown.send_signal(signal.SIGINT)
        assert shown.wait(20) == 130
    finally:
        os.close(ours)


@pytest.mark.parametrize(
    ("words", "done"),
    [
        ("reset-required gpu=1", "GPU 1 was reset"),
        ("driver-mismatch", "the driver was reloaded"),
        ("hot-remove gpu=1", "the machine was rebooted"),
        ("inforom-corrupt gpu=1", "it was repaired"),
    ],
)
def test_cure_does_what_an_operator_does(node: running.RunningNode, words: str, done: str) -> None:
    boot = node.call("snapshot")["boot_id"]
    number = json.loads(command("fault", "inject", *words.split(), "--json").output)["number"]
    assert command("fault", "cure", str(number)).output == f"scripted: {done}; fault {number} is over\n"
    assert not active(node)
    assert (node.call("snapshot")["boot_id"] != boot) == ("rebooted" in done)


def test_cure_is_refused_where_the_recovery_is_and_where_there_is_no_such_fault(
    node: running.RunningNode,
) -> None:
    number = json.loads(command("fault", "inject", "row-remap", "gpu=1", "--json").output)["number"]
    node.call("start_process", gpu=1, pid=4242, name="train", memory_bytes=1 << 30)
    refused = command("fault", "cure", str(number))
    assert (refused.exit_code, "in use by process 4242" in refused.output) == (1, True)
    assert f"no fault 999 is active; active: {number}" in command("fault", "cure", "999").output


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"[" * 200_000, "1: nested"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"\x00", "1: not YAML"),
        (b"x" * (1 << 20), "larger"),
    ],
)
def test_rubbish_as_a_script_is_refused_with_status_2_and_no_traceback(
    node: running.RunningNode,
    program: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    data: bytes,
    line: str,
) -> None:
    (tmp_path / "rubbish.yaml").write_bytes(data)
    ended = program("fault", "run", str(tmp_path / "rubbish.yaml"))
    _, errors = ended.communicate(timeout=30)
    assert ended.returncode != 0
    assert line in errors
    assert "rubbish.yaml" in errors
    assert "Traceback" not in errors
    assert node.call("snapshot")["name"] == "scripted"
