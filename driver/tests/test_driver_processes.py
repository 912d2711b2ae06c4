"""The port `Processes`, the real one and the one in memory: the same promises."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest

from claimwright.driver.adapters import ChildProcesses
from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import Processes, ProcessId, View
from claimwright.driver.testing import ScriptedProcesses

MARK = "CLAIMWRIGHT_TEST_MARK"
STAYS = "import signal; print('up', flush=True); signal.pause()"
Begin = Callable[[Mapping[str, str]], ProcessId]


@pytest.fixture(params=["real", "memory"])
def world(request: pytest.FixtureRequest) -> Iterator[tuple[Processes, Begin]]:
    if request.param == "memory":
        memory = ScriptedProcesses()
        yield memory, memory.begin
        return
    real, started = ChildProcesses(), []

    def begin(environment: Mapping[str, str]) -> ProcessId:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", STAYS],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        found = real.find(process.pid)
        assert found is not None
        return found

    yield real, begin
    for process in started:
        process.kill()
        process.communicate()


def test_a_process_is_found_by_its_pid_and_by_its_mark(
    world: tuple[Processes, Begin], tmp_path: Path
) -> None:
    processes, begin = world
    one, other = begin({MARK: f"{tmp_path}/one"}), begin({MARK: f"{tmp_path}/one-more"})

    assert processes.find(one.pid) == one
    assert processes.marked(MARK, f"{tmp_path}/one") == (one,)
    assert processes.marked(MARK, f"{tmp_path}/one-more") == (other,)
    assert processes.marked(MARK, f"{tmp_path}/on") == ()


def test_a_signal_ends_it_and_who_watches_is_told(world: tuple[Processes, Begin], tmp_path: Path) -> None:
    processes, begin = world
    process = begin({MARK: str(tmp_path)})
    descriptor = processes.watch(process)
    assert descriptor is not None

    before = processes.wait_ended([process], timeout_seconds=0.01)
    processes.send(process, signal.SIGKILL)
    ended = processes.wait_ended([process], timeout_seconds=10)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    told = poll.poll(10_000)
    os.close(descriptor)

    assert (before, ended, bool(told)) == (False, True, True)
    assert processes.find(process.pid) is None
    assert processes.marked(MARK, str(tmp_path)) == ()


def test_who_has_the_pid_of_another_is_left_alone(world: tuple[Processes, Begin], tmp_path: Path) -> None:
    processes, begin = world
    process = begin({MARK: str(tmp_path)})
    earlier = ProcessId(process.pid, process.started - 1)

    processes.send(earlier, signal.SIGKILL)

    assert processes.watch(earlier) is None
    assert processes.wait_ended([earlier], timeout_seconds=0)
    assert processes.find(process.pid) == process


def test_a_file_that_is_there_is_not_waited_for(world: tuple[Processes, Begin], tmp_path: Path) -> None:
    processes, begin = world
    process = begin({})
    (tmp_path / "there").touch()

    assert processes.wait_file(tmp_path / "there", made_by=[process], timeout_seconds=10)
    assert not processes.wait_file(tmp_path / "missing", made_by=[process], timeout_seconds=0.01)


def test_a_file_is_noticed_when_it_appears(tmp_path: Path) -> None:
    processes = ChildProcesses()
    own = processes.find(os.getpid())
    assert own is not None
    maker = threading.Timer(0.05, (tmp_path / "made").touch)
    maker.start()

    assert processes.wait_file(tmp_path / "made", made_by=[own], timeout_seconds=20)
    maker.join()


def test_nobody_waits_for_a_file_that_nobody_can_make_any_more(tmp_path: Path) -> None:
    assert not ChildProcesses().wait_file(tmp_path / "never", made_by=[], timeout_seconds=600)


def test_what_stays_in_the_background_with_its_output_open_is_not_waited_for() -> None:
    script = "import os, time\nif os.fork() == 0: time.sleep(30)\nprint('started')"

    ended = ChildProcesses().run(
        [sys.executable, "-I", "-S", "-c", script], environment={MARK: "background"}, timeout_seconds=20
    )
    (left,) = ChildProcesses().marked(MARK, "background")
    ChildProcesses().send(left, signal.SIGKILL)

    assert (ended.status, ended.output) == (0, "started\n")


def test_text_reaches_the_program() -> None:
    ended = ChildProcesses().run(["cat"], environment={}, timeout_seconds=20, text="one\ntwo\n")

    assert ended.output == "one\ntwo\n"


def test_a_program_that_is_not_there_or_too_slow_is_an_error_with_its_command() -> None:
    with pytest.raises(StepFailed, match=r"no-such-program -x could not be started"):
        ChildProcesses().run(["no-such-program", "-x"], environment={}, timeout_seconds=20)
    with pytest.raises(StepFailed, match=r"sleep 30 did not end within 0\.05 s"):
        ChildProcesses().run(["sleep", "30"], environment={}, timeout_seconds=0.05)


def test_what_stays_joins_the_cgroup_that_outlives_the_container(tmp_path: Path) -> None:
    processes = ChildProcesses(tmp_path / "outside")
    command = [sys.executable, "-I", "-S", "-c", "import os; print(os.getpid())"]

    goes = processes.run(command, environment={}, timeout_seconds=20)
    exists = (tmp_path / "outside").exists()
    stays = processes.run(command, environment={}, timeout_seconds=20, stays=True)

    assert (goes.status, exists) == (0, False)
    assert (tmp_path / "outside/cgroup.procs").read_text() == stays.output.strip()


def test_a_cgroup_that_cannot_be_joined_does_not_stop_the_program(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    ended = ChildProcesses(tmp_path / "file/x").run(
        ["echo", "on"], environment={}, timeout_seconds=20, stays=True
    )

    assert ended.status == 0
    assert "cannot be joined" in ended.output
    assert ended.output.endswith("on\n")


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces need root")


@needs_root
def test_a_view_puts_folders_where_the_program_looks_for_them(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/file").write_text("hello")
    view = View({PurePosixPath("/mnt/pipe"): tmp_path / "own"}, PurePosixPath("/mnt"))

    ended = ChildProcesses().run(["cat", "/mnt/pipe/file"], environment={}, timeout_seconds=20, view=view)

    assert (ended.status, ended.output) == (0, "hello")
    assert "/mnt/pipe" not in Path("/proc/mounts").read_text()
    assert not Path("/mnt/pipe").exists()


@needs_root
def test_a_view_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    view = View({PurePosixPath("/mnt/pipe"): tmp_path / "missing"}, PurePosixPath("/mnt"))

    ended = ChildProcesses().run(["true"], environment={}, timeout_seconds=20, view=view)

    assert ended.status == 125
    assert "No such file or directory" in ended.output
