"""Run other programs: one place, deadlines always, output kept for the error."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from claimwright.cluster import errors

_TAIL_LINES = 15


class ProgramFailed(errors.ClusterError):
    """A program answered with an error; the message holds the end of what it said."""


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    timeout_seconds: float,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin_path: Path | None = None,
) -> str:
    """Run `argv` to its end and return what it wrote to stdout.

    The program and its children end with the deadline and with this process's own interruption. Raises
    MissingTool when it does not exist and ProgramFailed when it fails or is late.
    """
    name = Path(argv[0]).name
    process = _start(argv, cwd, environment, stdin_path or Path(os.devnull))
    with process:
        try:
            out, err = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired as late:
            _end_group(process)
            raise ProgramFailed(f"{name} took longer than {timeout_seconds:.0f} s and was ended") from late
        except BaseException:
            _end_group(process)
            raise
    if process.returncode != 0:
        said = tail((err or out).decode(errors="replace"))
        raise ProgramFailed(f"{name} failed with code {process.returncode}:\n{said}")
    return out.decode(errors="replace")


def tail(text: str, lines: int = _TAIL_LINES) -> str:
    """Return the last lines of `text`."""
    return "\n".join(text.rstrip().splitlines()[-lines:])


def tail_of_file(path: Path, lines: int = _TAIL_LINES) -> str:
    """Return the last lines of a log that may not be there yet."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 16384))
            return tail(stream.read().decode(errors="replace"), lines)
    except FileNotFoundError:
        return "(no log yet)"


def _start(
    argv: Sequence[str | os.PathLike[str]],
    cwd: Path | None,
    environment: Mapping[str, str] | None,
    stdin: Path,
) -> subprocess.Popen[bytes]:
    try:
        with stdin.open("rb") as stream:
            return subprocess.Popen(
                [os.fspath(part) for part in argv], cwd=cwd, env=environment, start_new_session=True,
                stdin=stream, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
    except FileNotFoundError as error:
        raise errors.MissingTool(f"{error.filename} is not there: install it and try again") from error


def _end_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()
