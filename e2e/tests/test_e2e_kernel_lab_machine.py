"""The lab's machine when things go wrong, with a program that plays QEMU; and parts that are not there."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from claimwright.cluster import Silent
from claimwright.e2e.kernel_lab import LabError
from claimwright.e2e.kernel_lab.commands import kernel_lab
from claimwright.e2e.kernel_lab.machine import (
    Lab,
    Request,
    boot,
    find_lab,
    lab_folder,
    prepare_lab,
    run_program,
)
from claimwright.e2e.kernel_lab.machine.mortality import mortal_group
from claimwright.e2e.kernel_lab.machine.parts import Kernel, Qemu

_PATIENCE_SECONDS = 20.0
_FACTS = r"""echo '{"kind": "facts", "kernel": "6.12-played"}'"""
_CONSOLE = r"""for word in "$@"; do case "$word" in file:*) console=${word#file:};; esac; done"""


def _lab(folder: Path, script: str) -> Lab:
    """Return a lab whose QEMU is a shell script; its channel is stdout, its console the file that it is told."""
    program, kernel = folder / "qemu", folder / "kernel"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    (kernel / "modules").mkdir(parents=True)
    (folder / "busybox").write_bytes(b"")
    return Lab(Qemu(program), Kernel(kernel), folder / "busybox")


def _run(lab: Lab, seconds: float = _PATIENCE_SECONDS) -> list[dict[str, object]]:
    return list(boot(lab, Request(["true"]), deadline_seconds=seconds))


def _becomes(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_machine_that_hangs_is_ended_at_its_deadline(tmp_path: Path):
    lab = _lab(tmp_path, f"echo $$ > {tmp_path}/pid; {_FACTS}; exec sleep 600")

    with pytest.raises(LabError, match=r"no end within 1 s: it was late and has been ended"):
        _run(lab, 1)

    assert not _lives(int((tmp_path / "pid").read_text()))


def test_a_kernel_that_panics_is_told_with_the_end_of_its_console(tmp_path: Path):
    script = f"""{_CONSOLE}; {_FACTS}
    printf '[1.0] booting\\n[2.0] Kernel panic - not syncing: No working init found.\\n[2.1] CPU: 0\\n' > "$console" """

    with pytest.raises(LabError, match=r"panicked \(No working init found\.\)(.|\n)*booting(.|\n)*CPU: 0"):
        _run(_lab(tmp_path, script))


def test_a_qemu_that_refuses_is_told_with_its_own_words(tmp_path: Path):
    with pytest.raises(LabError, match=r"lost its QEMU \(code 1\)(.|\n)*no such device: edu"):
        _run(_lab(tmp_path, "echo 'qemu: no such device: edu' >&2; exit 1"))


def test_a_machine_that_goes_off_before_its_end_is_told(tmp_path: Path):
    with pytest.raises(LabError, match=r"went off too early; its console:\nmount: no 9p"):
        _run(_lab(tmp_path, f'{_CONSOLE}; {_FACTS}; echo "mount: no 9p" > "$console"'))


@pytest.mark.parametrize("line", ["gibberish", "[]", "{}", "7", '"kind"'])
def test_a_line_that_is_none_of_the_channel_s_is_refused(tmp_path: Path, line: str):
    with pytest.raises(LabError, match="which is no line of it"):
        _run(_lab(tmp_path, f"echo '{line}'"))


def test_a_machine_leaves_no_file_whoever_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    lab = _lab(tmp_path, f"{_FACTS}; exec sleep 600")

    for _ in boot(lab, Request(["true"]), deadline_seconds=_PATIENCE_SECONDS):
        assert list((tmp_path / "temporary").iterdir()) == []
        break

    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_machine_ends_with_its_killed_owner(tmp_path: Path):
    _lab(tmp_path, f"echo $$ > {tmp_path}/begun; mv {tmp_path}/begun {tmp_path}/pid; exec sleep 600")
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert _becomes((tmp_path / "pid").exists)
        machine = int((tmp_path / "pid").read_text())
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()

    assert _becomes(lambda: not _lives(machine))


_OWNER = """
import sys
from pathlib import Path
from claimwright.e2e.kernel_lab.machine import Lab, Request, boot
from claimwright.e2e.kernel_lab.machine.parts import Kernel, Qemu
folder = Path(sys.argv[1])
lab = Lab(Qemu(folder / "qemu"), Kernel(folder / "kernel"), folder / "busybox")
list(boot(lab, Request(["true"]), deadline_seconds=60))
"""


def test_a_build_ends_with_its_killed_owner_and_takes_its_jobs_along(tmp_path: Path):
    job = f"sleep 600 & echo $! > {tmp_path}/begun; mv {tmp_path}/begun {tmp_path}/pid; wait"
    start = "import subprocess, sys; subprocess.run(sys.argv[1:], start_new_session=True)"
    owner = subprocess.Popen([sys.executable, "-c", start, *mortal_group(["/bin/sh", "-c", job])])
    try:
        assert _becomes((tmp_path / "pid").exists)
        compiler = int((tmp_path / "pid").read_text())
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()

    assert _becomes(lambda: not _lives(compiler))


def test_a_build_s_exit_code_is_its_own():
    built = subprocess.run(mortal_group(["/bin/sh", "-c", "exit 3"]), check=False, start_new_session=True)

    assert built.returncode == 3


def test_a_program_s_two_voices_and_its_code_come_out_apart(tmp_path: Path):
    lines = [
        r'{"kind": "output", "stream": "stdout", "text": "{}"}',
        r'{"kind": "output", "stream": "stderr", "text": "careful\\n"}',
        r'{"kind": "end", "code": 5}',
    ]
    lab = _lab(tmp_path, "; ".join([_FACTS, *(f"printf '%s\\n' '{line}'" for line in lines)]))
    heard: list[tuple[str, str]] = []

    ended = run_program(
        lab,
        ["x"],
        deadline_seconds=_PATIENCE_SECONDS,
        heard=lambda stream, text: heard.append((stream, text)),
    )

    assert (ended.code, ended.stdout, ended.kernel) == (5, "{}", "6.12-played")
    assert [stream for stream, _ in heard] == ["stdout", "stderr"]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a machine with neither the lab's programs nor a package manager, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_missing_parts_are_told_by_name_with_the_command_that_brings_them(bare: Path):
    with pytest.raises(LabError, match=r"QEMU.*busybox.*kernel: `claimwright kernel-lab prepare`"):
        find_lab()


def test_what_could_not_be_brought_is_repeated_until_it_could(bare: Path):
    with pytest.raises(LabError, match="this is no Debian or Ubuntu"):
        prepare_lab(Silent())
    with pytest.raises(LabError, match="its last try: this is no Debian or Ubuntu"):
        find_lab()

    assert list((lab_folder() / "scratch").iterdir()) == []


@pytest.mark.parametrize("arguments", [["table"], ["run", "--", "true"], ["prepare"]])
def test_every_command_refuses_by_name_with_code_2(bare: Path, arguments: list[str]):
    refused = CliRunner().invoke(kernel_lab, arguments)

    assert refused.exit_code == 2
    assert refused.stderr.rpartition("error: ")[2].startswith("the kernel lab ")


def test_what_a_killed_preparation_left_is_swept_by_the_next(bare: Path):
    left = lab_folder() / "scratch" / "half-built"
    left.mkdir(parents=True)

    with pytest.raises(LabError):
        prepare_lab(Silent())

    assert not left.exists()
