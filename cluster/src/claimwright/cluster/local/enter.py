"""Run a program inside the namespaces of another process: `python -I -S enter.py PID PROGRAM ARGUMENT…`.

Unlike nsenter(1), the program ends with this process (parent-death signal) and gets the signals sent to it, so a
caller may treat it as its own child although it lives in another PID namespace. Its exit status is passed on; a
death by signal N becomes 128+N, as in a shell. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys

# The user namespace stays: only root enters, and root already owns it. Mounts last: /proc/PID must be the host's.
_NAMESPACES = ("net", "uts", "ipc", "pid", "mnt")
_PR_SET_PDEATHSIG = 1
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def main(arguments: list[str]) -> int:
    """Enter, run, wait; 125 means that the namespaces could not be entered."""
    try:
        folder = os.getcwd()  # noqa: PTH109 - a string for chdir on the other side
        _enter(int(arguments[0]))
    except (OSError, ValueError, IndexError) as error:
        print(f"enter: cannot enter the namespaces of process {arguments[:1]}: {error}", file=sys.stderr)
        return 125
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    alive, held = os.pipe()
    if (child := os.fork()) == 0:
        os.close(held)
        _become(arguments[1:], folder, alive)
    for number in _FORWARDED:
        signal.signal(number, lambda got, _: os.kill(child, got))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    status = os.waitpid(child, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _enter(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptors = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY) for name in _NAMESPACES]
    for descriptor in descriptors:
        if libc.setns(descriptor, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        os.close(descriptor)


def _become(argv: list[str], folder: str, alive: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # A parent that died before the line above sends no signal, and its pid means nothing in this PID namespace: its
    # end of the pipe tells.
    if select.select([alive], [], [], 0)[0]:
        os._exit(125)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    try:
        os.chdir(folder if os.path.isdir(folder) else "/")  # noqa: PTH112
        os.execvp(argv[0], argv)  # noqa: S606
    except OSError as error:
        print(f"enter: cannot run {argv[0]}: {error}", file=sys.stderr, flush=True)
    os._exit(127)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
